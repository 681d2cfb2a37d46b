"""Writing while Redis is away, full, emptied or wrong: nothing is lost, and what can't be is told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from collection.embedded import EmbeddedRedis
from collection.errors import RetryLater, StorageRefused, StorageUnavailable
from collection.storage import Covers, Interval, RedisStorage
from collection.storage.delivery import Write
from collection.storage.redis_server import connect
from collection.storage.values import Entry
from collection.storage.writer import Batch, Writer
from tests.conftest import trade
from tests.simulation import until

KEY = "trades:binance:BTC/USDT"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "own") as started:
        yield started


@pytest.fixture
def own(server: EmbeddedRedis) -> Iterator[RedisStorage]:
    """A storage in a Redis that the test may harm."""
    with RedisStorage(server.url) as opened:
        yield opened


def put(storage: RedisStorage, first: int, count: int) -> None:
    trades = [trade(number) for number in range(first, first + count)]
    storage.store_batch(KEY, [(t.timestamp, t) for t in trades], Covers("id", [Interval(first - 1, first + count - 1)]))


def test_what_is_stored_while_redis_is_away_is_written_when_it_is_back(
    server: EmbeddedRedis, own: RedisStorage
) -> None:
    put(own, 1, 10)
    own.flush()
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    put(own, 11, 10)  # neither blocks nor raises
    with pytest.raises(StorageUnavailable, match=r"not written within 0\.3 s: Redis is away"):
        own.flush(KEY, timeout=0.3)
    with pytest.raises(StorageUnavailable, match="Redis is away"):
        own.fetch(KEY)
    server.start()
    own.flush()
    assert len(own.fetch(KEY)) == 20
    assert own.coverage(KEY).intervals == ((0, 20),)


def test_what_redis_has_no_room_for_waits_until_it_has(server: EmbeddedRedis, own: RedisStorage) -> None:
    put(own, 1, 1)
    own.flush()
    with connect(server.url) as client:
        client.config_set("maxmemory", "1")
        put(own, 2, 10)
        with pytest.raises(StorageUnavailable, match="takes no writes"):
            own.flush(timeout=0.3)
        assert own.coverage(KEY).end == 1
        client.config_set("maxmemory", "0")
    own.flush()
    assert own.coverage(KEY).end == 11


def test_an_emptied_redis_is_filled_and_listed_anew(server: EmbeddedRedis, own: RedisStorage) -> None:
    put(own, 1, 5)
    own.flush()
    with connect(server.url) as client:
        client.flushall()
        client.script_flush()
    put(own, 6, 5)
    own.flush()
    assert own.series() == [KEY]
    assert own.coverage(KEY).intervals == ((5, 10),)


def test_a_key_that_something_else_uses_is_told_and_stops_no_other(server: EmbeddedRedis, own: RedisStorage) -> None:
    with connect(server.url) as client:
        client.set(f"qc:{{{KEY}}}", "not ours")
    put(own, 1, 5)
    own.store("price", 1.5, 1_767_225_600_000)
    with pytest.raises(StorageRefused, match="WRONGTYPE"):
        own.flush()
    assert own.fetch("price") == [(1_767_225_600_000, 1.5)]


def test_writers_in_many_threads_store_each_trade_once(redis_url: str) -> None:
    def write(offset: int) -> None:
        with RedisStorage(redis_url) as storage:
            for first in range(1 + offset, 2000, 40):
                put(storage, first, 100)

    threads = [threading.Thread(target=write, args=(number * 10,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with RedisStorage(redis_url) as storage:
        ids = [int(value.id) for _, value in storage.fetch(KEY)]
        counters = storage.counters(KEY)
        assert ids == list(range(1, max(ids) + 1))
        assert counters["new"] == len(ids)
        assert counters["new"] + counters["duplicate"] == 4 * 50 * 100
        assert storage.coverage(KEY).intervals == ((0, max(ids)),)


def each(write: Callable[[str, Batch], None]) -> Write:
    """Make what writes one batch into what writes several, as the writer wants it."""

    def write_all(batches: Sequence[tuple[str, Batch]]) -> list[Exception | None]:
        failures: list[Exception | None] = []
        for key, batch in batches:
            try:
                write(key, batch)
                failures.append(None)
            except Exception as error:
                failures.append(error)
        return failures

    return write_all


def entries(count: int) -> list[Entry]:
    return [(1, number, b"") for number in range(count)]


async def test_beyond_its_room_the_writer_leaves_out_whole_batches_and_counts_them() -> None:
    away = threading.Event()
    written: list[Batch] = []

    def write(key: str, batch: Batch) -> None:
        if not away.is_set():
            raise RetryLater("away")
        written.append(batch)

    writer = Writer(each(write), room=13)  # two batches with ten records, and the count of what is left out
    writer.put("a", Batch("value", entries(8), Covers("id", [Interval(0, 8)])))
    writer.put("a", Batch("value", entries(8), Covers("id", [Interval(8, 16)])))
    writer.put("b", Batch("value", entries(2)))
    away.set()
    writer.flush(None, 5)
    writer.close()
    assert sum(len(batch.entries) for batch in written) == 10
    assert sum((Counter(batch.counts) for batch in written), Counter()) == {"dropped:no_room": 8}
    assert [interval for batch in written if batch.covers for interval in batch.covers.intervals] == [(0, 8)]


async def test_a_batch_that_cannot_be_written_is_set_aside_and_told_once() -> None:
    written = []

    def write(key: str, batch: Batch) -> None:
        if key == "bad":
            raise ZeroDivisionError("poison")
        written.append(key)

    writer = Writer(each(write))
    writer.put("bad", Batch("value", entries(1)))
    writer.put("good", Batch("value", entries(1)))
    writer.flush("good", 5)
    with pytest.raises(StorageRefused, match="bad: ZeroDivisionError: poison"):
        writer.flush("bad", 5)
    writer.flush(None, 5)
    writer.close()
    assert written == ["good"]
    with pytest.raises(RuntimeError, match="closed"):
        writer.put("good", Batch("value", entries(1)))


async def test_a_failure_is_told_to_all_who_wait_for_it_and_to_no_later_one() -> None:
    go = threading.Event()

    def write(key: str, batch: Batch) -> None:
        go.wait(5)
        raise ZeroDivisionError("poison")

    writer, told = Writer(each(write)), Counter[str]()

    def flush(key: str | None) -> None:
        try:
            writer.flush(key, 5)
            told["nothing"] += 1
        except StorageRefused:
            told["failure"] += 1

    writer.put("k", Batch("value", entries(1)))
    threads = [threading.Thread(target=flush, args=(key,)) for key in (None, "k", "k")]
    for thread in threads:
        thread.start()
    await until(lambda: len(writer._listeners) == 3)
    go.set()
    for thread in threads:
        thread.join()
    flush("k")
    writer.close()
    assert told == {"failure": 3, "nothing": 1}


async def test_of_batches_written_together_only_the_bad_one_is_set_aside() -> None:
    written: list[int] = []

    def write(key: str, batch: Batch) -> None:
        if any(entry[1] == 13 for entry in batch.entries):
            raise ValueError("thirteen")
        written.extend(int(entry[1]) for entry in batch.entries)

    writer = Writer(each(write), delay=0.2)
    for entry in entries(20):
        writer.put("k", Batch("value", [entry]))
    with pytest.raises(StorageRefused, match="k: ValueError: thirteen"):
        writer.flush("k", 5)
    writer.close()
    assert written == [number for number in range(20) if number != 13]


def test_of_bad_coverage_nothing_is_tried_for_ever() -> None:
    def write(key: str, batch: Batch) -> None:
        if batch.covers:
            raise ValueError("no such interval")

    writer = Writer(each(write), delay=0.2)
    for upto in range(3):
        writer.put("k", Batch(None, covers=Covers("id", [Interval(0, upto)])))
    with pytest.raises(StorageRefused, match="no such interval"):
        writer.flush("k", 5)
    writer.close()


async def test_a_busy_key_keeps_no_other_waiting() -> None:
    writer, done = Writer(each(lambda key, batch: time.sleep(0.002))), threading.Event()

    def keep_busy() -> None:
        while not done.is_set():
            writer.put("busy", Batch("value", entries(1)))

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for _ in range(3):
            writer.put("calm", Batch("value", entries(1)))
            writer.flush("calm", 5)
    finally:
        done.set()
        busy.join()
        writer.close()


async def test_while_the_server_is_away_memory_is_bounded_whatever_is_stored() -> None:
    back = threading.Event()
    counted: Counter[str] = Counter()

    def write(key: str, batch: Batch) -> None:
        if not back.is_set():
            raise RetryLater("away")
        counted.update(batch.counts)

    writer = Writer(each(write), room=100)
    for _ in range(10_000):
        writer.put("k", Batch("value", entries(1)))
        writer.put("k", Batch(None, counts={"refused:no_price": 1}))
    assert writer._queues.size < 110
    back.set()
    writer.flush("k", 5)
    writer.close()
    assert counted["refused:no_price"] == 10_000
    assert 9_900 < counted["dropped:no_room"] < 10_000


def test_a_login_that_is_refused_for_a_while_costs_nothing(server: EmbeddedRedis, own: RedisStorage) -> None:
    put(own, 1, 1)
    own.flush()
    with connect(server.url) as client:
        client.execute_command("ACL", "SETUSER", "default", "-evalsha", "-eval")
        put(own, 2, 10)
        with pytest.raises(StorageUnavailable, match="refuses the login"):
            own.flush(timeout=0.5)
        client.execute_command("ACL", "SETUSER", "default", "+@all")
    own.flush()
    assert own.coverage(KEY).end == 11


def test_numbers_stored_without_the_module_stay_readable_when_the_server_gains_it(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "own", modules=False) as plain, RedisStorage(plain.url) as storage:
        storage.store("price", 1.5, 1_767_225_600_000)
        storage.flush()
    with EmbeddedRedis(tmp_path / "own") as richer, RedisStorage(richer.url) as storage:
        storage.store("price", 2.5, 1_767_225_600_001)
        storage.store("other", 3.5, 1_767_225_600_001)
        storage.flush()
        assert storage.fetch("price") == [(1_767_225_600_000, 1.5), (1_767_225_600_001, 2.5)]
        assert [info.records for info in storage.info(["price", "other"])] == [2, 1]


async def test_a_flush_waits_for_counts_also_when_more_are_added_to_them() -> None:
    go = threading.Event()
    counted: Counter[str] = Counter()

    def write(key: str, batch: Batch) -> None:
        busy.set()
        go.wait(5)
        counted.update(batch.counts)

    busy = threading.Event()
    writer = Writer(each(write))
    writer.put("other", Batch("value", entries(1)))
    await until(busy.is_set)  # what follows waits
    writer.put("k", Batch(None, counts={"refused:no_price": 1}))
    flush = threading.Thread(target=writer.flush, args=("k", 5))
    flush.start()
    await until(lambda: len(writer._listeners) == 1)
    writer.put("k", Batch(None, counts={"refused:no_price": 1}))
    flush.join(0.3)
    assert flush.is_alive()  # nothing is written yet
    go.set()
    flush.join()
    assert counted["refused:no_price"] >= 1
    writer.close()
    assert counted == {"refused:no_price": 2}


async def test_small_batches_are_written_together() -> None:
    calls: list[int] = []
    writer = Writer(each(lambda key, batch: calls.append(len(batch.entries))), delay=0.2)
    for _ in range(50):
        writer.put("a", Batch("value", entries(2)))
    await until(lambda: sum(calls) == 100)
    writer.close()
    assert len(calls) <= 2


async def test_as_soon_as_enough_waits_it_is_written() -> None:
    calls: list[int] = []
    writer = Writer(each(lambda key, batch: calls.append(len(batch.entries))), delay=60)
    for _ in range(10):
        writer.put("a", Batch("value", entries(500)))
    await until(lambda: sum(calls) == 5000, 5)
    writer.close()
    assert calls == [5000]
