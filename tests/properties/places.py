"""Where the properties are tried: a storage in memory, and Redis servers that may be killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from collection.embedded import EmbeddedRedis
from collection.errors import StorageUnavailable
from collection.storage import DataCollectionStorage, MemoryStorage, RedisStorage
from collection.storage.redis_server import connect
from tests.properties.cutting import CuttingProxy


class Memory:
    """One storage, however often it is opened."""

    def __init__(self) -> None:
        self._storage = MemoryStorage()

    def empty(self) -> None:
        self._storage = MemoryStorage()

    def fresh(self) -> DataCollectionStorage:
        """An empty storage."""
        self.empty()
        return self.open()

    def open(self) -> DataCollectionStorage:
        return self._storage


class Redis:
    """A server of its own, which can be killed, and a wire to it that can be cut."""

    def __init__(self, server: EmbeddedRedis, proxy: Path, *, modules: bool) -> None:
        self._server = server
        self.modules = modules
        """Whether it has TimeSeries."""
        self.wire = CuttingProxy(server.url, proxy, self.kill)

    def empty(self) -> None:
        self.wire.cut(None)
        self._server.start()
        with connect(self._server.url) as client:
            client.flushall()

    def open(self) -> DataCollectionStorage:
        return RedisStorage(self._server.url)

    def fresh(self) -> DataCollectionStorage:
        """An empty storage."""
        self.empty()
        return self.open()

    def open_wired(self) -> DataCollectionStorage:
        """A storage that reaches the server by the wire."""
        return RedisStorage(self.wire.url)

    def kill(self, at_last: Callable[[], None] = lambda: None) -> None:
        """Kill the server, and start it again on what it had written."""
        self.go_down(at_last)
        self._server.start()

    def go_down(self, at_last: Callable[[], None] = lambda: None) -> None:
        """Kill the server right after `at_last`, but not while it syncs its file.

        What it answers then, it writes later (https://redis.io/docs/latest/operate/oss_and_stack/management/persistence):
        with `appendfsync everysec` a killed Redis may lose what it acknowledged during a sync, as in a power cut.
        """
        assert self._server.process is not None
        with connect(self._server.url) as client:
            while client.info("persistence")["aof_pending_bio_fsync"]:
                pass
            at_last()
            self._server.process.kill()
        self._server.process.wait()

    def come_up(self) -> None:
        """Start the server, if it is down."""
        self._server.start()

    @property
    def url(self) -> str:
        return self._server.url


Place = Memory | Redis


@contextmanager
def redis_place(folder: Path, *, modules: bool) -> Iterator[Redis]:
    with EmbeddedRedis(folder, modules=modules) as server:
        place = Redis(server, Path(urlsplit(server.url).path).with_name("wire.sock"), modules=modules)
        try:
            yield place
        finally:
            place.wire.close()


def settle(storage: DataCollectionStorage, seconds: float = 20.0) -> None:
    """Flush as often as it takes: who waits hurries the writer."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return storage.flush(timeout=0.2)
        except StorageUnavailable:
            if time.monotonic() > deadline:
                raise
