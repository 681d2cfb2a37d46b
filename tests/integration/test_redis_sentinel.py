"""Redis behind sentinels: the storage, the leases and Celery's broker go over to the replica when the master dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from kombu import Connection

from collection.errors import StorageUnavailable
from collection.settings import load_settings
from collection.storage import Covers, Interval, RedisStorage, open_storage
from collection.storage.redis_server import connect
from tests.clusters import Node, WatchedRedis, free_ports, wait_for
from tests.conftest import trade
from tests.simulation import until
from workers.lease import Lease

KEY = "trades:binance:BTC/USDT"


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedRedis]:
    with WatchedRedis(tmp_path / "watched") as servers:
        yield servers


def put(storage: RedisStorage, first: int, count: int) -> None:
    trades = [trade(number) for number in range(first, first + count)]
    storage.store_batch(KEY, [(t.timestamp, t) for t in trades], Covers("id", [Interval(first - 1, first + count - 1)]))


def assert_replicated(master: Node) -> None:
    """Wait until the replica has all: WAIT is for what its own connection wrote, and what came before."""
    master.client.set("written", 1)
    wait_for(lambda: master.client.wait(1, 1_000) == 1)


async def test_storing_goes_on_when_the_replica_takes_over(watched: WatchedRedis) -> None:
    with connect(watched.url) as client, RedisStorage(watched.url) as storage:
        lease = Lease(client, "x", 60)
        put(storage, 0, 2_000)
        storage.store("price", 1.5, 1_767_225_600_000)
        assert lease.hold()
        storage.flush()
        assert_replicated(watched.master)
        watched.master.kill()
        put(storage, 2_000, 500)  # neither blocks nor raises
        with pytest.raises(StorageUnavailable, match=r"not written within 0\.2 s: Redis is away"):
            storage.flush(timeout=0.2)
        await until(lambda: watched.state()["port"] == str(watched.replica.port))
        put(storage, 2_500, 500)
        storage.flush()
        assert [int(value.id) for _, value in storage.fetch(KEY)] == list(range(3_000))
        assert storage.coverage(KEY).intervals == ((-1, 2_999),)
        assert len(storage.bars(KEY)) == 3_000
        assert storage.fetch("price") == [(1_767_225_600_000, 1.5)]
        await until(lambda: renewed(lease))
        assert watched.replica.client.role()[0] == "master"


def renewed(lease: Lease) -> bool:
    """The sentinel may take the new master for down for a moment, as its processes compete for this machine."""
    with suppress(StorageUnavailable):
        return lease.renew()
    return False


def test_a_master_that_became_the_replica_is_left_for_the_new_one(watched: WatchedRedis) -> None:
    with RedisStorage(watched.url) as storage:
        put(storage, 0, 10)
        storage.flush()
        assert_replicated(watched.master)
        watched.sentinel.ask("SENTINEL", "FAILOVER", watched.name)
        wait_for(lambda: watched.state()["port"] == str(watched.replica.port))
        watched.master.ask("REPLICAOF", "127.0.0.1", watched.replica.port)  # as the sentinel does within 10 s
        put(storage, 10, 10)
        storage.flush()
        assert len(storage.fetch(KEY)) == 20
        assert_replicated(watched.replica)
        assert watched.master.client.hget(f"qc:{{{KEY}}}", "n:new") == "20"


def test_celerys_messages_go_through_the_same_master(watched: WatchedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTION_URL", watched.url)
    settings = load_settings()
    with (
        Connection(settings.broker(), transport_options=settings.broker_options()) as connection,
        connection.SimpleQueue("polls") as queue,
    ):
        queue.put({"number": 7})
        assert watched.master.client.llen("polls") == 1
        message = queue.get(timeout=5)
        assert message.payload == {"number": 7}
        message.ack()


def test_one_sentinel_that_answers_is_enough(watched: WatchedRedis) -> None:
    [nobody] = free_ports(1)
    with open_storage(watched.url.replace("@", f"@127.0.0.1:{nobody},")) as storage:
        assert storage.series() == []


@pytest.mark.parametrize(
    ("there", "changed"), [("the-master", "another-name"), ("sentinel_password=", "sentinel_password=wrong")]
)
def test_without_a_master_the_storage_is_away(watched: WatchedRedis, there: str, changed: str) -> None:
    with (
        open_storage(watched.url.replace(there, changed)) as storage,
        pytest.raises(StorageUnavailable, match=r"^Redis is away: No master found for '[a-z-]+'$"),
    ):
        storage.series()


def test_a_wrong_password_of_the_master_is_said_to_be_one(watched: WatchedRedis) -> None:
    with (
        open_storage(watched.url.replace(":", ":wrong", 2).replace(":wrong//", "://")) as storage,
        pytest.raises(StorageUnavailable, match="refuses the login") as caught,
    ):
        storage.series()
    assert watched.password not in str(caught.value)
