"""The batches that wait in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from collection.storage.batch import Batch, join
from collection.storage.coverage import By
from collection.storage.values import SeriesType

Numbered = tuple[int, Batch]


class Queues:
    """One queue for each series. Batches are numbered in the order in which they came; whoever owns this locks it."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Numbered]] = {}
        self._taken = 0  # the highest number that somebody is writing
        self.last = 0
        """The number of the batch that came last."""
        self.size = 0
        """Batches and their records."""

    @property
    def keys(self) -> list[str]:
        """The series of which something waits."""
        return list(self._queues)

    @property
    def records(self) -> int:
        """How many records wait."""
        return sum(len(batch.entries) for queue in self._queues.values() for _, batch in queue)

    def put(self, key: str, batch: Batch) -> None:
        """Add a batch; mere counts are added to counts that wait already."""
        self.last = number = self.last + 1
        queue = self._queues.setdefault(key, deque())
        if batch.only_counts and queue and queue[-1][1].only_counts and queue[-1][0] > self._taken:
            number, counts = queue.pop()  # and its number: who flushes may wait for that
            batch = join([counts, batch])
            self.size -= counts.size
        self.size += batch.size
        queue.append((number, batch))

    def waits(self, key: str | None, upto: int) -> bool:
        """Whether a batch of the series (None: of any) up to that number is still here."""
        queues: Iterable[deque[Numbered] | None] = self._queues.values() if key is None else [self._queues.get(key)]
        return any(queue and queue[0][0] <= upto for queue in queues)

    def first(self, key: str, upto: int, largest: int) -> list[Numbered]:
        """Return a series' first batches, as far as they can be joined; they stay until `remove`."""
        parts: list[Numbered] = []
        kind: SeriesType | None = None
        by: By | None = None
        records = 0
        for number, batch in self._queues.get(key, ()):
            records += len(batch.entries)
            batch_by = batch.covers.by if batch.covers else None
            alike = batch.type in (kind or batch.type, None) and batch_by in (by or batch_by, None)
            if number > upto or (parts and (not alike or records > largest)):
                break
            parts.append((number, batch))
            kind, by = kind or batch.type, by or batch_by
        if parts:
            self._taken = max(self._taken, parts[-1][0])
        return parts

    def remove(self, key: str, upto: int) -> None:
        """Forget a series' batches up to that number; those that are gone already are gone."""
        queue = self._queues.get(key)
        while queue and queue[0][0] <= upto:
            self.size -= queue.popleft()[1].size
        if queue is not None and not queue:
            del self._queues[key]
