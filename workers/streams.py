"""The streams of this worker process: a pool thread waits for each, one loop runs all, one thread keeps the leases."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from collection import clock
from collection.data_collectors import DataSourceCollector
from collection.errors import CollectionError, RetryLater, StorageUnavailable
from collection.storage import DataCollectionStorage
from collection.storage.threads import in_thread
from workers.assignments import Assignments
from workers.stream_run import StreamRun

log = logging.getLogger(__name__)

T = TypeVar("T")
KEEPING = 1.0
"""Seconds between two renewals of all leases."""
DRAINING = 0.2
"""The same while others take over."""
FLUSH = 1.0
"""Seconds that the last records of a stream may take to Redis; else they wait in the spool."""
ENDING = 10.0
"""Seconds that a run of the same stream, which was lost to another worker, may take to end."""
PROMOTION = 0.5
"""Seconds between two tries of a successor to become the holder while Redis is away."""


class Streams:
    """Runs streams, and hands them over when the process is to end."""

    def __init__(
        self, assignments: Assignments, storage: DataCollectionStorage, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.node = ""
        """The worker's name; empty where no streams are placed on it."""
        self.hurry = False
        """Whether to end without waiting for others to take over: a plain flag, for signal handlers may not wait."""
        self._assignments, self._storage, self._loop = assignments, storage, loop
        self._capacity = 0
        self._draining = False
        self._runs: dict[str, StreamRun] = {}
        self._waiting: dict[str, str] = {}  # the tokens of those whose next try this process has to make
        self._calls = threading.Lock()  # hundreds of threads need no more than one connection
        self._ending = threading.Event()  # set when the keeper is to end
        self._keeper = threading.Thread(target=self._keep_on, name="streams-keeper", daemon=True)

    def start(self, node: str, capacity: int) -> None:
        """Offer places for streams."""
        self.node, self._capacity = node, capacity
        self._keeper.start()

    # One stream, within its pool thread. All methods but `listen` and `leave` raise StorageUnavailable.

    def enter(self, collector: DataSourceCollector, token: str | None) -> StreamRun | None:
        """Begin what a message asks for; None where the message is stale, or another one runs the stream already.

        Without a token the stream is taken if nobody has it.
        """
        if token is None:
            token = self._call(self._assignments.take, collector.id, self.node)
        elif not self._call(self._assignments.enter, collector.id, token, self.node):
            token = None
        if token is None:
            return None
        if before := self._runs.get(collector.id):  # it lost its lease, and does not know yet
            before.end("another one runs it")
            before.left.wait(ENDING)
        self._waiting.pop(collector.id, None)
        run = self._runs[collector.id] = StreamRun(collector, token, self._loop)
        if self._draining:
            run.end("draining")
        return run

    def listen(self, run: StreamRun) -> str:
        """Listen until the stream is to end, and return why; raises what the collector raises."""

        async def promote() -> bool:
            while True:
                try:
                    return await in_thread(self._call, self._assignments.promote, run.collector.id, run.token)
                except StorageUnavailable:
                    await asyncio.sleep(PROMOTION)

        async def tell() -> None:
            try:
                await in_thread(self._call, self._assignments.delivered, run.collector.id, run.token)
            except StorageUnavailable as error:
                log.info("%s: %s", run.collector.id, error)

        return asyncio.run_coroutine_threadsafe(run.go(self._storage, promote, tell), self._loop).result()

    def back_off(self, run: StreamRun, seconds: float, note: str) -> bool:
        """Keep the lease until the next try; False where another one has it."""
        run.given_away = self._call(self._assignments.back_off, run.collector.id, run.token, seconds, note)
        if run.given_away:
            self._waiting[run.collector.id] = run.token
        return run.given_away

    def fail(self, run: StreamRun, note: str) -> None:
        """Leave word that trying again will not help."""
        self.refuse(run.collector.id, run.token, note)
        run.given_away = True

    def refuse(self, collector_id: str, token: str | None, note: str) -> None:
        """Leave word that what a message asks for can't be built."""
        if token is not None:
            self._call(self._assignments.fail, collector_id, token, note)

    def leave(self, run: StreamRun) -> None:
        """Have its last records durable, then let it go."""
        name = run.collector.id
        try:
            self._storage.flush(name, FLUSH)
        except CollectionError as error:
            log.warning("%s: %s", name, error)
        with self._calls:
            if self._runs.get(name) is run:
                del self._runs[name]
            run.left.set()
        if not run.given_away:
            self._release(name, run.token)

    def _release(self, name: str, token: str) -> None:
        try:
            self._call(self._assignments.release, name, token)
        except StorageUnavailable as error:
            log.warning("%s: its lease will expire: %s", name, error)

    # All streams.

    def keep(self) -> int:
        """Renew all leases; returns how many places other workers have free. Raises StorageUnavailable."""
        with self._calls:  # none may be let go of meanwhile: it would be taken again
            held = {name: run.token for name, run in list(self._runs.items())}
            kept = self._assignments.keep(self.node, self._capacity, self._draining, held)
        clock.correct(kept.now)
        for name in kept.lost:
            run = self._runs.get(name)
            if run and run.token == held[name]:
                run.end("another one runs it")
        return kept.room

    def _keep_on(self) -> None:
        trouble = ""
        while not self._ending.is_set():
            try:
                self.keep()
                trouble = ""
            except Exception as error:  # whatever it is, the streams go on, and so does keeping them
                if str(error) != trouble:
                    trouble = str(error)
                    log.warning("streams: leases are not renewed: %s", trouble)
            self._ending.wait(KEEPING)

    def drain(self, patience: float) -> None:
        """End all streams; others take over before, where they have room, within `patience` seconds."""
        self._draining = True
        self._ending.set()
        if self._keeper.is_alive():
            self._keeper.join(FLUSH)  # else it might register the worker again at the end
        until = time.monotonic() + patience
        if self._runs and self.node:
            log.info("streams: %d are to be handed over", len(self._runs))
        while self._runs and self.node and not self.hurry and time.monotonic() < until and self._room():
            time.sleep(DRAINING)
        for run in list(self._runs.values()):
            run.end("the worker ends")
        until = time.monotonic() + FLUSH + 2
        while self._runs and time.monotonic() < until:
            time.sleep(0.02)
        for name, token in list(self._waiting.items()):
            self._release(name, token)
        if self.node:
            self._forget()

    def _room(self) -> int:
        try:
            return self.keep()
        except RetryLater:
            return 0  # nobody can take over by a Redis that is away

    def _forget(self) -> None:
        try:
            self._call(self._assignments.forget, self.node)
        except StorageUnavailable as error:
            log.warning("streams: %s", error)

    def _call(self, method: Callable[..., T], *arguments: object) -> T:
        with self._calls:
            return method(*arguments)
