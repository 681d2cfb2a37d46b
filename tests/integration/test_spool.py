"""Writers with a spool, and a Redis that is killed, full, read-only or hung: all arrives, once, when it is back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from collection.embedded import EmbeddedRedis
from collection.errors import RetryLater, StorageRefused, StorageUnavailable
from collection.storage import Covers, Interval, RedisStorage, spooler
from collection.storage.batch import Batch
from collection.storage.redis_server import call, connect
from collection.storage.segments import Segment
from collection.storage.spool import Spool
from collection.storage.spool_report import spool_report
from collection.storage.values import Entry, encode
from collection.storage.writer import Writer
from tests.conftest import trade
from tests.integration.test_storage_writer import each
from tests.simulation import until

KEY = "trades:binance:BTC/USDT"
ROOT = Path(__file__).parents[2]
AWAY = "unix:///nowhere/redis.sock"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "own") as started:
        with connect(started.url) as client:  # with everysec it may lose what it acknowledged while it syncs
            client.config_set("appendfsync", "always")
        yield started


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def own(server: EmbeddedRedis, spool: Path) -> Iterator[RedisStorage]:
    with RedisStorage(server.url, spool=spool) as opened:
        yield opened


def put(storage: RedisStorage, first: int, count: int, key: str = KEY) -> None:
    trades = [trade(number) for number in range(first, first + count)]
    storage.store_batch(key, [(t.timestamp, t) for t in trades], Covers("id", [Interval(first - 1, first + count - 1)]))


def kill(server: EmbeddedRedis) -> None:
    assert server.process is not None
    server.process.kill()
    server.process.wait()


def waiting(spool: Path) -> int:
    """How many records wait on disk."""
    return sum(sum(one.records.values()) for one in spool_report(spool).waiting)


async def drained(storage: RedisStorage, spool: Path) -> None:
    def is_empty() -> bool:
        storage.flush(timeout=2)  # which makes it hurry
        return not waiting(spool)

    await until(is_empty)


def assert_stored(storage: RedisStorage, upto: int, key: str = KEY) -> None:
    assert [int(value.id) for _, value in storage.fetch(key)] == list(range(1, upto + 1))
    assert storage.coverage(key).intervals == ((0, upto),)
    assert not {name for name in storage.counters(key) if name.startswith(("dropped", "refused"))}


async def test_redis_is_killed_again_and_again_and_all_arrives(
    server: EmbeddedRedis, own: RedisStorage, spool: Path
) -> None:
    for round_number in range(4):
        for first in range(round_number * 400 + 1, round_number * 400 + 401, 20):
            put(own, first, 20)
            if first % 400 == 201:
                kill(server)
            own.flush(KEY, timeout=5)  # durable, in Redis or here
        # All since it was killed, and what it had acknowledged just before: it might have lost that.
        assert set(range(round_number * 400 + 201, round_number * 400 + 401)) <= set(spooled(spool))
        server.start()
        await drained(own, spool)
    assert_stored(own, 1600)
    assert own.counters(KEY)["new"] == 1600


def spooled(spool: Path) -> Iterator[int]:
    for path in spool.rglob("*.segment"):
        for _, _, batch in Segment(path).read():
            yield from (int(entry[1]) for entry in batch.entries)


async def test_what_a_killed_redis_had_acknowledged_and_lost_is_written_again(
    server: EmbeddedRedis, own: RedisStorage, tmp_path: Path
) -> None:
    """With `appendfsync everysec` it may lose the last moment; here it loses all that it had."""
    put(own, 1, 10)
    own.flush()
    kill(server)
    for file in (tmp_path / "own" / "redis").rglob("*.aof*"):
        if file.is_file():
            file.unlink()
    put(own, 11, 10)
    own.flush()
    server.start()
    await until(lambda: not flush_failure(own) and len(own.fetch(KEY)) == 20)
    assert_stored(own, 20)


def test_no_file_is_touched_while_redis_takes_what_comes(own: RedisStorage, spool: Path) -> None:
    for first in range(1, 2001, 100):
        put(own, first, 100)
        own.flush(KEY)
    own.close()
    assert not spool.exists()


CHILD = """
import sys, time
from pathlib import Path
from tests.integration.test_spool import RedisStorage, put
storage = RedisStorage(sys.argv[1], spool=Path(sys.argv[2]))
first, count = int(sys.argv[3]), int(sys.argv[4])
for number in range(first, first + count, 10):
    put(storage, number, 10)
    storage.flush(timeout=5)
