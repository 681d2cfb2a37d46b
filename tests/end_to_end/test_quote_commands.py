"""`collection quote` and `collection explain`: what feeds say by what is stored, and what that is made of."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collection import clock
from collection.loading import load_feeds
from collection.records import Quote, Trade
from collection.settings import current
from collection.storage import Covers, Interval, RedisStorage
from tests.end_to_end.test_commands import COLLECTION, collection

SOURCES = {"a": "100", "b": "100.01", "c": "100.02", "far": "120"}
FEEDS = (
    "".join(
        f'[[feeds]]\nname = "{name}"\ntype = "cex_trades"\nexchange = "binance"\nmarket = "{name.upper()}/USD"\n'
        'window = "1m"\nmethod = "last"\n\n'
        for name in (*SOURCES, "none")
    )
    + """
[[feeds]]
name = "old"
type = "stored"
key = "old"
stale_after = "10s"

[[feeds]]
name = "rate"
type = "stored"
key = "rate"

[[feeds]]
name = "all"
type = "median"
feeds = ["a", "b", "c", "far", "none"]

[[feeds]]
name = "volumes"
type = "weighted"
feeds = ["a", "b"]

[[feeds]]
name = "top"
type = "convert"
feed = "volumes"
by = "rate"

[[feeds]]
name = "first"
type = "fallback"
feeds = ["old", "a", "b"]
"""
)

DEPTH = 100


@pytest.fixture
def store(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisStorage]:
    """A storage with trades of four markets, and settings that point at it."""
    monkeypatch.setenv("COLLECTION_URL", redis_url)
    current.cache_clear()
    Path("feeds.toml").write_text(FEEDS)
    with RedisStorage(redis_url) as storage:
        put(storage, 1)
        storage.store("old", 99.5, clock.now() - 15_000)
        storage.store("rate", Decimal("0.5"), clock.now() - 100)
        storage.flush()
        yield storage


def put(storage: RedisStorage, number: int, **prices: str) -> None:
    now = clock.now()
    for name, price in (prices or SOURCES).items():
        made = Trade(now - 50, str(number), "buy", Decimal(price), Decimal(number), now)
        key = f"trades:binance:{name.upper()}/USD"
        covers = Covers("id", [Interval(-1 if number == 1 else number - 1, number)])
        storage.store_batch(key, [(made.timestamp, made)], covers)
    storage.flush()


def rows(text: str) -> dict[str, str]:
    return {line.split()[0]: line for line in text.splitlines()[1:]}


def test_a_table_has_every_status_and_exits_with_1_where_a_quote_is_missing(store: RedisStorage) -> None:
    table = rows(collection("quote", code=1).stdout)
    assert list(table) == ["a", "b", "c", "far", "none", "old", "rate", "all", "volumes", "top", "first"]
    assert re.fullmatch(r"a +100 +ok +0?\.?\d+\.\d s +1 +1 +0\.00 bp +1", table["a"].rstrip())
    assert re.fullmatch(r"none +– +missing +– +0 +0 +– +– +no trade in the last 1m", table["none"].rstrip())
    assert re.search(r"99\.5 +stale +1\d\.\d s .*newest datum 1\d\.\ds old, limit 10s", table["old"])
    assert re.search(r"100\.01 +degraded .*far: outlier.*; none: missing: no trade", table["all"])
    assert re.search(r"50\.0025 +ok", table["top"])
    assert "degraded" in table["first"]
    assert len(rows(collection("quote", "a", "vol*").stdout)) == 2  # and exits with 0


def test_json_and_csv_are_exactly_what_is_computed_at_that_time(store: RedisStorage) -> None:
    at = clock.now() - 1
    put(store, 2, a="555", b="555")
    feeds = {feed.name: feed for feed in load_feeds("feeds.toml")}
    told = collection("quote", "--at", str(at), "--format", "json", code=1).stdout.splitlines()
    assert [msgspec.json.decode(line, type=Quote) for line in told] == [
        feed.quote(store, at) for feed in feeds.values()
    ]
    [row] = csv.DictReader(io.StringIO(collection("quote", "volumes", "--at", str(at), "--format", "csv").stdout))
    assert (row["feed"], row["timestamp_ms"], row["status"]) == ("volumes", str(at), "ok")
    assert row["price"] == str(feeds["volumes"].quote(store, at).price) == "100.005"
    assert json.loads(collection("quote", "a", "--format", "json").stdout)["price"] == "555"


def test_explain_draws_each_part_with_its_number_age_weight_and_why_it_was_left_out(store: RedisStorage) -> None:
    tree = collection("explain", "all").stdout
    assert tree.splitlines()[0].startswith("all  100.01  degraded  ")
    assert re.search(r"─ a  100  ok  weight 33\.33%  \d+\.\d s old  1 data .*last of 1m of trades:binance:A/USD", tree)
    assert re.search(r"─ far  120  ok  \d+\.\d s old.*\n. +left out: outlier", tree)
    assert re.search(r"─ none  –  missing  last of .*\n +left out: missing: no trade in the last 1m", tree)
    tree = collection("explain", "top").stdout
    assert re.search(r"├── volumes  100\.005  ok .* mean, weighted by volume\n│   ├── a  100  ok  weight 50\.00%", tree)
    assert re.search(r"└── rate  0\.5  ok  \d+\.\d s old  1 data  newest of rate", tree)
    tree = collection("explain", "first").stdout
    assert re.search(r"─ old  99\.5  stale .*\n│   left out: stale: newest datum", tree)
    assert re.search(r"─ b  100\.01 .*\n    left out: in reserve", tree)


def test_explain_as_json_has_exact_numbers(store: RedisStorage) -> None:
    at = clock.now()
    told: dict[str, Any] = json.loads(collection("explain", "all", "--at", str(at), "--format", "json").stdout)
    assert (told["name"], told["type"], told["quote"]["price"]) == ("all", "median", "100.01")
    shares = {part["name"]: part["weight"] for part in told["parts"]}
    assert shares == {**dict.fromkeys("abc", "0." + "3" * 34), "far": "0", "none": "0"}
    assert [part["name"] for part in told["parts"] if part["left_out"]] == ["far", "none"]


def until_line(read: Callable[[], str], pattern: str) -> str:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if re.search(pattern, line := read()):
            return line
    raise TimeoutError(pattern)


@pytest.mark.parametrize("form", ["table", "json"])
def test_watching_tells_what_changes_until_it_is_interrupted(store: RedisStorage, form: str) -> None:
    command = [*COLLECTION, "quote", "a", "none", "--watch", "--format", form]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        until_line(process.stdout.readline, r"\ba\b.*\b100\b.*ok")
        until_line(process.stdout.readline, "no trade in the last 1m")
        put(store, 2, a="101.5")
        line = process.stdout.readline()  # nothing else changed
        assert re.search(r"\ba\b.*\b101\.5\b.*ok", line), line
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quote", "vols"], "Error: no feed is like 'vols'; did you mean 'volumes'?"),
        (["explain", "tap"], "Error: no feed 'tap'; did you mean 'top'?"),
        (["quote", "--at", "noon"], "Error: --at: "),
        (["quote", "--watch", "--at", "2026-01-31"], "Error: --watch goes with neither --at nor --format csv"),
        (["quote", "--format", "xml"], "Error: --format xml: unknown"),
        (["explain", "top", "--format", "table"], "Error: --format table: unknown"),
        (["quote", "--feeds", "none.toml"], "Error: none.toml: there is no such feeds file"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(store: RedisStorage, arguments: list[str], message: str) -> None:
    told = collection(*arguments, code=1).stderr
    assert told.startswith(message), told
    assert told.count("\n") == 1


def test_a_redis_that_is_away_is_said_in_a_line(store: RedisStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTION_URL", "redis://:secret@127.0.0.1:1")
    for arguments in (["quote"], ["quote", "--watch"], ["explain", "all"]):
        told = collection(*arguments, code=1)
        assert re.fullmatch(r"Error: Redis is away: .*127\.0\.0\.1:1.*\n", told.stderr), told.stderr
        assert told.stdout == ""
        assert "secret" not in told.stderr


def test_a_composite_says_what_none_of_its_parts_does(store: RedisStorage) -> None:
    store.store("late", 1.5, clock.now() - 15_000)
    store.flush()
    Path("late.toml").write_text(
        """
