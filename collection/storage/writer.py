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
from collection.errors import RetryLater, StorageRefused, StorageUnavailable
from collection.storage.base import Covers
from collection.storage.values import Entry, Number, SeriesType

log = logging.getLogger(__name__)

LARGEST = 5_000
"""Records that are joined to one write, at the most."""


class Batch(NamedTuple):
    """Values of one series and type, with what they make complete and what else is to be counted."""

    type: SeriesType | None  # None: nothing but coverage and counts
    entries: Sequence[Entry | Number] = ()
    covers: Covers | None = None
    counts: Mapping[str, int] = MappingProxyType({})

    def joins(self, other: Batch) -> bool:
        """Tell whether both can be written as one."""
        return (
            len(self.entries) + len(other.entries) <= LARGEST
            and (self.type is None or other.type in (None, self.type))
            and (self.covers is None or other.covers is None or self.covers.by == other.covers.by)
        )

    def join(self, other: Batch) -> Batch:
        """Return both as one."""
        covers = self.covers or other.covers
        if self.covers and other.covers:
            covers = Covers(self.covers.by, [*self.covers.intervals, *other.covers.intervals])
        return Batch(
            self.type or other.type,
            [*self.entries, *other.entries],
            covers,
            Counter(self.counts) + Counter(other.counts),
        )


class Writer:
    """Hands batches, in the order of each series, to `write`, which raises RetryLater where the server is away.

    A batch that can't be written for its own sake is set aside, logged, and told to the next flush of its key; it
    stops nobody. While the server is away batches wait, at most `room` records of them: beyond that the newest are
    left out whole and counted as `dropped:no_room`; what they would have covered stays open and is read again.
    """

    def __init__(self, write: Callable[[str, Batch], None], *, delay: float = 0.05, room: int = 500_000) -> None:
        self._write = write
        self._delay = delay
        self._room = room
        self._queues: dict[str, deque[tuple[int, Batch]]] = {}
        self._number = 0  # of the batch that was enqueued last
        self._waiting = 0  # records
        self._set_aside: dict[str, str] = {}
        self._away = "the storage is slow"
        self._hurry = False
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def put(self, key: str, batch: Batch) -> None:
        """Enqueue a batch; the first one starts the thread."""
        with self._changed:
            if self._closed:
                raise RuntimeError("the storage is closed")
            if self._waiting + len(batch.entries) > self._room:
                batch = Batch(None, counts=Counter(batch.counts) + Counter({"dropped:no_room": len(batch.entries)}))
            self._number += 1
            self._waiting += len(batch.entries)
            self._queues.setdefault(key, deque()).append((self._number, batch))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="storage-writer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, key: str | None, timeout: float) -> None:
        """See DataCollectionStorage.flush."""
        with self._changed:
            upto = self._number
            self._hurry = True
            self._changed.notify_all()
            written = self._changed.wait_for(lambda: not self._waits(key, upto), timeout)
            reasons = {k: self._set_aside.pop(k) for k in list(self._set_aside) if key in (None, k)}
            if reasons:
                raise StorageRefused(reasons)
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
            if self._waiting:
                log.error("%d records were not written before the end; their coverage stays open", self._waiting)
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
                keys = list(self._queues)
            try:
                for key in keys:
                    self._drain(key)
                backoff.reset()
            except RetryLater as away:
                pause = backoff.next()
                log.warning("storage: %s; %d records wait, next try in %.1f s", away, self._waiting, pause)
                with self._changed:
                    self._away = str(away)
                    self._changed.wait_for(lambda: self._closed or self._hurry, pause)

    def _drain(self, key: str) -> None:
        while first := self._first(key):
            number, batch = first
            try:
                self._write(key, batch)
            except RetryLater:
                raise
            except Exception as error:  # whatever is wrong with this batch must not stop the others
                self._set_aside[key] = f"{type(error).__name__}: {error}"
                log.error("storage: %d records of %s are set aside: %s", len(batch.entries), key, self._set_aside[key])
            self._written(key, number)

    def _first(self, key: str) -> tuple[int, Batch] | None:
        """Join a key's first batches as far as they go together; they stay queued until they are written."""
        with self._changed:
            queue = self._queues.get(key)
            if not queue:
                return None
            number, batch = queue[0]
            for next_number, following in list(queue)[1:]:
                if not batch.joins(following):
                    break
                number, batch = next_number, batch.join(following)
            return number, batch

    def _written(self, key: str, upto: int) -> None:
        with self._changed:
            queue = self._queues[key]
            while queue and queue[0][0] <= upto:
                self._waiting -= len(queue.popleft()[1].entries)
            if not queue:
                del self._queues[key]
            self._changed.notify_all()
