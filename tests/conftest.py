"""Real Redis servers for the tests, and the recordings where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from collection.embedded import EmbeddedRedis
from collection.records import Trade
from collection.settings import current
from collection.storage import DataCollectionStorage, MemoryStorage, RedisStorage
from collection.storage.redis_server import connect
from tests.clusters import RedisCluster

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test runs in a folder of its own, with no settings but its own."""
    for name in os.environ:
        if name.startswith("COLLECTION_") and name not in ("COLLECTION_REDIS_SERVER", "COLLECTION_REDIS_MODULE"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    current.cache_clear()
    yield
    current.cache_clear()


@pytest.fixture(scope="session")
def redis_with_timeseries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("timeseries")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_without_timeseries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("plain"), modules=False) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture
def redis_url(redis_with_timeseries: EmbeddedRedis) -> str:
    """The URL of an empty Redis with TimeSeries."""
    with connect(redis_with_timeseries.url) as client:
        client.flushall()
    return redis_with_timeseries.url


@pytest.fixture(params=["memory", "redis_with_timeseries", "redis_without_timeseries", "redis_cluster"])
def storage(request: pytest.FixtureRequest) -> Iterator[DataCollectionStorage]:
    """An empty storage of each kind."""
    if request.param == "memory":
        yield MemoryStorage()
        return
    server: EmbeddedRedis | RedisCluster = request.getfixturevalue(request.param)
    with connect(server.url) as client:
        client.flushall()
    with RedisStorage(server.url) as opened:
        yield opened


@pytest.fixture(scope="session")
def recording() -> Path:
    """The recorded tape that lies beside the project, or where TEST_RECORDINGS says; skips without it."""
    folder = Path(os.environ.get("TEST_RECORDINGS", ROOT.parent / "shared" / "recordings"))
    path = folder / "binance-xrpeth-aggtrades.csv.gz"
    if not path.exists():
        pytest.skip(f"the recording is not there: {path}")
    return path


def trade(
    number: int, timestamp: int | None = None, *, price: str = "1.50", amount: str = "2.00", **more: object
) -> Trade:
    """A trade for tests: by default one a second from 2026-01-01 on."""
    from decimal import Decimal

    at = 1_767_225_600_000 + number * 1000 if timestamp is None else timestamp
    fields = {"id": str(number), "side": "buy", "received": at + 40, **more}
    return Trade(timestamp=at, price=Decimal(price), amount=Decimal(amount), **fields)  # type: ignore[arg-type]
