"""Plots as people see them: as large as the terminal, in its colours, and plain where there is none."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from decimal import Decimal

import pytest

from collection.records import Quote
from collection.storage import RedisStorage
from tests.conftest import trade
from tests.end_to_end.test_commands import COLLECTION, collection

KEY = "trades:binance:BTC/USDT"


@pytest.fixture(autouse=True)
def _filled(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that point at a Redis with three hours of trades that rise and fall, and numbers."""
    prices = [65_000 + abs(number % 600 - 300) for number in range(0, 10_800, 10)]
    with RedisStorage(redis_url) as storage:
        trades = [trade(10 * number, price=f"{price}.00", id=str(number)) for number, price in enumerate(prices)]
        storage.store_batch(KEY, [(one.timestamp, one) for one in trades])
        storage.store_batch("price:BTC", [(one.timestamp, float(one.price)) for one in trades])
        storage.store("state", {"a": 1}, trades[0].timestamp)
        storage.flush()
    monkeypatch.setenv("COLLECTION_URL", redis_url)
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def test_a_pipe_gets_plain_text_of_80_by_24() -> None:
    title, *lines = collection("plot", KEY).stdout.splitlines()
    assert title == f"{KEY}  2026-01-01 01:54:00.000 to 2026-01-01 02:59:50.000 UTC, a column is 1m"
    assert len(lines) == 22
    assert 70 < max(map(len, lines)) <= 80
    assert "\x1b" not in "".join(lines)
    assert re.match(r"65,29\d ┤", lines[0])
    assert {"┃", "█"} <= set("".join(lines[:17]))
    assert re.match(r" +└┬─+┬─+", lines[-2])
    assert lines[-1].split()[:4] == ["01-01", "01:54", "01-01", "02:10"]


def test_numbers_are_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")
    _, *lines = collection("plot", "price:BTC").stdout.splitlines()
    assert len(lines) == 38
    assert 100 < max(map(len, lines)) <= 120
    assert any("\u2800" < character <= "\u28ff" for character in "".join(lines))


def test_quotes_are_a_line_and_query_shows_their_fields(redis_url: str) -> None:
    began = 1_767_225_600_000
    with RedisStorage(redis_url) as storage:
        made = [
            Quote(name="x", at=began + 1_000 * number, price=Decimal(100 + number % 7), status="ok")
            for number in range(600)
        ]
        last = Quote.missing("x", began + 600_000, "no trade in the last 5m")
        storage.store_batch("quotes:x", [(quote.at, quote) for quote in (*made, last)])
        storage.flush()
    _, *lines = collection("plot", "quotes:x", "--width", "10s").stdout.splitlines()
    assert sum("\u2800" < character <= "\u28ff" for character in "".join(lines)) > 20
    told = collection("query", "quotes:x", "--last", "2", "--format", "csv").stdout.splitlines()
    assert told == [
        "timestamp_ms,price,status,count,sources,dispersion,volume,newest_ms,reason",
        f"{began + 599_000},104,ok,0,0,,,,",
        f"{began + 600_000},,missing,0,0,,,,no trade in the last 5m",
    ]


def test_a_range_is_drawn_in_columns_that_fit_it_unless_told_otherwise() -> None:
    title = collection("plot", KEY, "--start", "2026-01-01").stdout.splitlines()[0]
    assert title.endswith("2026-01-01 00:00:00.000 to 2026-01-01 02:59:50.000 UTC, a column is 5m")
    title = collection("plot", KEY, "--start", "2026-01-01", "--end", "2026-01-01T00:01").stdout.splitlines()[0]
    assert title.endswith("a column is 1s")
    done = collection("plot", KEY, "--start", "2026-01-01", "--width", "1m")
    assert "2026-01-01 01:54:00.000 to" in done.stdout
    assert done.stderr.startswith("the newest 66 columns; a larger --width")


@pytest.mark.parametrize("plain", [False, True], ids=["colours", "NO_COLOR"])
def test_a_terminal_is_filled_and_coloured_unless_nobody_wants_that(
    plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    seen = _on_terminal([*COLLECTION, "plot", KEY], columns=100, rows=30)
    assert ("\x1b[32m" in seen, "\x1b[31m" in seen) == (not plain, not plain)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", seen).splitlines()
    assert len(lines) == 29
    assert 90 < max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plot", "state"], "state holds neither trades, numbers nor quotes"),
        (["plot", "stat"], "no series 'stat'; did you mean 'state'?"),
        (["plot", KEY, "--width", "0.5ms"], "--width: '0.5ms' is no whole number of milliseconds"),
        (["plot", KEY, "--start", "2027-01-01"], "has data from 2026-01-01 00:00:00.000 to 2026-01-01 02:59:50.000"),
        (["plot", KEY, "--start", "1767225601000", "--end", "1767225602000"], "nothing is stored from"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments: list[str], message: str) -> None:
    done = collection(*arguments, code=1)
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def _on_terminal(command: list[str], columns: int, rows: int) -> str:
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 0, said
    return seen.decode().replace("\r\n", "\n")
