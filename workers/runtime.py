"""What the tasks of one worker process share: an event loop in its own thread, the storage, the clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from importlib.resources import files
from typing import Any, TypeVar

import redis
from celery.signals import worker_shutdown

from collection.clients import Clients
from collection.data_collectors import CollectorFactory, DataSourceCollector
from collection.data_collectors.trades_reader import TradesReader
from collection.quotes import RedisPublisher
from collection.setting_groups import Transport
from collection.settings import current
from collection.storage import DataCollectionStorage, open_storage
from collection.storage.redis_server import connect, server_errors
from workers.assignments import Assignments
from workers.backfills import Backfills
from workers.budget import RedisBudget
from workers.lease import Lease
from workers.streams import Streams

try:
    import uvloop
except ImportError:  # not for every platform
    uvloop = None  # type: ignore[assignment]

T = TypeVar("T")
_TURN = files("workers").joinpath("turn.lua").read_bytes()
LOCK = 6.0
"""Seconds that the lock of a poll outlives its worker."""


class Runtime:
    """Its parts are made when first needed, once, whichever thread asks first."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._lock = threading.RLock()

    def _once(self, name: str, make: Callable[[], T]) -> T:
        # functools.cached_property has no lock from Python 3.12 on: sixteen threads would make sixteen loops.
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            made: T = self._made[name]
            return made

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that all collectors of this process run in, in a thread of its own."""
        return self._once("loop", _start_loop)

    @property
    def storage(self) -> DataCollectionStorage:
        """The storage that all tasks of this process write to."""
        return self._once("storage", _open_storage)

    @property
    def publisher(self) -> RedisPublisher:
        """Tells quotes to whoever listens."""
        quotes = current().quotes
        return self._once("publisher", lambda: RedisPublisher(current().storage(), quotes.deviation, quotes.heartbeat))

    @property
    def redis(self) -> redis.Redis:
        """Redis for leases and marks."""
        return self._once("redis", lambda: connect(current().storage()))

    @property
    def assignments(self) -> Assignments:
        """Who runs which stream."""
        return self._once("assignments", lambda: Assignments(self.redis))

    @property
    def streams(self) -> Streams:
        """The streams that this process runs."""
        return self._once("streams", lambda: Streams(self.assignments, self.storage, self.loop))

    @property
    def backfills(self) -> Backfills:
        """What is to be read of the past."""
        return self._once("backfills", lambda: Backfills(self.redis))

    @property
    def factory(self) -> CollectorFactory:
        """Builds collectors from ids; their clients share the budgets of exchanges with all other workers."""
        return self._once("factory", self._make_factory)

    def _make_factory(self) -> CollectorFactory:
        clients = Clients(current(), budgets=lambda name, rate: RedisBudget(self.redis, name, rate))
        return CollectorFactory(current(), clients)

    @property
    def _turn(self) -> Any:
        return self._once("turn", lambda: self.redis.register_script(_TURN))

    def collector(self, collector_id: str, transport: Transport) -> DataSourceCollector:
        """Return the collector of an id that polls, or that streams, the same one each time."""
        return self._once(f"{transport} {collector_id}", lambda: self.factory.build(collector_id, transport))

    def reader(self, key: str) -> TradesReader:
        """Return what reads the history of a series; raises ConfigurationError."""
        settings = self.factory.settings
        _, exchange, market = self.factory.build(key, "poll").id.split(":", 2)
        return TradesReader(
            exchange, market, start=settings.start, kept=settings.retention.trades, clients=self.factory.clients
        )

    def run(self, work: Coroutine[Any, Any, T], deadline: float) -> T:
        """Run in the event loop, and wait; raises TimeoutError after `deadline` seconds, with the work cancelled."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, deadline), self.loop).result()

    def turn(self, name: str, interval: float, *, retry: bool = False) -> float | None:
        """Seconds since a turn began; None where the last one began less than half an interval (in seconds) ago."""
        with server_errors():
            since = self._turn(keys=[f"qc:{{{name}}}"], args=[int(interval * 1000), int(retry)])
        return None if int(since) < 0 else int(since) / 1000

    def clock(self) -> float:
        """Redis's clock: Unix time in seconds."""
        with server_errors():
            seconds, microseconds = self._once(
                "clock", lambda: self.redis.register_script("return redis.call('TIME')")
            )(keys=["qc:{lease:retention}"])
        return int(seconds) + int(microseconds) / 1e6

    def lease(self, collector: DataSourceCollector) -> Lease:
        """The lock of a poll, free again soon after its worker died."""
        return Lease(self.redis, f"poll:{collector.id}", LOCK)

    def close(self) -> None:
        """Write what waits and close what was opened."""
        try:
            if "factory" in self._made:
                self.run(self.factory.clients.close(), 5)
        finally:
            for name in ("publisher", "storage"):
                if name in self._made:
                    self._made[name].close()
            if "loop" in self._made:
                self.loop.call_soon_threadsafe(self.loop.stop)


def _open_storage() -> DataCollectionStorage:
    return open_storage(current().storage(), spool=current().spool, spool_limit=current().spool_limit)


def _start_loop() -> asyncio.AbstractEventLoop:
    loop = uvloop.new_event_loop() if uvloop else asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="event-loop", daemon=True).start()
    return loop


runtime = Runtime()


@worker_shutdown.connect
def _close(**_: object) -> None:
    runtime.close()
