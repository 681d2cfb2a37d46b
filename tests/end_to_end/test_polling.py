"""Real workers, beats and exchange: what is stored equals what was published, whatever dies on the way."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from collection.errors import CollectionError
from collection.storage import RedisStorage
from collection.storage.redis_server import connect
from tests.end_to_end.judge import audit, get
from tests.end_to_end.nodes import Nodes
from tests.simulation import KEY, MARKET, make_tape, stored_lines, tape_lines, until


async def test_a_tape_is_stored_digit_for_digit(
    nodes: Nodes, store: RedisStorage, port: int, tmp_path: Path, write_feeds: Callable[..., None]
) -> None:
    tape = make_tape(tmp_path / "tape.csv", 4_321)
    write_feeds(MARKET)
    nodes.simulator("--tape", f"{MARKET}=tape.csv", "--speed", "200", "--port", str(port))
    nodes.worker()
    nodes.beat()
    await until(lambda: len(store.fetch(KEY)) == len(tape), 40)
    assert stored_lines(store) == tape_lines(tape)
    assert audit(store, port, MARKET) == len(tape)


async def test_the_recording_is_stored_digit_for_digit_while_all_goes_wrong(
    nodes: Nodes, store: RedisStorage, port: int, recording: Path, write_feeds: Callable[..., None]
) -> None:
    """Answers repeated, reordered and failing, the worker and beat killed on the way; needs the recording."""
    key, market = "trades:binance:XRP/ETH", "XRP/ETH"
    write_feeds(market)
    faults = "repeat=0.2,reorder=0.2,error=0.2"
    nodes.simulator("--tape", f"{market}={recording}", "--speed", "30000", "--port", str(port), "--misbehave", faults)
    worker, beat = nodes.worker(), nodes.beat()
    for victim in (worker, beat, worker):
        before = len(store.fetch(key))
        await until(lambda before=before: len(store.fetch(key)) > before or before == 12_477, 40)  # type: ignore[misc]
        victim.kill()
        victim.restart()
    await until(lambda: len(store.fetch(key)) == 12_477, 60)
    with gzip.open(recording, "rt") as file:
        rows = list(csv.reader(file))[1:]
    assert stored_lines(store, key) == [",".join(row[1:]) for row in rows]
    shifts = {int(row[0]) - at for row, (at, _) in zip(rows, store.fetch(key), strict=True)}
    assert len(shifts) == 1
    assert shifts.pop() % 1000 == 0


async def test_two_beats_and_two_workers_are_as_good_as_one_and_either_may_die(
    nodes: Nodes, store: RedisStorage, port: int, write_feeds: Callable[..., None]
) -> None:
    markets = ["AAA/USDT", "BBB/USDT", "CCC/USDT", "DDD/USDT"]
    write_feeds(*markets)
    arguments = [part for market in markets for part in ("--market", market)]
    nodes.simulator(*arguments, "--rate", "40", "--port", str(port), "--state", "simulator.json")
    workers = [nodes.worker("one"), nodes.worker("two")]
    beats = [nodes.beat("first"), nodes.beat("second", app="workers")]
    keys = [f"trades:binance:{market}" for market in markets]

    def records() -> int:
        return sum(store.counters(key).get("new", 0) for key in keys)

    await until(lambda: all(store.coverage(key).end for key in keys), 30)
    assert [("this one sends" in beat.logs()) for beat in beats] == [True, False]
    beats[0].kill()
    workers[0].kill()
    await until(lambda: "this one sends" in beats[1].logs(), 20)
    before = records()
    await until(lambda: records() > before + 100, 30)
    for market in markets:
        assert audit(store, port, market) > 0
    # Did both beats send, every other message of a market would come too soon.
    assert sum(store.counters(key).get("skipped:too_soon", 0) for key in keys) <= len(keys)


async def test_beat_follows_the_feeds_file_and_keeps_the_old_one_while_it_is_wrong(
    nodes: Nodes, store: RedisStorage, port: int, write_feeds: Callable[..., None], tmp_path: Path
) -> None:
    write_feeds("AAA/USDT")
    nodes.simulator("--market", "AAA/USDT", "--market", "BBB/USDT", "--port", str(port))
    nodes.worker()
    beat = nodes.beat()

    def collected() -> list[str]:
        return [key for key in store.series() if key.startswith("trades:")]

    await until(lambda: collected() == ["trades:binance:AAA/USDT"], 30)
    (tmp_path / "feeds.toml").write_text("[[feeds]]\nname = 1\n")
    await until(lambda: "feeds.toml: feeds[1]: type: missing" in beat.logs())
    write_feeds("AAA/USDT", "BBB/USDT")
    await until(lambda: collected() == ["trades:binance:AAA/USDT", "trades:binance:BBB/USDT"], 30)


async def test_redis_killed_and_back_loses_nothing(
    nodes: Nodes, port: int, tmp_path: Path, write_feeds: Callable[..., None]
) -> None:
    """This test has a Redis of its own, which it kills."""
    from collection.embedded import EmbeddedRedis

    market, key = "AAA/USDT", "trades:binance:AAA/USDT"
    write_feeds(market)
    with EmbeddedRedis(tmp_path / "own") as server, RedisStorage(server.url) as store:
        nodes.variables["COLLECTION_URL"] = server.url
        nodes.simulator("--market", market, "--rate", "100", "--port", str(port))
        worker, beat = nodes.worker(), nodes.beat()

        def records() -> int:
            try:
                return len(store.fetch(key))
            except CollectionError:
                return 0

        await until(lambda: records() > 100, 30)
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        await until(lambda: "Redis is away" in beat.logs(), 20)
        server.start()
        stored = records()
        await until(lambda: records() > stored + 200, 40)
        assert audit(store, port, market) > 300
        assert (worker.container.status, beat.container.status) == ("running", "running")
        nodes.teardown()


async def test_a_worker_with_a_retry_pending_survives_a_restart_of_redis(
    nodes: Nodes, port: int, tmp_path: Path, write_feeds: Callable[..., None]
) -> None:
    """The exchange is not there, so polls are retried; the third retry is seconds away when Redis is killed."""
    from collection.embedded import EmbeddedRedis

    write_feeds("AAA/USDT", "BBB/USDT", "CCC/USDT")
    with EmbeddedRedis(tmp_path / "own") as server:
        nodes.variables |= {"COLLECTION_URL": server.url, "COLLECTION_INTERVALS": '{"trades": "20s"}'}
        worker, _ = nodes.worker(), nodes.beat()
        await until(lambda: worker.logs().count("Retry in") >= 9, 60)
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        await until(lambda: "connection to broker lost" in worker.logs().lower(), 20)
        server.start()
        before = worker.logs().count("received")
        await until(lambda: worker.logs().count("received") > before, 40)
        assert worker.container.status == "running"
        nodes.teardown()


async def test_messages_that_piled_up_are_worked_off_as_one(
    nodes: Nodes, store: RedisStorage, port: int, write_feeds: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    market, key = "AAA/USDT", "trades:binance:AAA/USDT"
    write_feeds(market)
    nodes.simulator("--market", market, "--port", str(port))
    nodes.variables["COLLECTION_INTERVALS"] = '{"trades": "60s"}'
    for name, value in nodes.variables.items():
        monkeypatch.setenv(name, value)
    from workers.tasks import poll

    for _ in range(20):
        poll.delay(key)
    nodes.worker()
    await until(lambda: store.counters(key).get("skipped:too_soon") == 19 and bool(store.fetch(key)), 20)
    assert audit(store, port, market) > 0


async def test_beat_adds_no_polls_while_no_worker_takes_them(
    nodes: Nodes, redis_url: str, write_feeds: Callable[..., None]
) -> None:
    write_feeds("AAA/USDT")
    nodes.variables["COLLECTION_INTERVALS"] = '{"trades": "50ms"}'
    beat = nodes.beat()
    await until(lambda: "is a worker there? pausing" in beat.logs(), 20)
    with connect(redis_url) as client:
        waiting = client.llen("polls")
        beat.kill("SIGTERM")
        assert 12 <= client.llen("polls") <= waiting + 1 < 100
        client.delete("polls")


async def test_the_daemon_in_one_process_collects_the_same(
    nodes: Nodes, store: RedisStorage, port: int, write_feeds: Callable[..., None]
) -> None:
    write_feeds("AAA/USDT", "BBB/USDT")
    faults = "error=0.3,repeat=0.3,reorder=0.3"
    markets = ["--market", "AAA/USDT", "--market", "BBB/USDT"]
    nodes.simulator(*markets, "--rate", "50", "--port", str(port), "--misbehave", faults)
    daemon = nodes.daemon()
    await until(lambda: all(len(store.fetch(f"trades:binance:{name}/USDT")) > 150 for name in ("AAA", "BBB")), 40)
    daemon.kill("SIGINT")
    assert daemon.container.returncode == 0
    for market in ("AAA/USDT", "BBB/USDT"):
        assert audit(store, port, market) > 150


async def test_flower_shows_the_worker(
    nodes: Nodes, store: RedisStorage, port: int, write_feeds: Callable[..., None]
) -> None:
    write_feeds("AAA/USDT")
    flower_port = port + 1 if port < 65_000 else port - 1
    nodes.worker()
    nodes.flower(flower_port)

    def shown() -> bool:
        try:
            return b"worker@" in get(f"http://127.0.0.1:{flower_port}/workers")
        except OSError:
            return False

    await until(shown, 30)
