"""Audit: reads a series through and certifies what it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from collection.certificate import Certificate, Dropped, Kind, Record, Span, Stretch, Verdict
from collection.errors import ConfigurationError
from collection.gap_notes import reasons
from collection.records import Trade
from collection.storage import Coverage, DataCollectionStorage, Floor, Interval
from collection.storage.coverage import By, clip, size, without
from collection.storage.values import integer_id

SHOWN = 20
"""Holes that a certificate lists; all are counted."""
NOT_STORED = "it is covered, but not stored"
"""Why ids are missing that are no gap."""


def certify(
    storage: DataCollectionStorage,
    key: str,
    start: int | None = None,
    end: int | None = None,
    on_page: Callable[[int], object] = lambda records: None,
) -> Certificate:
    """Read a series, page by page, and say what it holds; `on_page` is told the number of records of each page.

    Raises:
        ConfigurationError: The series holds no trades.
    """
    # All that is covered before the records are read is among them, and what came meanwhile is covered afterwards.
    coverage = storage.coverage(key)
    found = _read(storage, key, start, end, on_page)
    floor, stored = storage.floor(key), found.runs.intervals
    numbered = coverage.by == "id" and found.numbered
    window = [floor.left_of(coverage)]
    if (start, end) != (None, None):
        if coverage.by == "time":
            window.append(Interval((start or 0) - 1, coverage.end or 0 if end is None else end))
        else:
            window.append(Interval(stored[0].after, stored[-1].upto) if stored else Interval(0, 0))
    covered, gaps = clip(coverage.intervals, *window), clip(coverage.gaps, *window)
    missing = without(covered, stored)
    outside = without(stored, storage.coverage(key).intervals)
    doubled = found.count - size(stored)
    return Certificate(
        key=key,
        verdict=_verdict(missing, doubled, gaps) if numbered and covered else "unproven",
        by=coverage.by,
        start=start,
        end=end,
        covered=spans(covered),
        gaps=spans(gaps),
        dropped=_dropped(floor, coverage.by),
        first=found.first,
        last=found.last,
        expected=size(covered) if numbered else None,
        stored=found.count,
        missing=size(missing) if numbered else None,
        hole_count=len(missing) if numbered else None,
        holes=spans(missing[:SHOWN]) if numbered else [],
        doubled=doubled if numbered else None,
        outside=size(outside) if numbered else None,
        stretches=stretches(storage, key, coverage.by, without(gaps, stored), missing[:SHOWN])
        if numbered
        else stretches(storage, key, coverage.by, gaps),
        counters=storage.counters(key),
        digest=found.sha.hexdigest(),
    )


def stretches(
    storage: DataCollectionStorage, key: str, by: By, gaps: Sequence[Interval], holes: Sequence[Interval] = ()
) -> list[Stretch]:
    """Say of each stretch that is not there what it is, and why."""
    reason = reasons(storage, key)
    kind: Kind = "unproven" if by == "time" else "missing"
    found = [(gap, reason(gap)) for gap in gaps] + [(hole, reason(hole) or NOT_STORED) for hole in holes]
    return [Stretch(kind, gap.after + 1, gap.upto, why) for gap, why in sorted(found)]


def _verdict(missing: Sequence[Interval], doubled: int, gaps: Sequence[Interval]) -> Verdict:
    return "holes" if missing else "doubles" if doubled else "gaps" if gaps else "complete"


def _dropped(floor: Floor, by: By) -> Dropped | None:
    if not floor.timestamp:
        return None
    return Dropped(floor.timestamp, floor.last[1] if floor.last and by == "id" else None)


class _Found:
    """What is known of the trades that were read so far."""

    def __init__(self) -> None:
        self.count = 0
        self.first: Record | None = None
        self.last: Record | None = None
        self.numbered = True
        self.runs = Coverage()
        """The ids that are stored, as intervals: as many as there are interruptions."""
        self.sha = hashlib.sha256()

    def add(self, trades: Sequence[Trade]) -> None:
        if not trades:
            return
        self.first = self.first or Record(trades[0].id, trades[0].timestamp)
        self.last = Record(trades[-1].id, trades[-1].timestamp)
        self.count += len(trades)
        self.sha.update("".join([f"{trade.line}\n" for trade in trades]).encode())
        numbers = [integer_id(trade.id) for trade in trades] if self.numbered else [None]
        self.numbered = None not in numbers
        if self.numbered:
            self.runs = self.runs.with_intervals(Interval(n - 1, n) for n in numbers if n is not None)


def _read(
    storage: DataCollectionStorage, key: str, start: int | None, end: int | None, on_page: Callable[[int], object]
) -> _Found:
    found = _Found()
    for page in storage.pages(key, start, end):
        trades: list[Any] = [value for _, value in page]
        if not all(isinstance(trade, Trade) for trade in trades):
            raise ConfigurationError(f"{key}: only series of trades can be audited, this one holds other values")
        found.add(trades)
        on_page(len(trades))
    return found


def spans(intervals: Iterable[Interval]) -> list[Span]:
    """Write intervals with both ends included."""
    return [Span(after + 1, upto) for after, upto in intervals]