feeds = [
  { name = "late", type = "stored", key = "late" },
  { name = "inner", type = "median", feeds = ["late"] },
  { name = "outer", type = "median", feeds = ["inner"], stale_after = "10s" },
]
"""
    )
    tree = collection("explain", "outer", "--feeds", "late.toml").stdout
    told = r"stale: newest datum 1\d\.\ds old, limit 10s\n"
    assert re.search(rf"^outer  1\.5  stale .*\ninner: {told}└── inner  1\.5  stale .*\n    newest datum", tree), tree
    assert re.search(r"\n    └── late  1\.5  ok ", tree), tree


def test_a_deep_composite_is_explained_to_its_end(store: RedisStorage) -> None:
    feeds: list[dict[str, Any]] = [{"name": "0", "type": "stored", "key": "rate"}]
    feeds += [{"name": str(n), "type": "median", "feeds": [str(n - 1)]} for n in range(1, DEPTH + 1)]
    Path("deep.toml").write_text("feeds = " + json.dumps(feeds).replace('": ', '" = '))
    lines = collection("explain", str(DEPTH), "--feeds", "deep.toml").stdout.splitlines()
    assert len(lines) == DEPTH + 1
    assert "── 0  0.5  ok" in lines[-1]
    told = json.loads(collection("explain", str(DEPTH), "--feeds", "deep.toml", "--format", "json").stdout)
    for _ in range(DEPTH):
        [told] = told["parts"]
    assert told["name"] == "0"
