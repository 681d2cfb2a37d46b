"""Backfills on real workers: exact through kills of workers and command, while a live stream goes on undisturbed."""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import pytest

from collection.records import digest
from collection.simulator import Simulator
from collection.storage import RedisStorage
from collection.storage.days import DAY_MS
from collection.storage.redis_server import connect
from tests.end_to_end.judge import get
from tests.end_to_end.nodes import Nodes, RedisNode
from tests.end_to_end.test_commands import COLLECTION, collection
from tests.simulation import KEY, MARKET, make_tape, stored_lines, tape_lines, until
from workers.assignments import Assignments

COUNT = 100_000
DAYS = 3
FIRST, EARLIER = 77_000, 500
SIDES = ("buy", "sell")
LIVE_MS = 20
"""Milliseconds between two live trades."""


class Past:
    """A market that has had COUNT trades in three days when a test begins, some before them, and goes on."""

    def __init__(self, folder: Path) -> None:
        chance = random.Random(5)
        self.end = time.time_ns() // 1_000_000
        self.start = self.end - DAYS * DAY_MS
        times = sorted(chance.randrange(self.start, self.end) for _ in range(COUNT))
        times = [*range(self.start - EARLIER, self.start), *times, *range(self.end, self.end + 300_000, LIVE_MS)]
        self.arguments = ("--start", str(self.start))
        self.after = FIRST + EARLIER - 1
        """The id before the first one that is asked for."""
        self._began = times[0]
        self.tape, self.state = folder / "tape.csv", folder / "state.json"
        rows = (
            f"{at},{FIRST + number},{chance.choice(SIDES)},{1 + number % 900}.25,1.5" for number, at in enumerate(times)
        )
        self.tape.write_text("\n".join(["timestamp_ms,trade_id,side,price,amount", *rows, ""]))

    async def remember(self) -> None:
        """Have the simulator believe that it began to replay the tape, at its own pace, three days ago."""
        async with Simulator(tapes={MARKET: self.tape}, state=self.state):
            pass
        starts = json.loads(self.state.read_text())["starts"]
        self.state.write_text(json.dumps({"starts": dict.fromkeys(starts, self._began)}))


