"""What is stored of a series, held against what is covered: first by counting, then by reading the newest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from collection.clients.paging import covered_ids
from collection.storage import Coverage, DataCollectionStorage, Interval
from collection.storage.coverage import clip, size, without
from collection.storage.values import integer_id

HOUR_MS = 3_600_000
LAST_ID = 2**64 - 1


class Look(NamedTuple):
    """A series at a glance, while others write to it."""

    low: int
    high: int
    """By how many the stored records may outnumber the covered ids of what is kept: from `low` to `high`."""
    gaps: tuple[Interval, ...]
    """Of what is kept."""
    first: int
    """The time of the oldest record, in Unix milliseconds; 0 where there is none."""

    def fits(self, surplus: int) -> bool:
        """Whether so many stored records more than covered ids are what is there."""
        return self.low <= surplus <= self.high


class Audit(NamedTuple):
    """What reading the stored ids has shown."""

    lost: list[Interval]
    """Covered, but not stored."""
    outside: list[Interval]
    """Stored, but not covered."""
    doubled: int

    @property
    def surplus(self) -> int:
        """By how many the stored records outnumber the covered ids."""
        return size(self.outside) + self.doubled - size(self.lost)


def look(storage: DataCollectionStorage, key: str) -> Look:
    """Count what is stored and what is covered; reads no record."""
    before = storage.coverage(key)
    floor = storage.floor(key)
    [info] = storage.info([key])
    after = storage.coverage(key)
    kept = floor.left_of(after)
    least, most = (size(clip(one.intervals, floor.left_of(one))) for one in (before, after))
    gaps = tuple(clip(after.gaps, kept))
    return Look(info.records - most, info.records - least, gaps, info.first or 0)


def audit_ids(
    storage: DataCollectionStorage, key: str, seen: Look, since: int, now: int, explained: int | None = None
) -> Audit:
    """Read stored ids, hour by hour from `now` back to `since` at least, then until they explain what was counted.

    Times are Unix milliseconds; `explained` is a surplus whose reasons are known. Ids ascend with time, or nearly so.
    """
    coverage, floor = storage.coverage(key), storage.floor(key)  # before the records: what is covered is among them
    after = floor.left_of(coverage).after
    if not seen.first:
        return Audit(clip(coverage.intervals, floor.left_of(coverage)), [], 0)
    enough = explained is not None and seen.fits(explained)
    runs, count, found = Coverage(), 0, Audit([], [], 0)
    end = now + HOUR_MS
    while end > seen.first and not (end < since and (enough or seen.fits(found.surplus))):
        start = max(end - HOUR_MS, 0)
        for ids in _ids(storage, key, start, end - 1):
            count += len(ids)
            runs = runs.with_intervals(covered_ids(ids, None))
        end = start
        oldest = after if end <= seen.first else runs.intervals[0].after if runs.intervals else LAST_ID
        window = Interval(max(after, oldest), LAST_ID)
        stored = clip(runs.intervals, window)
        found = Audit(
            without(clip(coverage.intervals, window), stored),
            without(stored, storage.coverage(key).intervals),
            count - size(runs.intervals),
        )
    return found


def _ids(storage: DataCollectionStorage, key: str, start: int, end: int) -> Iterator[list[int]]:
    for page in storage.pages(key, start, end):
        trades: list[Any] = [value for _, value in page]
        yield [number for trade in trades if (number := integer_id(trade.id)) is not None]


def lost_seconds(storage: DataCollectionStorage, key: str, start: int, end: int) -> list[Interval]:
    """Return the seconds of which the kept bars count more trades than are stored: times, from `start` to `end`.

    It says nothing of a storage that keeps no bars.
    """
    lost: list[Interval] = []
    for hour in range(start - start % HOUR_MS, end, HOUR_MS):
        kept = storage.bars(key, hour, hour + HOUR_MS - 1)  # before the records
        stored = Counter(at - at % 1000 for page in storage.pages(key, hour, hour + HOUR_MS - 1) for at, _ in page)
        lost += [Interval(bar.timestamp - 1, bar.timestamp + 999) for bar in kept if stored[bar.timestamp] < bar.count]
    return list(Coverage("time").with_intervals(lost).intervals)