print("durable", flush=True)
time.sleep(600)
"""


def child(url: str, spool: Path, first: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, url, spool, first, count]
    return subprocess.Popen([*map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def test_what_a_killed_process_left_is_adopted_by_one_that_lives(server: EmbeddedRedis, spool: Path) -> None:
    kill(server)
    processes = [child(server.url, spool, 1, 100), child(server.url, spool, 101, 100)]
    try:
        assert [read_line(process) for process in processes] == ["durable"] * 2
        assert [one.held for one in spool_report(spool).waiting] == [True, True]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert [(one.held, one.storage) for one in spool_report(spool).waiting] == [
        (False, server.url.split(":", 1)[0] + "://" + server.url.split("@")[1])
    ] * 2
    server.start()
    with RedisStorage(server.url, spool=spool) as storage:
        await drained(storage, spool)
        assert_stored(storage, 200)
    assert not [path for path in spool.rglob("*") if path.is_dir() and path.parent != spool]


async def test_a_process_that_only_waits_adopts_as_well(
    server: EmbeddedRedis, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooler, "ADOPTION", 0.1)
    with RedisStorage(server.url, spool=spool) as idle:
        kill(server)
        with child(server.url, spool, 1, 100) as process:
            assert read_line(process) == "durable"
            server.start()  # the other may notice, or not any more
            process.kill()
        await until(lambda: not waiting(spool))
        assert_stored(idle, 100)


async def test_two_processes_share_a_spool_and_neither_takes_from_the_other(
    server: EmbeddedRedis, own: RedisStorage, spool: Path
) -> None:
    kill(server)
    other = child(server.url, spool, 101, 100)
    try:
        put(own, 1, 100)
        own.flush(timeout=5)
        assert read_line(other) == "durable"
        assert sorted(dict(one.records)[KEY] for one in spool_report(spool).waiting) == [100, 100]
        server.start()
        await drained(own, spool)  # the other drains its own, within its backoff
        assert_stored(own, 200)
    finally:
        other.kill()
        other.communicate()


def out_of_memory(client: redis.Redis) -> Callable[[], object]:
    client.config_set("maxmemory", "1")
    return lambda: client.config_set("maxmemory", "0")


def read_only(client: redis.Redis) -> Callable[[], object]:
    client.replicaof("127.0.0.1", "1")  # nobody is there
    return lambda: client.replicaof("NO", "ONE")


def no_disk(client: redis.Redis) -> Callable[[], object]:
    (Path(str(client.config_get("dir")["dir"])) / "dump.rdb").mkdir()  # in the way
    client.config_set("save", "3600 1")
    client.bgsave()
    while client.info("persistence")["rdb_last_bgsave_status"] != "err":
        time.sleep(0.005)
    return lambda: client.config_set("save", "")


def no_scripts(client: redis.Redis) -> Callable[[], object]:
    client.script_flush()
    call(client, "ACL", "SETUSER", "default", "-script")
    return lambda: call(client, "ACL", "SETUSER", "default", "+@all")


def no_writes(client: redis.Redis) -> Callable[[], object]:
    call(client, "ACL", "SETUSER", "default", "-@write")
    return lambda: call(client, "ACL", "SETUSER", "default", "+@all")


@pytest.mark.parametrize("refuse", [out_of_memory, read_only, no_disk, no_scripts, no_writes])
async def test_what_redis_refuses_waits_on_disk(
    server: EmbeddedRedis,
    own: RedisStorage,
    spool: Path,
    refuse: Callable[[redis.Redis], Callable[[], object]],
) -> None:
    put(own, 1, 10)
    own.store("price", 1.5, 1_767_225_600_000)
    own.flush()
    with connect(server.url) as client:
        allow = refuse(client)
        put(own, 11, 10)
        own.store("price", 2.5, 1_767_225_600_001)
        own.flush(timeout=2)
        assert waiting(spool) == 21  # with the ten trades that were written just before
        allow()
    await drained(own, spool)
    assert_stored(own, 20)
    assert own.fetch("price") == [(1_767_225_600_000, 1.5), (1_767_225_600_001, 2.5)]


async def test_a_redis_that_hangs_delays_a_flush_for_a_moment_only(
    server: EmbeddedRedis, own: RedisStorage, spool: Path
) -> None:
    put(own, 1, 10)
    own.flush()
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        put(own, 11, 10)
        began = time.monotonic()
        own.flush(KEY, timeout=4)
        assert time.monotonic() - began < 3
        put(own, 21, 10)
        began = time.monotonic()
        own.flush(KEY, timeout=4)  # it is known to hang
        assert time.monotonic() - began < 1
    finally:
        server.process.send_signal(signal.SIGCONT)
    await drained(own, spool)
    assert_stored(own, 30)


async def test_what_nobody_waits_for_goes_to_disk_after_a_moment(
    server: EmbeddedRedis, own: RedisStorage, spool: Path
) -> None:
    kill(server)
    put(own, 1, 10)
    await until(lambda: waiting(spool) == 10, 10)
    put(own, 11, 10)
    await until(lambda: waiting(spool) == 20, 5)


def test_what_waits_goes_to_disk_when_the_storage_is_closed(
    server: EmbeddedRedis, own: RedisStorage, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kill(server)
    put(own, 1, 10)
    own.count(KEY, "error:deadline")
    own.close()
    assert waiting(spool) == 10
    assert "not written before the end" not in caplog.text
    server.start()
    with RedisStorage(server.url, spool=spool) as storage:
        storage_is_drained = time.monotonic() + 10
        while "error:deadline" not in storage.counters(KEY) and time.monotonic() < storage_is_drained:
            storage.flush()  # the count is drained after the records
        assert storage.counters(KEY)["error:deadline"] == 1
        assert waiting(spool) == 0
        assert_stored(storage, 10)


async def test_a_segment_that_is_drained_twice_changes_nothing(
    server: EmbeddedRedis, own: RedisStorage, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooler, "ADOPTION", 0.2)
    kill(server)
    put(own, 1, 50)
    own.flush()
    own.close()
    [path] = spool.rglob("*.segment")
    data = path.read_bytes()
    server.start()
    for _ in range(2):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)  # as if the process had died before it deleted it
        with RedisStorage(server.url, spool=spool) as storage:
            await drained(storage, spool)
            assert_stored(storage, 50)


async def test_beyond_the_limit_the_oldest_go_are_counted_and_stay_uncovered(
    server: EmbeddedRedis, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisStorage(server.url, spool=spool, spool_limit=20_000) as storage:
        kill(server)
        for first in range(1, 2001, 50):
            put(storage, first, 50)
            storage.flush(timeout=5)
        server.start()
        await drained(storage, spool)
        ids = [int(value.id) for _, value in storage.fetch(KEY)]
        assert ids == list(range(ids[0], 2001))
        assert storage.counters(KEY)["dropped:spool_full"] == ids[0] - 1 > 1000
        assert storage.coverage(KEY).intervals == ((ids[0] - 1, 2000),)
    assert "the oldest, for it has reached its limit of 20000 bytes" in caplog.text


async def test_a_disk_that_takes_nothing_leaves_all_in_memory(
    server: EmbeddedRedis, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool.write_text("in the way")
    with RedisStorage(server.url, spool=spool) as storage:
        kill(server)
        put(storage, 1, 10)
        with pytest.raises(StorageUnavailable, match=r"not written within 0\.5 s: Redis is away.*; spool .*directory"):
            storage.flush(timeout=0.5)
        put(storage, 11, 10)
        with pytest.raises(StorageUnavailable):
            storage.flush(timeout=0.5)
        assert caplog.text.count("what Redis does not take stays in memory") == 1
        server.start()
        storage.flush()
        assert_stored(storage, 20)
        kill(server)
        spool.unlink()
        put(storage, 21, 10)
        storage.flush()
        assert waiting(spool) == 30  # with what was written just before


async def test_poison_is_set_aside_with_its_reason_and_stops_nobody(own: RedisStorage, spool: Path) -> None:
    good = encode([(one.timestamp, one) for one in map(trade, range(1, 101))])[1]
    poison: list[Entry] = [(1_767_225_600_000, 2**64, b"?"), (1_767_225_650_500, 2**65, b"!")]
    mixed = [*good[:30], poison[0], *good[30:77], poison[1], *good[77:]]
    own._writer.put(KEY, Batch("trade", mixed, Covers("id", [Interval(0, 100)]), {"error:deadline": 1}))
    put(own, 101, 100)
    own.store("price", 1.5, 1_767_225_600_000)
    with pytest.raises(StorageRefused, match=f"^{KEY}: Redis: "):
        own.flush()
    assert [int(value.id) for _, value in own.fetch(KEY)] == list(range(1, 201))
    assert own.coverage(KEY).intervals == ((100, 200),)
    assert own.fetch("price") == [(1_767_225_600_000, 1.5)]
    counters = own.counters(KEY)
    assert (counters["refused:set_aside"], counters["error:deadline"], counters["new"]) == (2, 1, 200)
    lines = [json.loads(line) for line in (spool / "set-aside.jsonl").read_text().splitlines()]
    assert [(line["key"], line["timestamp"], line["id"], line["payload"]) for line in lines] == [
        (KEY, 1_767_225_600_000, str(2**64), "Pw=="),
        (KEY, 1_767_225_650_500, str(2**65), "IQ=="),
    ]
    assert all(line["reason"].startswith("Redis: ") for line in lines)


async def test_what_is_of_another_type_than_its_series_is_set_aside_whole(
    server: EmbeddedRedis, own: RedisStorage, spool: Path
) -> None:
    put(own, 1, 10)
    own.flush()
    kill(server)
    own.store_batch(KEY, [(1_767_225_600_000 + n, "text") for n in range(5)], Covers("id", [Interval(10, 15)]))
    own.flush()
    server.start()
    await until(lambda: bool(flush_failure(own)))
    assert own.counters(KEY)["refused:set_aside"] == 5
    assert own.coverage(KEY).intervals == ((0, 10),)
    [((key, reason), number)] = spool_report(spool).set_aside.items()
    assert (key, number) == (KEY, 5)
    assert "MIXED" in reason


def flush_failure(storage: RedisStorage) -> str:
    try:
        storage.flush(timeout=2)
    except StorageRefused as refused:
        return str(refused)
    return ""


async def test_a_full_memory_overflows_to_disk_while_the_writer_hangs(tmp_path: Path) -> None:
    hang = threading.Event()

    def write(key: str, batch: Batch) -> None:
        hang.wait(20)
        counted.update(batch.counts)
        numbers.extend(int(entry[0]) for entry in batch.entries)

    counted: Counter[str] = Counter()
    numbers: list[int] = []
    spool = Spool(tmp_path, AWAY)
    writer = Writer(each(write), room=4_000, spool=spool)
    for number in range(0, 20_000, 10):
        writer.put("k", Batch("value", [(n, n, b"x" * 30) for n in range(number, number + 10)]))
        await until(lambda: writer._queues.size < 3_500)
    assert not numbers
    hang.set()
    await until(lambda: not spool.pending)
    writer.flush(None, 5)
    writer.close()
    assert sorted(set(numbers)) == list(range(20_000))
    assert not counted


def test_a_flush_is_kept_by_the_spool_however_often_the_writer_fails(tmp_path: Path) -> None:
    def write(key: str, batch: Batch) -> None:
        raise RetryLater("away")

    writer = Writer(each(write), spool=Spool(tmp_path, AWAY))
    began = time.monotonic()
    for number in range(50):
        writer.put("k", Batch("value", [(number, number, b"")]))
        writer.flush("k", 5)
    writer.close()
    assert time.monotonic() - began < 5
    assert waiting(tmp_path) == 50
