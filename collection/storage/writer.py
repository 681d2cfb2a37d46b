"""The thread that writes what was stored: callers only enqueue, and wait for it where they ask to."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter, deque
from collections.abc import Sequence
from time import monotonic
from types import MappingProxyType

from collection.backoff import Backoff
from collection.errors import RetryLater, StorageRefused, StorageUnavailable
from collection.storage.batch import Batch, join
from collection.storage.delivery import Bad, Write, deliver
from collection.storage.queues import Numbered, Queues
from collection.storage.spool import Spool
from collection.storage.spooler import Spooler
from collection.storage.values import SeriesType

__all__ = ["Batch", "Writer"]

log = logging.getLogger(__name__)

LARGEST = 5_000
"""Records that are joined to one write, at the most."""
GRACE = 1.0
"""Seconds without a write that went through, after which what waits goes to the spool."""
RECENT = 3.0
"""Seconds for which what was written is kept: a Redis that is killed may lose what it acknowledged before its sync."""
IMPATIENT = 1.0
"""Seconds between two tries while somebody waits in `flush`."""
PATIENT = 3.0
"""Seconds between two tries, at the most: what waits should not wait longer than the server is away."""


class Writer:
    """Hands batches, in the order of each series, to `write`, which raises RetryLater where the server is away.

    What can't be written for its own sake is set aside, logged, counted as `refused:set_aside`, and told to those who
    wait for its key, or else to the next who does; it stops nobody. While the server is away batches wait, `room` of
    them and their records together, and after a moment in the spool, where there is one. Where there is none, or the
    disk takes nothing, the newest are left out whole beyond `room` and counted as `dropped:no_room`; what they would
    have covered stays open and is read again.
    """

    def __init__(self, write: Write, *, delay: float = 0.05, room: int = 500_000, spool: Spool | None = None) -> None:
        self._write = write
        self._delay = delay
        self._room = room
        self._queues = Queues()
        self._failures: dict[str, str] = {}  # that nobody was told of, by key
        self._listeners: list[tuple[str | None, dict[str, str]]] = []  # the keys that are flushed now, and what failed
        self._recent: deque[tuple[float, str, Batch]] = deque()  # what was written of late, with the time
        self._away = "the storage is slow"
        self._misses = 0  # times that the server was away
        self._progress: float | None = None  # when the pass that runs began, or its last write went through
        self._hurry = False
        self._closed = False
        self._changed = threading.Condition()
        self._spooler = Spooler(spool, self._queues, self._changed) if spool else None
        self._thread: threading.Thread | None = None
        if spool:
            self._start()  # dead processes may have left something

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="storage-writer", daemon=True)
        self._thread.start()

    def put(self, key: str, batch: Batch) -> None:
        """Enqueue a batch; the first one starts the thread. Raises RuntimeError after `close`."""
        with self._changed:
            if self._closed:
                raise RuntimeError("the storage is closed")
            queues = self._queues
            if not batch.only_counts and queues.size + batch.size > self._room:
                batch = Batch(None, counts=Counter(batch.counts) + Counter({"dropped:no_room": len(batch.entries)}))
            idle = not queues.size
            queues.put(key, batch)
            if self._thread is None:
                self._start()
            if self._spooler and queues.size > self._room * 3 // 4 and not self._spooler.trouble:
                self._spooler.spill()
            elif idle or queues.size >= LARGEST:
                self._changed.notify_all()

    def flush(self, key: str | None, timeout: float) -> None:
        """See DataCollectionStorage.flush; what is in the spool is durable."""
        with self._changed:
            upto = self._queues.last
            failures = {k: self._failures.pop(k) for k in list(self._failures) if key in (None, k)}
            listener = (key, failures)
            self._listeners.append(listener)
            self._hurry = True
            self._changed.notify_all()
            try:
                durable = self._wait(key, upto, timeout)
            finally:
                self._listeners = [other for other in self._listeners if other is not listener]
            if failures:
                raise StorageRefused(failures)
            if not durable:
                trouble = self._spooler.trouble if self._spooler else ""
                raise StorageUnavailable(f"not written within {timeout:g} s: {self._away}{trouble and f'; {trouble}'}")

    def _wait(self, key: str | None, upto: int, timeout: float) -> bool:
        """Wait until what came is written, or in the spool, which is asked for as soon as the server fails."""
        began, misses = monotonic(), self._misses
        grace = min(GRACE, timeout / 2)
        while self._queues.waits(key, upto):
            now = monotonic()
            left = began + timeout - now
            if left <= 0:
                return False
            if self._spooler:
                stuck = now - (self._progress or began) > grace
                if self._misses > misses or stuck or left < grace or (self._spooler.pending and now - began > grace):
                    self._spooler.spill()
            self._changed.wait(min(left, grace / 8) if self._spooler else left)
        return True

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, as far as that goes within `timeout` seconds, else spool it, and end the thread."""
        if self._thread is not None:
            with contextlib.suppress(StorageRefused, StorageUnavailable):
                self.flush(None, timeout)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if lost := self._queues.records:
                log.error("%d records were not written before the end; their coverage stays open", lost)
        if self._thread is not None:
            self._thread.join(timeout)
        if self._spooler:
            self._spooler.close(timeout)

    def _run(self) -> None:
        backoff = Backoff()
        failing_since = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, self._spooler.adopts if self._spooler else None)
                # Several small batches make one write: wait a moment for more, unless somebody waits for us.
                self._changed.wait_for(lambda: self._closed or self._hurry or self._queues.size >= LARGEST, self._delay)
                if self._closed:
                    return
                self._hurry = False
                self._progress = monotonic()
                keys, upto = self._queues.keys, self._queues.last
            try:
                if self._spooler:
                    self._spooler.drain(self._deliver)
                self._drain(keys, upto)
                backoff.reset()
            except RetryLater as away:
                now = monotonic()
                failing_since = failing_since if backoff.failures else now
                self._repeat_recent()
                self._wait_out(away, backoff.next(), failing_since)
            self._progress = None

    def _has_work(self) -> bool:
        return self._closed or self._queues.size > 0 or (self._spooler is not None and self._spooler.pending)

    def _remember(self, key: str, batch: Batch) -> None:
        now = monotonic()
        while self._recent and self._recent[0][0] < now - RECENT:
            self._recent.popleft()
        if batch.type != "number" and not batch.only_counts:  # a number written again would replace a newer one
            self._recent.append((now, key, batch._replace(counts=MappingProxyType({}))))

    def _repeat_recent(self) -> None:
        """Write what was written of late again: what the server still has of it changes nothing."""
        with self._changed:
            for _, key, batch in self._recent:
                self._queues.put(key, batch)
            self._recent.clear()

    def _wait_out(self, away: RetryLater, pause: float, failing_since: float) -> None:
        with self._changed:
            self._progress = None
            self._away = str(away)
            self._misses += 1
            pause = min(pause, IMPATIENT if self._listeners else PATIENT)
            log.warning("storage: %s; %d records wait, next try in %.1f s", away, self._queues.records, pause)
            self._changed.notify_all()
            until = monotonic() + pause
            while not (self._closed or self._hurry) and (left := until - monotonic()) > 0:
                if self._spooler and self._queues.size and monotonic() - failing_since >= GRACE:
                    self._spooler.spill()
                self._changed.wait_for(lambda: self._closed or self._hurry, min(left, GRACE) if self._spooler else left)

    def _drain(self, keys: Sequence[str], upto: int) -> None:
        """Write what was enqueued when the pass began, so that a busy key does not keep the others waiting."""
        away: RetryLater | None = None
        failed: set[str] = set()  # each may be on a server of its own: the others go on
        while group := self._group([key for key in keys if key not in failed], upto):
            joined = [(key, join([batch for _, batch in parts])) for key, parts in group]
            try:
                failures = self._write(joined)
            except RetryLater:
                raise
            except Exception as error:  # of whichever of them
                failures = [error] * len(group)
            for (key, parts), (_, batch), failure in zip(group, joined, failures, strict=True):
                if failure is None:
                    self._remember(key, batch)
                    self._written(key, parts[-1][0])
                elif isinstance(failure, RetryLater):
                    away = failure
                    failed.add(key)
                else:  # one of them is bad: write each by itself
                    for number, batch in parts:
                        self._deliver(key, batch)
                        self._written(key, number)
        if away:
            raise away

    def _group(self, keys: Sequence[str], upto: int) -> list[tuple[str, list[Numbered]]]:
        """Return the first batches of several series, as many as go well into one write."""
        group, records = [], 0
        with self._changed:
            for key in keys:
                if parts := self._queues.first(key, upto, LARGEST):
                    group.append((key, parts))
                    records += sum(batch.size for _, batch in parts)
                if records >= LARGEST:
                    break
        return group

    def _written(self, key: str, upto: int) -> None:
        with self._changed:
            self._progress = monotonic()
            self._queues.remove(key, upto)
            self._changed.notify_all()

    def _deliver(self, key: str, batch: Batch) -> bool:
        """Write a batch, and set aside what of it can't be written; returns whether there is time for more."""
        if bad := deliver(self._write, key, batch):
            self._set_aside(key, batch.type, bad)
        else:
            self._remember(key, batch)
        self._progress = monotonic()
        return not self._closed

    def _set_aside(self, key: str, series_type: SeriesType | None, bad: Sequence[Bad]) -> None:
        number, reason = sum(len(entries) for entries, _ in bad), bad[0].reason
        log.error("storage: %d records of %s are set aside: %s", number, key, reason)
        if self._spooler and number:
            try:
                self._spooler.spool.set_aside(key, series_type, bad)
            except OSError as error:
                log.error("storage: they could not be kept either: %s", error)
        with self._changed:
            told = [failures for listened, failures in self._listeners if listened in (None, key)]
            for failures in told or [self._failures]:
                failures[key] = reason
