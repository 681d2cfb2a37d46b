"""The thread that writes what was stored: callers only enqueue, and wait for it where they ask to."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from collection.backoff import Backoff
from collection.errors import CollectionError, RetryLater, StorageRefused, StorageUnavailable
from collection.storage.base import Covers
from collection.storage.coverage import By
from collection.storage.values import Entry, Number, SeriesType

log = logging.getLogger(__name__)

LARGEST = 5_000
"""Records that are joined to one write, at the most."""
IMPATIENT = 1.0
"""Seconds between two tries while somebody waits in `flush`."""


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


class Writer:
    """Hands batches, in the order of each series, to `write`, which raises RetryLater where the server is away.

    A batch that can't be written for its own sake is set aside, logged, and told to those who wait for its key, or
    else to the next who does; it stops nobody. While the server is away batches wait, `room` of them and their records
    together: beyond that the newest are left out whole and counted as `dropped:no_room`; what they would have covered
    stays open and is read again.
    """

    def __init__(self, write: Callable[[str, Batch], None], *, delay: float = 0.05, room: int = 500_000) -> None:
        self._write = write
        self._delay = delay
        self._room = room
        self._queues: dict[str, deque[tuple[int, Batch]]] = {}
        self._number = 0  # of the batch that was enqueued last
        self._writing = 0  # of the last one that is being written
        self._waiting = 0  # records, and one for each batch
        self._failures: dict[str, str] = {}  # that nobody was told of, by key
        self._listeners: list[tuple[str | None, dict[str, str]]] = []  # the keys that are flushed now, and what failed
        self._away = "the storage is slow"
        self._hurry = False
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def put(self, key: str, batch: Batch) -> None:
        """Enqueue a batch; the first one starts the thread. Raises RuntimeError after `close`."""
        with self._changed:
            if self._closed:
                raise RuntimeError("the storage is closed")
            if not batch.only_counts and self._waiting + _size(batch) > self._room:
                batch = Batch(None, counts=Counter(batch.counts) + Counter({"dropped:no_room": len(batch.entries)}))
            self._number = number = self._number + 1
            queue = self._queues.setdefault(key, deque())
            if batch.only_counts and queue and queue[-1][1].only_counts and queue[-1][0] > self._writing:
                number, last = queue.pop()  # and its number: who flushes may wait for that
                batch = join([last, batch])
                self._waiting -= _size(last)
            self._waiting += _size(batch)
            queue.append((number, batch))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="storage-writer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, key: str | None, timeout: float) -> None:
        """See DataCollectionStorage.flush."""
        with self._changed:
            upto = self._number
            failures = {k: self._failures.pop(k) for k in list(self._failures) if key in (None, k)}
            listener = (key, failures)
            self._listeners.append(listener)
            self._hurry = True
            self._changed.notify_all()
            try:
                written = self._changed.wait_for(lambda: not self._waits(key, upto), timeout)
            finally:
                self._listeners = [other for other in self._listeners if other is not listener]
            if failures:
                raise StorageRefused(failures)
            if not written:
                raise StorageUnavailable(f"not written within {timeout:g} s: {self._away}")

    def _waits(self, key: str | None, upto: int) -> bool:
        queues = self._queues.values() if key is None else [self._queues.get(key)]
        return any(queue and queue[0][0] <= upto for queue in queues)

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, as far as that goes within `timeout` seconds, and end the thread."""
        if self._thread is not None:
            with contextlib.suppress(StorageRefused, StorageUnavailable):
                self.flush(None, timeout)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            lost = sum(len(batch.entries) for queue in self._queues.values() for _, batch in queue)
            if lost:
                log.error("%d records were not written before the end; their coverage stays open", lost)
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        backoff = Backoff()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._queues)
                # Several small batches make one write: wait a moment for more, unless somebody waits for us.
                self._changed.wait_for(lambda: self._closed or self._hurry, self._delay)
                if self._closed:
                    return
                self._hurry = False
                keys, upto = list(self._queues), self._number
            try:
                for key in keys:
                    self._drain(key, upto)
                backoff.reset()
            except RetryLater as away:
                pause = backoff.next()
                with self._changed:
                    self._away = str(away)
                    pause = min(pause, IMPATIENT) if self._listeners else pause
                    log.warning("storage: %s; %d records wait, next try in %.1f s", away, self._waiting, pause)
                    self._changed.wait_for(lambda: self._closed or self._hurry, pause)

    def _drain(self, key: str, upto: int) -> None:
        """Write what was enqueued of a key when the pass began, so that a busy key does not keep the others waiting."""
        largest = LARGEST
        while parts := self._parts(key, upto, largest):
            try:
                self._write(key, join([batch for _, batch in parts]))
            except RetryLater:
                raise
            except Exception as error:  # whatever is wrong with this batch must not stop the others
                if len(parts) > 1:
                    largest = 0  # one of them is bad: write each by itself
                    continue
                self._set_aside(key, len(parts[0][1].entries), error)
            self._written(key, parts[-1][0])

    def _parts(self, key: str, upto: int, largest: int) -> list[tuple[int, Batch]]:
        """Return a key's first batches as far as they go together; they stay queued until they are written."""
        with self._changed:
            parts: list[tuple[int, Batch]] = []
            kind: SeriesType | None = None
            by: By | None = None
            records = 0
            for number, batch in self._queues.get(key, ()):
                records += len(batch.entries)
                batch_by = batch.covers.by if batch.covers else None
                alike = batch.type in (kind or batch.type, None) and batch_by in (by or batch_by, None)
                if parts and (not alike or records > largest or number > upto):
                    break
                parts.append((number, batch))
                kind, by = kind or batch.type, by or batch_by
            if not parts or parts[0][0] > upto:
                return []
            self._writing = max(self._writing, parts[-1][0])
            return parts

    def _set_aside(self, key: str, records: int, error: Exception) -> None:
        reason = str(error) if isinstance(error, CollectionError) else f"{type(error).__name__}: {error}"
        log.error("storage: %d records of %s are set aside: %s", records, key, reason)
        with self._changed:
            told = [failures for listened, failures in self._listeners if listened in (None, key)]
            for failures in told or [self._failures]:
                failures[key] = reason

    def _written(self, key: str, upto: int) -> None:
        with self._changed:
            queue = self._queues[key]
            while queue and queue[0][0] <= upto:
                self._waiting -= _size(queue.popleft()[1])
            if not queue:
                del self._queues[key]
            self._changed.notify_all()


def _size(batch: Batch) -> int:
    return 1 + len(batch.entries)
