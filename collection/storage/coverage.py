"""Coverage: which stretches of a series are known to be complete, like TCP's selective acknowledgements.

A position is the exchange's trade id where ids are increasing integers, else a time in Unix milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

By = Literal["id", "time"]


class Interval(NamedTuple):
    """All that was published after position `after`, up to and including position `upto`, is stored."""

    after: int
    upto: int


class Coverage(NamedTuple):
    """The intervals of one series, in order, none touching another; what lies between two of them is a gap."""

    by: By = "id"
    intervals: tuple[Interval, ...] = ()

    @property
    def end(self) -> int | None:
        """The position from which to read on; None where nothing is covered yet."""
        return self.intervals[-1].upto if self.intervals else None

    @property
    def gaps(self) -> list[Interval]:
        """What is not known to be complete between the first and the last position."""
        return [
            Interval(left.upto, right.after) for left, right in zip(self.intervals, self.intervals[1:], strict=False)
        ]

    def with_intervals(self, added: Iterable[Interval]) -> Coverage:
        """Return the coverage that also has the `added` intervals: those that touch become one."""
        new = sorted(added)
        ends = bool(new and self.intervals) and new[0].after >= self.intervals[-1].after  # most come at the end
        merged = list(self.intervals[:-1]) if ends else []
        for interval in (self.intervals[-1], *new) if ends else sorted((*self.intervals, *new)):
            if merged and interval.after <= merged[-1].upto:
                merged[-1] = Interval(merged[-1].after, max(merged[-1].upto, interval.upto))
            else:
                merged.append(interval)
        return self._replace(intervals=tuple(merged))

    def dumps(self) -> str:
        """Write the intervals as the storage keeps them: `after upto after upto …`."""
        return " ".join(f"{interval.after} {interval.upto}" for interval in self.intervals)

    @classmethod
    def loads(cls, by: By, text: str) -> Coverage:
        """Read what `dumps` wrote."""
        positions = [int(word) for word in text.split()]
        return cls(by, tuple(map(Interval, positions[::2], positions[1::2])))


def clip(intervals: Iterable[Interval], *windows: Interval) -> list[Interval]:
    """Return what of the intervals lies in all windows."""
    first, last = max(window.after for window in windows), min(window.upto for window in windows)
    clipped = (Interval(max(after, first), min(upto, last)) for after, upto in intervals)
    return [one for one in clipped if one.after < one.upto]


def without(ours: Iterable[Interval], theirs: Sequence[Interval]) -> list[Interval]:
    """Return what lies in `ours` only; both are in order, and none overlaps another of its own."""
    left: list[Interval] = []
    place = 0
    for after, upto in ours:
        while place < len(theirs) and theirs[place].upto <= after:
            place += 1
        at = place
        while at < len(theirs) and theirs[at].after < upto:
            if theirs[at].after > after:
                left.append(Interval(after, theirs[at].after))
            after = max(after, theirs[at].upto)
            at += 1
        if after < upto:
            left.append(Interval(after, upto))
    return left


def size(intervals: Iterable[Interval]) -> int:
    """Return how many positions lie in the intervals."""
    return sum(upto - after for after, upto in intervals)