def backfill(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COLLECTION, "backfill", KEY, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
async def past(tmp_path: Path, nodes: Nodes, port: int, monkeypatch: pytest.MonkeyPatch) -> Past:
    made = Past(tmp_path)
    await made.remember()
    nodes.variables["COLLECTION_START"] = "now"
    nodes.variables["COLLECTION_EXCHANGES"] = nodes.variables["COLLECTION_EXCHANGES"].replace('"poll"', '"stream"')
    for name, value in nodes.variables.items():
        monkeypatch.setenv(name, value)
    nodes.simulator("--tape", f"{MARKET}={made.tape}", "--state", str(made.state), "--port", str(port))
    return made


def lag(store: RedisStorage, since: int, upto: int) -> list[int]:
    """How late live trades were received, in milliseconds."""
    return [trade.received - trade.timestamp for _, trade in store.fetch(KEY, since, upto)]


def p90(numbers: Sequence[int]) -> int:
    return sorted(numbers)[len(numbers) * 9 // 10]


def new(store: RedisStorage) -> int:
    return store.counters(KEY).get("new", 0)


def now() -> int:
    return time.time_ns() // 1_000_000


def is_exact(past: Past, store: RedisStorage, port: int) -> bool:
    """Whether what is stored is what was published, from the first trade that was asked for to the last one stored."""
    trades = [value for _, value in store.fetch(KEY)]
    told = get(f"http://127.0.0.1:{port}/_truth/LTC%2FETH?after={past.after}&until={trades[-1].id}")
    return (len(trades), digest(trades)) == (told["count"], told["digest"])


async def test_a_backfill_is_exact_through_kills_while_a_live_stream_stays_exact_and_as_quick(
    past: Past, nodes: Nodes, store: RedisStorage, redis_url: str, port: int, write_feeds: Callable[..., None]
) -> None:
    """Both workers and the command are killed half-way, and started again."""
    write_feeds(MARKET)
    workers = [nodes.worker("one"), nodes.worker("two")]
    nodes.streams("s1")
    with connect(redis_url) as client:
        await until(lambda: bool(Assignments(client).view().workers), 10)
    nodes.beat()
    await until(lambda: new(store) > 0, 40)
    live = now()
    await until(lambda: new(store) > 300, 20)

    began = now()
    command = backfill(*past.arguments)
    await until(lambda: new(store) > 30_000, 60)
    killed = now()
    command.kill()
    for worker in workers:
        worker.kill("SIGKILL")
    assert new(store) < 70_000
    command.communicate()
    for worker in workers:
        worker.restart()
    again = now()
    command = backfill(*past.arguments)
    out, _ = command.communicate(timeout=90)
    ended = now()

    assert command.returncode == 0, out
    assert f"{KEY}: " in out
    assert ": complete; " in out
    await until(lambda: store.latest(KEY)[0][0] > ended, 20)
    assert is_exact(past, store, port)
    assert len(store.coverage(KEY).intervals) == 1
    assert store.coverage(KEY).intervals[0].after == past.after
    assert not [name for name in store.counters(KEY) if name.startswith(("error:", "refused:", "gap:"))]
    before, during = lag(store, live, began), lag(store, began, killed) + lag(store, again, ended)
    told = f"lag, ms: median {median(before)} before, {median(during)} during; p90 {p90(before)}, {p90(during)}"
    assert median(during) < median(before) + 20, told
    assert p90(during) < p90(before) + 100, told

    quick = now()
    assert ": complete; " in collection("backfill", KEY, *past.arguments).stdout  # all of it is there
    assert now() - quick < 10_000


async def test_a_backfill_goes_on_when_a_redis_that_was_killed_is_back(
    tmp_path: Path, port: int, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command and the worker wait for it; what Redis had not on disk yet is read again."""
    (tmp_path / "own").mkdir()
    own = RedisNode(tmp_path / "own")
    nodes.variables["COLLECTION_URL"] = own.url
    for name, value in nodes.variables.items():
        monkeypatch.setenv(name, value)
    try:
        tape = make_tape(tmp_path / "tape.csv", 60_000, step_ms=4_000)  # some eleven hours, up to now
        nodes.simulator("--tape", f"{MARKET}=tape.csv", "--speed", "1e9", "--port", str(port))
        worker = nodes.worker()
        command = backfill("--start", str(now() - 36_000_000))
        with RedisStorage(own.url) as store:
            await until(lambda: new(store) > 15_000, 30)
            own.kill()
            await until(lambda: "Redis is away" in worker.logs(), 20)
            own.start()
            out, _ = await asyncio.to_thread(command.communicate, timeout=60)
            assert command.returncode == 0, out
            assert stored_lines(store) == tape_lines(tape)[-len(store.fetch(KEY)) :]
            assert len(store.fetch(KEY)) > 45_000
            assert len(store.coverage(KEY).intervals) == 1
    finally:
        nodes.teardown()
        own.teardown()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trades:binanse:BTC/USDT", "--start", "2026-01-01"], "did you mean 'binance'?"),
        (["trade:binance:BTC/USDT", "--start", "2026-01-01"], "unknown kind of data 'trade'; did you mean 'trades'?"),
        ([KEY], "--start is missing: say from which time on, such as --start 2026-01-31"),
        ([KEY, "--start", "yesterday"], "--start: 'yesterday' is no time"),
        ([KEY, "--start", "2020-01-01"], "the oldest day that is kept (retention.trades = 30d): start there, or keep"),
        ([KEY, "--start", "2999-01-01"], "--start 2999-01-01 does not lie before the end, 2"),
        ([KEY, "--start", "1", "--end", "0"], "--start 1 lies before 20"),
    ],
)
def test_what_cannot_be_backfilled_is_said(
    arguments: list[str], message: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTION_URL", redis_url)
    done = collection("backfill", *arguments, code=1)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_where_no_worker_is_it_says_so_and_leaves_the_job_to_one_that_comes(
    nodes: Nodes, store: RedisStorage, redis_url: str, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker consumes what the command sent before it was interrupted; there is no beat."""
    for name, value in nodes.variables.items():
        monkeypatch.setenv(name, value)
    tape = make_tape(tmp_path / "tape.csv", 2_500, step_ms=60_000)  # some hours, up to now
    nodes.simulator("--tape", f"{MARKET}=tape.csv", "--speed", "1e9", "--port", str(port))
    start = str(now() - 3_600_000)
    with (tmp_path / "out").open("wb") as out:
        command = subprocess.Popen([*COLLECTION, "backfill", KEY, "--start", start], stdout=out, stderr=out)
    await until(lambda: "no worker takes it: run `collection up`" in (tmp_path / "out").read_text(), 20)
    command.send_signal(signal.SIGINT)
    assert command.wait(10) == 130
    assert "it goes on without this command" in (tmp_path / "out").read_text()
    assert re.search(rf"{KEY}: [12] days? to be backfilled", collection("status").stderr)
    nodes.worker()
    done = await asyncio.to_thread(collection, "backfill", KEY, "--start", start, "--end", "2999-01-01")
    assert "--end 2999-01-01 is yet to come: up to now" in done.stderr
    assert ": complete; " in done.stdout
    wanted = tape_lines(tape)[-len(store.fetch(KEY)) :]
    assert stored_lines(store) == wanted
    assert 200 < len(wanted) < 600  # those of an hour
    assert "to be backfilled" not in collection("status").stderr


async def test_what_fails_is_told_with_its_reason_and_what_is_not_waited_for_can_be_cancelled(
    nodes: Nodes, store: RedisStorage, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in nodes.variables.items():
        monkeypatch.setenv(name, value)
    nodes.simulator("--market", "AAA/USDT", "--port", str(port))
    start = str(now() - 2 * DAY_MS)
    done = collection("backfill", "trades:binance:NONE/SUCH", "--start", start, "--detach")
    assert "trades:binance:NONE/SUCH: 3 days to be read" in done.stderr
    done = collection("backfill", "trades:binance:NONE/SUCH", "--cancel")
    assert "trades:binance:NONE/SUCH: 3 days cancelled; what was read of it stays" in done.stderr
    nodes.worker()
    done = await asyncio.to_thread(collection, "backfill", "trades:binance:NONE/SUCH", "--start", start, code=1)
    assert "not complete; 0 trades were read" in done.stdout
    assert re.search(r"20\S+ and 2 days more: failed: binance: .*symbol", done.stdout)
    done = await asyncio.to_thread(collection, "backfill", "trades:binance:AAA/USDT", "--start", start, code=1)
    assert re.search(r"partly: the exchange has none before 20", done.stdout)
    assert store.coverage("trades:binance:AAA/USDT").gaps == []
