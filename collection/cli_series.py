"""The commands that show what is stored: series, query, bars, tail."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path
from typing import Annotated, cast

import typer

from collection.backoff import Backoff
from collection.bars import Bar
from collection.cli import app
from collection.cli_options import (
    EndOption,
    FormOption,
    KeyArgument,
    LastOption,
    StartOption,
    bar_width,
    checked_format,
    checked_key,
    checked_trades,
    is_meant,
    read_option,
    time_range,
)
from collection.errors import RetryLater
from collection.local import opened_storage
from collection.output import Format, moment, show_bars, show_series, show_values, tell
from collection.output_tail import Lines, closed_quietly, nobody_reads
from collection.settings import current
from collection.storage import DataCollectionStorage
from collection.tail import WILD, Follower, Positions

SCREENFUL = 30
"""Bars that a table shows where no more are asked for."""
PAUSE = 0.25
"""Seconds between two looks of a tail."""


@app.command(epilog="Example:  collection series 'trades:binance:*'")
def series(
    pattern: Annotated[str, typer.Argument(help="Only keys like this; * and ? stand for anything.")] = "*",
) -> None:
    """List what is stored: keys, counts, first and last record, bytes; lags and skews where the pattern names them."""
    with opened_storage(current(), tell) as storage:
        show_series(storage.info([key for key in storage.series() if is_meant(key, pattern)]))


@app.command(
    epilog="Examples:  collection query trades:binance:BTC/USDT --last 10  ·  "
    "collection query trades:binance:BTC/USDT --start 2026-01-31 --end 2026-02-01 --format csv > trades.csv"
)
def query(
    key: KeyArgument,
    start: StartOption = None,
    end: EndOption = None,
    last: LastOption = None,
    form: FormOption = "table",
) -> None:
    """Print what is stored under a key; joins the Redis of this folder, or starts it for the query."""
    checked_format(form)
    times = time_range(start, end)
    with opened_storage(current(), tell) as storage:
        checked_key(storage, key)
        if last is not None and start is None and end is None:
            values = storage.latest(key, last)
        else:
            values = storage.fetch(key, *times)[-(last or 0) :]
    show_values(values, cast("Format", form))
    if form == "table":
        tell(f"{len(values):,} values")


@app.command(
    epilog="Examples:  collection bars trades:binance:BTC/USDT --width 5m --last 20  ·  "
    "collection bars trades:binance:BTC/USDT --check"
)
def bars(
    key: KeyArgument,
    width: Annotated[str, typer.Option(metavar="DURATION", help="Such as 1s, 1m, 1h, 1d or 1500ms.")] = "1m",
    start: StartOption = None,
    end: EndOption = None,
    last: LastOption = None,
    form: FormOption = "table",
    check: Annotated[bool, typer.Option("--check", help="Compare the kept 1-second bars with the records.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="As --check, and write wrong ones anew.")] = False,
) -> None:
    """Print open, high, low, close and volumes of trades; or check the bars that are kept beside them."""
    checked_format(form)
    times, step = time_range(start, end), read_option(bar_width, "--width", width)
    with opened_storage(current(), tell) as storage:
        checked_trades(storage, key)
        if check or rebuild:
            if not _bars_are_right(storage, key, *times, rebuild=rebuild):
                raise typer.Exit(1)
            return
        if form == "table" and (last, start, end) == (None, None, None):
            last = SCREENFUL
            tell(f"the newest {last} at most; --last, --start and --end show others")
        if last and start is None:
            found = _newest(storage, key, last, times[1], step)
        else:
            found = storage.bars(key, *times, step)[-(last or 0) :]
    show_bars(found, cast("Format", form))


@app.command(
    epilog="Examples:  collection tail 'trades:*'  ·  "
    "collection tail trades:binance:BTC/USDT --from-start --position btc.position --format csv >> btc.csv"
)
def tail(
    keys: Annotated[list[str], typer.Argument(metavar="KEY…", help="Keys; * and ? stand for anything.")],
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with what is stored, not with what comes.")
    ] = False,
    position: Annotated[
        Path | None, typer.Option(help="Keep in this file how far it came, and go on from there.")
    ] = None,
    form: FormOption = "table",
) -> None:
    """Print records as they are stored, late ones included, until Ctrl-C; with --position none is ever left out."""
    checked_format(form)
    positions = Positions(position)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # a Redis that it started ends with it
    with opened_storage(current(), tell) as storage:
        for key in keys:
            if not set(WILD) & set(key):
                checked_key(storage, key)
        follower = Follower(storage, keys, positions, from_start=from_start)
        lines = Lines(cast("Format", form), titled=not positions.resumed)
        if not follower.begin():
            tell(f"no series is like {' or '.join(keys)} yet; waiting for one")
        with contextlib.suppress(KeyboardInterrupt), closed_quietly():
            _follow(follower, lines)


def _follow(follower: Follower, lines: Lines) -> None:
    backoff = Backoff()
    while True:
        pause = PAUSE
        try:
            pause = 0.0 if follower.read(lines.write) else PAUSE
            backoff.reset()
        except RetryLater as error:
            if not backoff.failures:
                tell(f"{error}; waiting")
            pause = backoff.next()
        if nobody_reads(pause):
            return


def _bars_are_right(
    storage: DataCollectionStorage, key: str, start: int | None, end: int | None, *, rebuild: bool
) -> bool:
    found = storage.check_bars(key, start, end, rebuild=rebuild)
    if not found.wrong:
        tell(f"{found.bars:,} bars of a second, all as the records make them")
        return True
    for timestamp in found.wrong:
        sys.stdout.write(f"{moment(timestamp)}\n")
    sys.stdout.flush()
    if not rebuild:
        tell(f"{len(found.wrong):,} of {found.bars:,} bars of a second are wrong; --rebuild writes them anew")
        return False
    left = storage.check_bars(key, start, end).wrong
    tell(f"{len(found.wrong):,} bars of a second were wrong, {len(left):,} of {found.bars:,} are now")
    return not left


def _newest(storage: DataCollectionStorage, key: str, n: int, end: int | None, width: int) -> list[Bar]:
    """Return the newest bars, looking back further and further: stretches without trades have none."""
    newest = storage.latest(key)
    if not newest:
        return []
    upto = newest[0][0] if end is None else min(newest[0][0], end)
    span = n * width
    while True:
        found = storage.bars(key, max(upto - span, 0), upto, width)
        if len(found) >= n or span >= upto:
            return found[-n:]
        span *= 8
