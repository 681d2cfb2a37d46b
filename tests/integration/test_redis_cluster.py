"""Redis Cluster: series spread over its nodes, while nodes go, come back, and hand slots to each other.

The contract of all storages runs on a cluster as well, see `test_storage_contract`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from collection.errors import StorageUnavailable
from collection.storage import Covers, Interval, RedisStorage, open_storage
from collection.storage.redis_server import connect, series_name
from tests.clusters import RedisCluster, wait_for
from tests.conftest import trade
from workers.lease import Lease
from workers.runtime import Runtime

MARKETS = ["BTC", "ETH", "XRP", "LTC", "ADA", "SOL", "DOT", "TRX", "XLM", "BCH", "EOS", "UNI"]
KEYS = [f"trades:binance:{base}/USDT" for base in MARKETS]


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A cluster that the tests may harm, with a node that has no slot yet."""
    with RedisCluster(tmp_path_factory.mktemp("own"), spare=1) as servers:
        yield servers


@pytest.fixture
def own(own_cluster: RedisCluster) -> Iterator[RedisStorage]:
    with connect(own_cluster.url) as client:
        client.flushall()
    with RedisStorage(own_cluster.url) as opened:
        yield opened


def put(storage: RedisStorage, key: str, first: int, count: int) -> None:
    trades = [trade(number) for number in range(first, first + count)]
    storage.store_batch(key, [(t.timestamp, t) for t in trades], Covers("id", [Interval(first - 1, first + count - 1)]))


def stored(storage: RedisStorage, key: str) -> list[int]:
    return [int(value.id) for _, value in storage.fetch(key)]


def test_a_series_is_on_one_node_and_series_are_spread_over_all(own_cluster: RedisCluster, own: RedisStorage) -> None:
    for key in KEYS:
        put(own, key, 5, 5)
        put(own, key, 0, 5)  # late
        own.store(f"{key}:price", 1.5, 1_767_225_600_000)
    own.flush()
    names = [set(node.client.scan_iter()) for node in own_cluster.nodes]
    for key in KEYS:
        assert len([found for found in names if any(name.startswith(series_name(key)) for name in found)]) == 1
    assert all(len(found) > 5 for found in names[:-1])
    assert own.series() == sorted([*KEYS, *(f"{key}:price" for key in KEYS)])
    assert {info.records for info in own.info(KEYS)} == {10}


def test_series_of_all_nodes_are_read_on_together(own: RedisStorage) -> None:
    for key in KEYS:
        put(own, key, 0, 3)
    own.flush()
    positions = {key: tail.position for key, tail in own.tail(dict.fromkeys(KEYS, "")).items()}
    for key in KEYS:
        put(own, key, 3, 2)
    own.flush()
    tails = own.tail(positions)
    for key in KEYS:
        assert [value.id for _, value in tails[key].values] == ["3", "4"]


def test_what_is_stored_while_a_master_is_away_is_written_when_it_is_back(
    own_cluster: RedisCluster, own: RedisStorage
) -> None:
    [key, *others] = KEYS
    for one in KEYS:
        put(own, one, 0, 10)
    own.flush()
    node = own_cluster.owner(series_name(key))
    node.kill()
    put(own, key, 10, 10)  # neither blocks nor raises
    with pytest.raises(StorageUnavailable, match="not written within"):
        own.flush(key, timeout=0.3)
    with pytest.raises(StorageUnavailable, match="Redis"):
        own.fetch(key)
    node.start()
    wait_for(own_cluster.is_ready)
    own.flush()
    assert stored(own, key) == list(range(20))
    assert own.coverage(key).intervals == ((-1, 19),)
    assert {tuple(stored(own, other)) for other in others} == {tuple(range(10))}


def test_scripts_that_a_node_forgot_are_sent_again(own_cluster: RedisCluster, own: RedisStorage) -> None:
    put(own, KEYS[0], 0, 5)
    own.flush()
    own_cluster.owner(series_name(KEYS[0])).client.script_flush()
    put(own, KEYS[0], 5, 5)
    own.flush()
    assert stored(own, KEYS[0]) == list(range(10))


