"""What the tasks of one worker process share: an event loop in its own thread, the storage, the clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from functools import cached_property
from importlib.resources import files
from typing import Any, TypeVar

import redis
from celery.signals import worker_shutdown

from collection.data_collectors import CollectorFactory, DataSourceCollector
from collection.errors import ConfigurationError
from collection.settings import current
from collection.storage import DataCollectionStorage, open_storage
from collection.storage.redis_server import connect, server_errors
from workers.lease import Lease

T = TypeVar("T")
LOCK = 6.0
"""Seconds that the lock of a poll outlives its worker."""


class Runtime:
    """Made with the first task of a process; its parts are made when first needed."""

    def __init__(self) -> None:
        self._collectors: dict[str, DataSourceCollector] = {}
        self._lock = threading.Lock()

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that all collectors of this process run in."""
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name="event-loop", daemon=True).start()
        return loop

    @cached_property
    def storage(self) -> DataCollectionStorage:
        """The storage that all tasks of this process write to."""
        url = current().storage()
        if url.startswith("memory://"):
            raise ConfigurationError("storage URL memory://: it ends with its process; workers need a Redis")
        return open_storage(url)

    @cached_property
    def redis(self) -> redis.Redis:
        """Redis for leases and marks."""
        return connect(current().storage())

    @cached_property
    def factory(self) -> CollectorFactory:
        """Builds collectors from ids."""
        return CollectorFactory(current())

    def collector(self, collector_id: str) -> DataSourceCollector:
        """Return the collector of an id, the same one each time."""
        with self._lock:
            if collector_id not in self._collectors:
                self._collectors[collector_id] = self.factory.build(collector_id)
            return self._collectors[collector_id]

    def run(self, work: Coroutine[Any, Any, T], deadline: float) -> T:
        """Run in the event loop, and wait; raises TimeoutError after `deadline` seconds, with the work cancelled."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, deadline), self.loop).result()

    def turn(self, collector: DataSourceCollector, *, retry: bool) -> float | None:
        """Seconds since a poll's turn began; None where its last one began less than half an interval ago."""
        interval = int((collector.interval or 0) * 1000)
        with server_errors():
            since = self._turn(keys=[f"qc:{{poll:{collector.id}}}"], args=[interval, int(retry)])
        return None if int(since) < 0 else int(since) / 1000

    @cached_property
    def _turn(self) -> Any:
        return self.redis.register_script(files("workers").joinpath("turn.lua").read_bytes())

    def lease(self, collector: DataSourceCollector) -> Lease:
        """The lock of a poll, free again soon after its worker died."""
        return Lease(self.redis, f"poll:{collector.id}", LOCK)

    def close(self) -> None:
        """Write what waits and close what was opened."""
        made = vars(self)
        if "loop" in made:
            if "factory" in made:
                self.run(self.factory.clients.close(), 5)
            self.loop.call_soon_threadsafe(self.loop.stop)
        if "storage" in made:
            self.storage.close()


runtime = Runtime()


@worker_shutdown.connect
def _close(**_: object) -> None:
    runtime.close()
