"""Why a gap stays a gap: notes beside a series, kept as a series of their own, `gaps:KEY`."""

from __future__ import annotations

from collections.abc import Callable

from collection import clock
from collection.storage import Coverage, DataCollectionStorage, Interval

PREFIX = "gaps:"
FORGOTTEN = "the exchange has what came after it, but not this any more"
"""Why a gap of ids stays one."""
OUT_OF_REACH = "the exchange's history does not reach back to it, so nobody can tell what was traded"
"""Why a gap of times stays one."""


def note_gap(storage: DataCollectionStorage, key: str, coverage: Coverage, gap: Interval, reason: str) -> None:
    """Note, once, why a gap of a series can't be closed."""
    if reason not in (said for noted, said in _notes(storage, key) if noted == gap):
        note = {"by": coverage.by, "after": gap.after, "upto": gap.upto, "reason": reason}
        storage.store(f"{PREFIX}{key}", note, clock.now())


def noted_gaps(storage: DataCollectionStorage, key: str) -> list[Interval]:
    """Return the gaps of which it was noted that they can't be closed."""
    return [gap for gap, _ in _notes(storage, key)]


def reason_for(storage: DataCollectionStorage, key: str, gap: Interval) -> str:
    """Return what was noted last of a gap, or of one that it is part of; empty where nothing was."""
    return reasons(storage, key)(gap)


def reasons(storage: DataCollectionStorage, key: str) -> Callable[[Interval], str]:
    """Read the notes of a series once; returns what `reason_for` says of its gaps.

    Where nothing was noted of a gap as a whole, it is what was noted last of a part of it.
    """
    notes = _notes(storage, key)

    def reason(gap: Interval) -> str:
        whole = [said for (after, upto), said in notes if after <= gap.after and gap.upto <= upto]
        parts = [said for (after, upto), said in notes if gap.after <= after and upto <= gap.upto]
        return (whole or parts or [""])[-1]

    return reason


def _notes(storage: DataCollectionStorage, key: str) -> list[tuple[Interval, str]]:
    notes = [value for _, value in storage.fetch(f"{PREFIX}{key}") if isinstance(value, dict)]
    return [(Interval(note["after"], note["upto"]), str(note["reason"])) for note in notes]