def test_a_slot_moves_to_a_new_node_while_records_arrive(own_cluster: RedisCluster, own: RedisStorage) -> None:
    key, name = KEYS[0], series_name(KEYS[0])
    put(own, key, 0, 10)
    own.flush()
    node = own_cluster.nodes[-1]
    own_cluster.begin_to_move(name, node)
    put(own, key, 10, 10)  # waits: of the keys of one call some are there, and some are not
    with pytest.raises(StorageUnavailable, match="not written within"):
        own.flush(key, timeout=0.2)
    assert own.counters(key)["new"] == 10
    assert own._redis.get(f"{{{key}}}:not-there") is None  # which the node is asked for that has no slot yet
    assert own.info([key])[0].records == len(own.fetch(key)) == 10
    own_cluster.move(name, node)
    assert own_cluster.owner(name) is node
    own.flush()
    assert stored(own, key) == list(range(20))
    [tail] = own.tail({key: ""}).values()
    assert len(tail.values) == len(own.bars(key)) == 20


def test_a_call_on_a_slot_that_moves_writes_all_or_nothing(own_cluster: RedisCluster, own: RedisStorage) -> None:
    key, name = KEYS[1], series_name(KEYS[1])
    for first, count in ((10, 10), (0, 5), (5, 5)):  # from here on all keys of the series exist: none makes a call wait
        put(own, key, first, count)
        own.flush()
    source = own_cluster.owner(name)
    target = next(node for node in own_cluster.nodes if node is not source)
    own_cluster.begin_to_move(name, target)
    put(own, key, 20, 10)
    own.flush()
    own_cluster.move(name, target)
    put(own, key, 30, 10)
    own.flush()
    assert own.coverage(key).intervals == ((-1, 39),)
    assert own.counters(key)["new"] == len(stored(own, key)) == len(own.bars(key)) == 40


def test_a_cluster_without_timeseries_that_is_away_at_first_and_returns_elsewhere(tmp_path: Path) -> None:
    first = RedisCluster(tmp_path / "first", size=1, modules=False)
    second = RedisCluster(tmp_path / "second", size=1, modules=False, password=first.password)
    hosts = f"127.0.0.1:{first.nodes[0].port},127.0.0.1:{second.nodes[0].port}"
    with ExitStack() as stack:
        stack.callback(second.nodes[0].kill)
        storage = stack.enter_context(RedisStorage(f"redis+cluster://:{first.password}@{hosts}"))
        put(storage, KEYS[0], 0, 5)
        with pytest.raises(StorageUnavailable, match="Redis Cluster is away"):
            storage.fetch(KEYS[0])
        with first:
            storage.flush()
            storage.store("price", 1.5, 1_767_225_600_000)
            storage.flush()
            assert storage.fetch("price") == [(1_767_225_600_000, 1.5)]
            assert len(storage.bars(KEYS[0])) == 5
        put(storage, KEYS[1], 0, 5)
        with pytest.raises(StorageUnavailable, match="Redis Cluster is away"):
            storage.fetch(KEYS[1])
        second.nodes[0].start()
        with pytest.raises(StorageUnavailable, match="All slots are not covered"):
            storage.fetch(KEYS[1])
        with second:
            storage.flush()
            assert stored(storage, KEYS[1]) == list(range(5))


def test_a_clusters_node_reached_by_the_url_of_a_single_server_says_so(own_cluster: RedisCluster) -> None:
    address = f"127.0.0.1:{own_cluster.nodes[0].port}"
    with (
        open_storage(f"redis://:{own_cluster.password}@{address}/0") as storage,
        pytest.raises(StorageUnavailable, match=r"Redis is a cluster .*redis\+cluster://") as caught,
    ):
        storage.info(KEYS)
    assert own_cluster.password not in str(caught.value)


def test_a_wrong_password_waits_for_a_better_one(own_cluster: RedisCluster) -> None:
    with (
        open_storage(own_cluster.url.replace(own_cluster.password, "wrong-one")) as storage,
        pytest.raises(StorageUnavailable) as caught,
    ):
        storage.series()
    assert "wrong-one" not in str(caught.value)


def test_leases_and_turns_are_kept_on_a_cluster(own_cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(own_cluster.url) as client:
        client.flushall()
        for key in KEYS:
            one, two = Lease(client, f"poll:{key}", 10), Lease(client, f"poll:{key}", 10)
            assert (one.hold(), two.hold(), one.renew()) == (True, False, True)
            one.release()
            assert two.hold()
    monkeypatch.setenv("COLLECTION_STORAGE_URL", own_cluster.url)
    runtime = Runtime()
    for key in KEYS:
        assert runtime.turn(key, 5.0) == 0
        assert runtime.turn(key, 5.0) is None
    runtime.redis.close()
