"""What is handed to a storage's writer at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from collection.storage.base import Covers
from collection.storage.values import Entry, Number, SeriesType


class Batch(NamedTuple):
    """Values of one series and type, with what they make complete and what else is to be counted."""

    type: SeriesType | None  # None: nothing but coverage and counts
    entries: Sequence[Entry | Number] = ()
    covers: Covers | None = None
    counts: Mapping[str, int] = MappingProxyType({})

    @property
    def only_counts(self) -> bool:
        """Whether there is nothing else in it."""
        return self.type is None and self.covers is None

    @property
    def size(self) -> int:
        """Its records, and one for itself."""
        return 1 + len(self.entries)


def join(batches: Sequence[Batch]) -> Batch:
    """Return as one those that have one type and one kind of position."""
    if len(batches) == 1:
        return batches[0]
    covers = [batch.covers for batch in batches if batch.covers]
    intervals = [interval for one in covers for interval in one.intervals]
    counts: Counter[str] = Counter()
    for batch in batches:
        counts.update(batch.counts)
    return Batch(
        next((batch.type for batch in batches if batch.type), None),
        [entry for batch in batches for entry in batch.entries],
        Covers(covers[0].by, intervals) if covers else None,
        counts,
    )
