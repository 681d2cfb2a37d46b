"""The command line as people type it: what works, and what it says where something is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collection.data_collectors.lag import lag_key, skew_key
from collection.embedded import find_running
from collection.errors import CollectionError
from collection.records import digest
from collection.simulator import Simulator
from collection.storage import Covers, Interval, RedisStorage
from collection.storage.redis_server import connect
from tests.conftest import trade
from tests.simulation import make_tape, tape_lines, until

COLLECTION = [sys.executable, "-m", "workers.cli"]


COMMANDS = [
    "audit",
    "backfill",
    "bars",
    "check",
    "counters",
    "explain",
    "export",
    "gaps",
    "lag",
    "plot",
    "plugins",
    "query",
    "quote",
    "run",
    "series",
    "simulate",
    "spool",
    "status",
    "tail",
    "up",
]


def collection(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COLLECTION, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def processes_of(folder: Path) -> list[str]:
    """The command lines of all processes that run in a folder, beside this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.name != str(os.getpid()) and (process / "cwd").readlink().is_relative_to(folder):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.fixture
def filled(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Settings that point at a Redis that holds ten trades and a number."""
    trades = [trade(number) for number in range(1, 11)]
    with RedisStorage(redis_url) as storage:
        covers = Covers("id", [Interval(0, 10)])
        storage.store_batch("trades:binance:BTC/USDT", [(one.timestamp, one) for one in trades], covers)
        storage.store("price:BTC", 65_000.5, trades[0].timestamp)
        storage.store("state", {"a": [1, None]}, trades[0].timestamp)
    monkeypatch.setenv("COLLECTION_URL", redis_url)
    return redis_url


def test_check_shows_feeds_collectors_and_intervals() -> None:
    Path("feeds.toml").write_text(
        '[[feeds]]\nname = "x"\ntype = "cex_trades"\nexchange = "kraken"\nmarket = "ETH/USD"\nwindow = "5m"\n'
    )
    out = collection("check", "feeds.toml").stdout
    assert re.search(r"x +cex_trades +trades:kraken:ETH/USD +streamed", out)


def test_check_tells_all_mistakes_and_exits_with_1() -> None:
    Path("feeds.toml").write_text('[[feeds]]\nname = "x"\ntype = "cex_trades"\nexchange = "krakn"\nwindow = "5"\n')
    done = collection("check", "feeds.toml", code=1)
    assert [line.split(": ")[3] for line in done.stderr.splitlines()] == ["exchange", "market", "window"]


def test_query_prints_csv_json_and_tables(filled: str) -> None:
    out = collection("query", "trades:binance:BTC/USDT", "--format", "csv").stdout
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["timestamp_ms", "trade_id", "side", "price", "amount"]
    assert rows[1] == ["1767225601000", "1", "buy", "1.50", "2.00"]
    assert len(rows) == 11
    lines = collection("query", "trades:binance:BTC/USDT", "--last", "2", "--format", "json").stdout.splitlines()
    assert [json.loads(line)["trade_id"] for line in lines] == ["9", "10"]
    out = collection(
        "query", "trades:binance:BTC/USDT", "--start", "2026-01-01T00:00:03", "--end", "1767225604000"
    ).stdout
    assert [line.split()[2] for line in out.splitlines()[1:]] == ["3", "4"]
    assert collection("query", "price:BTC", "--format", "csv").stdout == "timestamp_ms,value\n1767225601000,65000.5\n"
    assert collection("query", "state", "--format", "csv").stdout.endswith('"{""a"":[1,null]}"\n')


def test_tables_show_names_as_they_are(filled: str) -> None:
    with RedisStorage(filled) as storage:
        storage.store_batch("trades:gemini:BTC/USD", [(one.timestamp, one) for one in [trade(1)]])
        storage.store("v:[bold]", "[red]text[/red] :smile:", trade(1).timestamp)
    out = collection("series").stdout
    assert "trades:gemini:BTC/USD" in out
    assert "v:[bold]" in out
    assert "[red]text[/red] :smile:" in collection("query", "v:[bold]").stdout


def test_series_lists_what_is_stored(filled: str) -> None:
    out = collection("series").stdout
    assert re.search(r"price:BTC +number +1 ", out)
    assert re.search(r"trades:binance:BTC/USDT +trade +10 +2026-01-01 00:00:01\.000 +2026-01-01 00:00:10\.000", out)
    assert "price" not in collection("series", "trades:*").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["query", "trades:binance:BTC/USD"],
            "no series 'trades:binance:BTC/USD'; did you mean 'trades:binance:BTC/USDT'?",
        ),
        (["query", "price:BTC", "--format", "cvs"], "--format cvs: unknown; did you mean 'csv'?"),
        (["audit", "trades:binance:BTC/USD"], "did you mean 'trades:binance:BTC/USDT'?"),
        (["audit", "price:BTC"], "price:BTC holds no trades"),
        (["audit", "trades:binance:BTC/USDT", "--format", "csv"], "--format csv: unknown; known: json, table"),
        (
            ["audit", "trades:binance:BTC/USDT", "--truth", "http://127.0.0.1:1"],
            "--truth: the exchange does not answer",
        ),
        (["audit", "trades:binance:BTC/USDT", "--truth", "localhost"], "such as http://127.0.0.1:8099"),
        (["bars", "state"], "state holds no trades"),
        (["bars", "trades:binance:BTC/USDT", "--width", "1x"], "--width: '1x' is no duration"),
        (
            ["bars", "trades:binance:BTC/USDT", "--width", "0.5ms"],
            "--width: '0.5ms' is no whole number of milliseconds",
        ),
        (["gaps", "price:BTK"], "no series 'price:BTK'; did you mean 'price:BTC'?"),
        (["counters", "nix"], "no series 'nix'; known: price:BTC, state, trades:binance:BTC/USDT"),
        (["tail", "price:BTC", "nix"], "no series 'nix'"),
        (["tail", "price:BTC", "--position", "nowhere/file"], "nowhere/file: the position can't be kept: No such file"),
        (["query", "price:BTC", "--start", "soon"], "--start: 'soon' is no time"),
        (["check", "nowhere.toml"], "nowhere.toml: there is no such feeds file"),
        (["up", "--tape", "XRP/ETH"], "--tape XRP/ETH: write MARKET=FILE"),
        (["up", "--tape", "XRP/ETH=nowhere.csv"], "nowhere.csv"),
        (["up", "--misbehave", "repeat=0.2"], "--misbehave needs a simulated exchange"),
        (["up", "--simulate", "--misbehave", "repeet=0.2"], "did you mean 'repeat'?"),
        (["up", "--simulate", "--transport", "pol"], "--transport pol: unknown; did you mean 'poll'?"),
        (["up", "--simulate", "--duration", "soon"], "--duration: 'soon' is no duration"),
        (["simulate", "--market", "BTCUSDT"], "BTCUSDT"),
        (["run", "nowhere.toml"], "nowhere.toml: there is no such feeds file"),
    ],
)
def test_a_mistake_is_told_in_one_line(filled: str, arguments: list[str], message: str) -> None:
    done = collection(*arguments, code=1)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["workers.cli", "series"],
        ["celery", "-A", "workers", "worker", "-Q", "polls"],
        ["celery", "-A", "workers", "beat"],
        ["celery", "-A", "beat_schedule", "beat"],
        ["celery", "-A", "workers", "flower"],
    ],
    ids=" ".join,
)
def test_without_a_redis_one_line_says_what_to_do(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert done.stderr.strip() == (
        "Error: no Redis: run `collection up` in this folder, or set COLLECTION_URL=redis://localhost:6379/0"
    )


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"STORAGE_URL": "memory://"}, "Error: storage URL memory://: it ends with its process; workers need a Redis"),
        (
            {"BROKER_URL": "http://127.0.0.1"},
            "Error: broker URL: its scheme is none that Celery knows, such as redis://",
        ),
        ({"URL": "redis://127.0.0.1:1/0?bogus=1"}, "Error: the storage URL is malformed: "),
    ],
    ids=str,
)
def test_a_worker_with_urls_that_cannot_work_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in {"URL": "redis://127.0.0.1:1/0", **variables}.items():
        monkeypatch.setenv(f"COLLECTION_{name}", value)
    command = [sys.executable, "-m", "celery", "-A", "workers", "worker", "-Q", "polls"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1


def test_a_simulation_takes_nothing_of_how_the_real_exchange_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("collection.toml").write_text(
        '[exchanges.binance]\nproxy = "http://127.0.0.1:9"\nurls = {public = "http://127.0.0.1:9"}\n'
    )
    monkeypatch.setenv("COLLECTION_EXCHANGES__BINANCE__URLS", '{"public": "http://127.0.0.1:9"}')
    assert "equal to what was published" in collection("up", "--simulate", "--duration", "8").stdout
    with Path("collection.toml").open("a") as file:
        file.write("options.x = 1\n")
    done = collection("up", "--simulate", code=1)
    assert "Error: exchanges.binance.options is set and would bypass the simulation: unset it first" in done.stderr


def test_a_simulation_takes_no_series_that_workers_filled_from_the_exchange(filled: str) -> None:
    done = collection("up", "--simulate", code=1)
    assert "trades:binance:BTC/USDT is stored from the exchange, not from the simulation" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(command: str) -> None:
    assert f"collection {command}" in collection(command, "--help").stdout.split("Example")[1]


def test_up_stores_a_tape_says_so_and_leaves_nothing_running(tmp_path: Path) -> None:
    tape = make_tape(tmp_path / "tape.csv", 2_000)
    done = collection("up", "--tape", "LTC/ETH=tape.csv", "--speed", "200", "--duration", "12")
    assert "trades:binance:LTC/ETH: 2,000 trades stored, equal to what was published" in done.stdout
    assert processes_of(tmp_path) == []
    out = collection("query", "trades:binance:LTC/ETH", "--format", "csv").stdout  # starts Redis for the query
    assert [line.partition(",")[2] for line in out.splitlines()[1:]] == tape_lines(tape)
    assert processes_of(tmp_path) == []


def test_up_heals_what_dies_and_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        up = subprocess.Popen([*COLLECTION, "up", "--simulate", "--rate", "50"], stdout=out, stderr=out)
    try:
        keys = [f"trades:binance:{market}/USDT" for market in ("BTC", "ETH", "SOL", "XRP")]
        with _running_storage(tmp_path) as storage:
            _until(lambda: all(storage.fetch(key) for key in keys))
            second = collection("up", "--simulate", "--rate", "50", code=1)
            assert str(up.pid) in second.stderr
            _kill("beat", "workers worker", "flower", "simulate", folder=tmp_path)
            _until(lambda: (tmp_path / "out").read_text().count("started again") == 5)
            before = len(storage.fetch(keys[0]))
            _until(lambda: len(storage.fetch(keys[0])) > before + 50)
            with connect(find_running(tmp_path / ".collection") or "") as redis:
                os.kill(redis.info("server")["process_id"], signal.SIGKILL)
            _until(lambda: "Redis ended with code -9; starting it again" in (tmp_path / "out").read_text())
            _until(lambda: _stored(tmp_path, keys[0]) > before + 150)
            password = json.loads((tmp_path / ".collection" / "redis.json").read_text())["password"]
            assert [line for line in processes_of(tmp_path) if password in line] == []
            told = [(tmp_path / "out"), *(tmp_path / ".collection" / "logs").iterdir()]
            assert [file for file in told if password in file.read_text()] == []
        assert "trades:binance:BTC/USDT" in collection("series").stdout  # joins the Redis that runs here
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(40) == 0, (tmp_path / "out").read_text()
    assert processes_of(tmp_path) == []
    assert (tmp_path / "out").read_text().count("equal to what was published") == 5


def test_up_ends_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    up = subprocess.Popen([*COLLECTION, "up", "--simulate"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _until(lambda: len(processes_of(tmp_path)) >= 5)
    up.kill()
    up.wait()
    # Redis outlives it with its data, and is joined by whoever comes next.
    _until(lambda: all("redis-server" in line for line in processes_of(tmp_path)))
    collection("up", "--simulate", "--duration", "3")
    assert processes_of(tmp_path) == []


def test_a_folder_of_simulated_data_takes_no_other() -> None:
    Path("feeds.toml").write_text(
        '[[feeds]]\nname = "x"\ntype = "cex_trades"\nexchange = "binance"\nmarket = "BTC/USDT"\nwindow = "5m"\n'
    )
    collection("up", "--simulate", "--duration", "6")
    done = collection("run", "feeds.toml", code=1)
    assert "trades:binance:BTC/USDT is stored from the simulation with seed 1" in done.stderr
    done = collection("up", "--simulate", "--seed", "2", code=1)
    assert "is stored from the simulation with seed 1 and rate 20, not from the simulation with seed 2" in done.stderr


def test_audit_certifies_and_exits_with_1_where_the_promise_is_broken(filled: str) -> None:
    key = "trades:binance:BTC/USDT"
    done = collection("audit", key)
    assert re.search(r"covered +1 – 10 \(10 ids\)", done.stdout)
    assert done.stdout.endswith("complete: all that is covered is stored, without a gap\n")
    with RedisStorage(filled) as storage:
        storage.store_batch(key, [], Covers("id", [Interval(10, 13), Interval(20, 22)]))
        storage.count(key, "refused:no_price", 2)
    out = collection("audit", key, code=1).stdout
    assert re.search(r"missing +5: 11 – 13, 21 – 22 \(of what was read 2 were refused: they may be among these\)", out)
    told = json.loads(collection("audit", key, "--format", "json", code=1).stdout)
    assert (told["verdict"], told["missing"], told["gaps"]) == ("holes", 5, [{"first": 14, "last": 20}])
    assert told["digest"] == digest(trade(number) for number in range(1, 11))
    assert (
        json.loads(collection("audit", key, "--end", "2026-01-01T00:00:05", "--format", "json").stdout)["stored"] == 5
    )


async def test_audit_compares_with_the_simulated_exchange(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTION_URL", redis_url)
    make_tape(Path("tape.csv"), 50)
    key = "trades:binance:LTC/ETH"
    async with Simulator(tapes={"LTC/ETH": Path("tape.csv")}, speed=1e9) as simulator:
        await until(lambda: len(simulator.published("LTC/ETH")) == 50)
        trades = simulator.published("LTC/ETH")
        with RedisStorage(redis_url) as storage:
            covers = Covers("id", [Interval(int(trades[0].id) - 1, int(trades[-2].id))])
            storage.store_batch(key, [(one.timestamp, one) for one in trades[:-1]], covers)
        done = await asyncio.to_thread(collection, "audit", key, "--truth", simulator.url)
        assert f"equal to what {simulator.url} published" in done.stdout
        with RedisStorage(redis_url) as storage:
            storage.store_batch(key, [], Covers("id", [Interval(int(trades[-2].id), int(trades[-1].id))]))
        done = await asyncio.to_thread(collection, "audit", key, "--truth", simulator.url, code=1)
        assert f"NOT equal to what {simulator.url} published:\n  published 50, stored 49\n" in done.stdout
        assert done.stdout.endswith(f"  stored nothing, published {trades[-1].line}\n")


def test_a_start_before_what_is_kept_is_told_before_anything_runs(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTION_START", "2020-01-01")
    Path("feeds.toml").write_text(
        '[[feeds]]\nname = "x"\ntype = "cex_trades"\nexchange = "kraken"\nmarket = "ETH/USD"\nwindow = "5m"\n'
    )
    for command in ("run", "up"):
        done = collection(command, "feeds.toml", code=1)
        assert re.fullmatch(
            r"Error: start = '2020-01-01' lies before \S+, the oldest day that is kept .*\n", done.stderr
        )
    assert "series that are still empty will not start" in collection("check", "feeds.toml").stderr


def test_gaps_lists_what_is_not_known_to_be_complete(filled: str) -> None:
    assert collection("gaps").stderr == (
        "no gaps: each of 1 series is complete from its first to its last covered record\n"
        "2 of them were stored without saying what is complete\n"
    )
    with RedisStorage(filled) as storage:
        storage.store_batch("trades:binance:BTC/USDT", [], Covers("id", [Interval(15, 20)]))
        at = trade(1).timestamp
        storage.store_batch(
            "trades:okx:A/B", [], Covers("time", [Interval(at, at + 5), Interval(at + 2_505, at + 9_000)])
        )
    done = collection("gaps")
    assert re.search(r"trades:binance:BTC/USDT +missing +11 +15 +5 ids", done.stdout)
    assert re.search(r"trades:okx:A/B +unproven +2026-01-01 00:00:01\.006 +2026-01-01 00:00:03\.505 +2.5s", done.stdout)
    assert done.stderr.startswith("2 gaps in 2 of 4 series\n")
    told = collection("gaps", "*BTC*", "--format", "json").stdout
    assert json.loads(told) == {
        "key": "trades:binance:BTC/USDT",
        "by": "id",
        "kind": "missing",
        "first": 11,
        "last": 15,
        "reason": "",
    }
    assert collection("gaps", "x*").stderr == "no gaps, for nothing was collected yet\n"


def test_lag_shows_percentiles_the_age_of_the_newest_trade_and_the_clocks(filled: str) -> None:
    key, now = "trades:binance:BTC/USDT", int(time.time() * 1000)
    assert "no lag is known yet" in collection("lag").stderr
    with RedisStorage(filled) as storage:
        storage.store(lag_key(50, key), 41, now)
        storage.store(lag_key(99, key), 1_250, now)
        storage.store(skew_key("binance", "host-a"), 1_500, now)
        storage.store(skew_key("redis", "host-a"), -20, now)
    out = collection("lag").stdout
    assert re.search(rf"{key} +41 ms +1,250 ms +20\S+ \S+ +[\d,.]+ s ago", out)
    assert re.search(r"binance +host-a +1,500 ms", out)
    assert re.search(r"host-a +Redis +-20 ms", out)
    told = [json.loads(line) for line in collection("lag", "trades:*BTC*", "--format", "json").stdout.splitlines()]
    assert (told[0]["key"], told[0]["p50"], told[0]["p99"], told[0]["at"]) == (key, 41.0, 1250.0, now)
    assert told[1] == {"clock": "binance", "than": "host-a", "ahead": 1500.0, "at": now}
    assert "lag:" not in collection("series").stdout
    assert len(collection("series", "lag:*").stdout.splitlines()) == 3


def test_bars_are_printed_checked_and_rebuilt(filled: str) -> None:
    key = "trades:binance:BTC/USDT"
    out = collection("bars", key, "--width", "5s").stdout
    assert re.search(r"2026-01-01 00:00:05\.000 +1\.5 +1\.5 +1\.5 +1\.5 +10 +5 +15", out)
    rows = list(csv.DictReader(io.StringIO(collection("bars", key, "--width", "1500ms", "--format", "csv").stdout)))
    assert [row["count"] for row in rows][:3] == ["1", "1", "2"]
    lines = collection("bars", key, "--width", "1s", "--last", "2", "--format", "json").stdout.splitlines()
    assert [json.loads(line)["timestamp_ms"] for line in lines] == [1_767_225_609_000, 1_767_225_610_000]
    assert collection("bars", key, "--check").stderr == "10 bars of a second, all as the records make them\n"
    with connect(filled) as client:
        for name in client.scan_iter(f"qc:{{{key}}}:bars:high*"):
            client.execute_command("TS.ADD", name, 1_767_225_603_000, 9, "ON_DUPLICATE", "LAST")
    done = collection("bars", key, "--check", code=1)
    assert done.stdout == "2026-01-01 00:00:03.000\n"
    assert done.stderr == "1 of 10 bars of a second are wrong; --rebuild writes them anew\n"
    assert collection("bars", key, "--rebuild").stderr == "1 bars of a second were wrong, 0 of 10 are now\n"
    assert "all as the records make them" in collection("bars", key, "--check").stderr


def test_counters_tell_in_words_what_became_of_records(filled: str) -> None:
    key = "trades:binance:BTC/USDT"
    with RedisStorage(filled) as storage:
        storage.store_batch(key, [(trade(3).timestamp, trade(3))])
        storage.count(key, "refused:no_price", 7)
    out = collection("counters", "trades:*").stdout
    assert re.search(r"BTC/USDT +duplicate +1 +came again, and changed nothing", out)
    assert re.search(r"BTC/USDT +refused:no_price +7 +refused: can't be what was published", out)
    told = json.loads(collection("counters", key, "--format", "json").stdout)
    assert told == {key: {"duplicate": 1, "new": 10, "refused:no_price": 7}}


def test_spool_says_that_nothing_waits() -> None:
    assert collection("spool").stderr == "0 records wait in .collection/spool, 0 were set aside\n"


def test_a_tail_that_is_killed_goes_on_and_leaves_nothing_out(filled: str) -> None:
    key = "trades:binance:BTC/USDT"
    arguments = ["tail", key, "--from-start", "--position", "position", "--format", "csv"]

    def lines() -> list[str]:
        return Path("out").read_text().splitlines()

    def started() -> subprocess.Popen[bytes]:
        with Path("out").open("ab") as out:
            return subprocess.Popen([*COLLECTION, *arguments], stdout=out, stderr=subprocess.PIPE)

    running = started()
    with RedisStorage(filled) as storage:
        _until(lambda: len(lines()) == 11 and Path("position").exists())
        _until(lambda: "1767225610000-10" in Path("position").read_text())
        running.kill()
        running.communicate()
        storage.store_batch(key, [(one.timestamp, one) for one in map(trade, (12, 13))])
        storage.flush()
        running = started()
        _until(lambda: len(lines()) == 13)
        storage.store_batch(key, [(one.timestamp, one) for one in map(trade, (11, 14))])  # one of them late
        _until(lambda: len(lines()) == 15)
        running.send_signal(signal.SIGINT)
        assert running.communicate()[1] == b""
    assert running.returncode == 0
    ids = [line.split(",")[2] for line in lines()]
    assert ids[:13] == ["trade_id", *map(str, range(1, 11)), "12", "13"]
    assert sorted(ids[13:]) == ["11", "14"]


def test_a_tail_ends_quietly_with_its_reader_and_waits_for_series_that_are_not_there(filled: str) -> None:
    running = subprocess.Popen(
        [*COLLECTION, "tail", "new:*"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout
    assert running.stderr
    assert running.stderr.readline() == "no series is like new:* yet; waiting for one\n"
    with RedisStorage(filled) as storage:
        storage.store("new:one", 1.5, trade(1).timestamp)
        assert running.stdout.readline() == "2026-01-01 00:00:01.000  new:one  1.5\n"
    running.stdout.close()
    assert running.wait(10) == 0
    assert running.stderr.read() == ""
    running.stderr.close()


def _until(condition: object, seconds: float = 40) -> None:
    assert callable(condition)
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come true"
        time.sleep(0.05)


def _running_storage(folder: Path) -> RedisStorage:
    _until(lambda: find_running(folder / ".collection"))
    url = find_running(folder / ".collection")
    assert url is not None
    return RedisStorage(url)


def _stored(folder: Path, key: str) -> int:
    """How much is stored, 0 while Redis starts."""
    with (
        contextlib.suppress(CollectionError),
        RedisStorage(find_running(folder / ".collection") or "redis://") as opened,
    ):
        return len(opened.fetch(key))
    return 0


def _kill(*names: str, folder: Path) -> None:
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if (process / "cwd").readlink() == folder and any(f" {name}" in line for name in names):
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue
