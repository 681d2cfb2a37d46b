"""Export as people use it: whole files or none, in three formats, and what is said where something is wrong."""

from __future__ import annotations

import csv
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from collection.storage import RedisStorage
from tests.conftest import trade
from tests.end_to_end.test_commands import COLLECTION, collection

KEY = "trades:binance:BTC/USDT"
COUNT = 25_000


@pytest.fixture
def filled(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Settings that point at a Redis with more trades than a page has, a number, and another value."""
    with RedisStorage(redis_url) as storage:
        storage.store_batch(KEY, [(one.timestamp, one) for one in map(trade, range(1, COUNT + 1))])
        storage.store("price:BTC", 65_000.5, trade(1).timestamp)
        storage.store("state", {"a": [1, None]}, trade(1).timestamp)
        storage.flush()
    monkeypatch.setenv("COLLECTION_URL", redis_url)
    return redis_url


def test_csv_is_what_a_query_prints_and_can_be_replayed(filled: str) -> None:
    done = collection("export", KEY, "--output", "trades.csv")
    assert done.stderr == "25,000 rows in trades.csv\n"
    text = Path("trades.csv").read_text()
    assert text == collection("export", KEY).stdout
    assert text == collection("query", KEY, "--format", "csv").stdout
    part = collection("export", KEY, "--start", str(trade(3).timestamp), "--end", str(trade(4).timestamp)).stdout
    assert [row[1] for row in csv.reader(part.splitlines())] == ["trade_id", "3", "4"]
    assert collection("export", KEY, "--end", "5").stdout == "timestamp_ms,trade_id,side,price,amount\n"
    assert collection("export", "price:BTC").stdout == "timestamp_ms,value\n1767225601000,65000.5\n"


def test_parquet_and_arrow_hold_every_trade_exactly(filled: str) -> None:
    collection("export", KEY, "--format", "parquet", "--output", "trades.parquet")
    collection("export", KEY, "--format", "arrow", "--output", "trades.arrow")
    parquet = pl.read_parquet("trades.parquet")
    with pa.memory_map("trades.arrow") as file:
        assert pl.DataFrame(pa.ipc.open_file(file).read_all()).equals(parquet)
    assert parquet.columns == ["timestamp", "id", "side", "price", "amount", "received"]
    assert parquet["id"].to_list() == [str(number) for number in range(1, COUNT + 1)]
    assert parquet["price"].sum() == COUNT * Decimal("1.50")
    collection("export", KEY, "--format", "parquet", "--numbers", "text", "--output", "text.parquet")
    assert pl.read_parquet("text.parquet")["price"][0] == "1.50"
    collection("export", "state", "--format", "parquet", "--output", "state.parquet")
    assert pl.read_parquet("state.parquet")["value"].to_list() == ['{"a":[1,null]}']


def test_bars_are_those_of_the_command_bars(filled: str) -> None:
    assert collection("export", KEY, "--width", "1h").stdout == (
        collection("bars", KEY, "--width", "1h", "--format", "csv").stdout
    )
    collection("export", KEY, "--width", "1h", "--format", "parquet", "--output", "bars.parquet")
    assert pl.read_parquet("bars.parquet")["count"].sum() == COUNT


def test_what_fails_or_is_stopped_leaves_nothing_or_what_was_there(filled: str) -> None:
    Path("old.parquet").write_text("old")
    with RedisStorage(filled) as storage:
        beyond = trade(COUNT + 1, price="0.0000000000000000001")
        storage.store(KEY, beyond, beyond.timestamp)
        storage.flush()
    done = collection("export", KEY, "--format", "parquet", "--output", "old.parquet", code=1)
    assert "the price 0.0000000000000000001 does not fit decimal128(38, 18): take numbers as text" in done.stderr
    assert Path("old.parquet").read_text() == "old"
    assert [path.name for path in Path().iterdir()] == ["old.parquet"]
    done = collection("export", KEY, "--output", "nowhere/x.csv", code=1)
    assert done.stderr == "Error: nowhere/x.csv: can't be written: No such file or directory\n"


def test_a_stopped_export_leaves_no_part(filled: str, tmp_path: Path) -> None:
    command = [*COLLECTION, "export", KEY, "--format", "parquet", "--output", "x.parquet"]
    for _ in range(20):  # until one is stopped in the middle
        running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while running.poll() is None and not list(tmp_path.iterdir()):
            pass
        running.terminate()
        code = running.wait(20)
        left = [path.name for path in tmp_path.iterdir()]
        assert left == ([] if code else ["x.parquet"])
        if code == 130:
            return
        Path("x.parquet").unlink(missing_ok=True)
    pytest.fail("each was done before it could be stopped")


def test_without_the_extra_csv_works_and_the_others_name_it(filled: str, tmp_path: Path) -> None:
    without = "import sys; sys.modules['pyarrow'] = None; from workers.cli import main; main()"
    command = [sys.executable, "-c", without, "export", KEY, "--output", "x"]
    assert subprocess.run(command, timeout=60).returncode == 0
    done = subprocess.run([*command, "--format", "parquet"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "Error: this needs pyarrow: pip install 'quoting-collection[frames]'\n"


def test_an_export_ends_quietly_with_its_reader(filled: str) -> None:
    running = subprocess.Popen([*COLLECTION, "export", KEY], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout
    assert running.stderr
    running.stdout.readline()
    running.stdout.close()
    running.wait(20)
    assert running.stderr.read() == b""
    running.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "price:BTK"], "no series 'price:BTK'; did you mean 'price:BTC'?"),
        (["export", "price:BTC", "--format", "parquett"], "--format parquett: unknown; did you mean 'parquet'?"),
        (["export", "price:BTC", "--format", "arrow"], "--output is missing: arrow is no text; name a file"),
        (["export", "price:BTC", "--width", "1m"], "price:BTC holds no trades"),
        (["export", "price:BTC", "--numbers", "exact"], "--numbers exact: unknown; did you mean 'text'?"),
        (["export", "price:BTC", "--start", "soon"], "--start: 'soon' is no time"),
    ],
)
def test_a_mistake_is_told_in_one_line(filled: str, arguments: list[str], message: str) -> None:
    told = collection(*arguments, code=1).stderr
    assert told.startswith(f"Error: {message}")
    assert told.count("\n") == 1
