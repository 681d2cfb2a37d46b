"""The command that draws what is stored: plot."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from collection.chart import LABELS, Size, candles, fitting_width, line
from collection.cli import app
from collection.cli_options import EndOption, KeyArgument, StartOption, bar_width, checked_key, read_option, time_range
from collection.errors import ConfigurationError
from collection.local import opened_storage
from collection.output import moment, out, tell
from collection.records import Quote, Trade
from collection.settings import current
from collection.storage import DataCollectionStorage
from collection.text import shortly

MINUTE = 60_000
SMALLEST = Size(40, 12)


@app.command(
    epilog="Examples:  collection plot trades:binance:BTC/USDT  ·  "
    "collection plot trades:binance:BTC/USDT --start 2026-01-31 --width 5m"
)
def plot(
    key: KeyArgument,
    start: StartOption = None,
    end: EndOption = None,
    width: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Of a column; by default 1m, or what fits the range.")
    ] = None,
) -> None:
    """Draw prices and volumes of trades as candles, numbers or quotes as a line, as large as the terminal."""
    (first, last), step = time_range(start, end), read_option(bar_width, "--width", width)
    size = _size()
    columns = size.columns - LABELS - 2
    with opened_storage(current(), tell) as storage:
        checked_key(storage, key)
        oldest, newest = _range(storage, key, first, last)
        step = step or fitting_width(newest - oldest, columns)
        if width is None and first is None:
            step = min(step, MINUTE)
        shown = max(oldest - oldest % step, newest - newest % step - (columns - 1) * step)
        value = storage.latest(key)[-1][1]
        if isinstance(value, Trade):
            bars = storage.bars(key, shown, newest, step)
            drawn = candles(bars, step, size) if bars else []
        elif isinstance(value, float | Quote):
            samples = _samples(pair for page in storage.pages(key, shown, newest) for pair in page)
            drawn = line(samples, shown, step, size) if samples else []
        else:
            raise ConfigurationError(f"{key} holds neither trades, numbers nor quotes")
    if not drawn:
        raise ConfigurationError(f"{key}: nothing is stored from {moment(shown)} to {moment(newest)}")
    out.print(f"{key}  {moment(shown)} to {moment(newest)} UTC, a column is {shortly(step / 1000)}", soft_wrap=True)
    for text in drawn:
        out.print(text, soft_wrap=True)
    if shown > oldest and first is not None:
        tell(f"the newest {columns} columns; a larger --width, or an --end, shows what is before")


def _samples(values: Iterable[tuple[int, Any]]) -> list[tuple[int, float]]:
    """Return numbers, or the prices of quotes that have one."""
    prices = ((timestamp, value.price if isinstance(value, Quote) else value) for timestamp, value in values)
    return [(timestamp, float(price)) for timestamp, price in prices if price is not None]


def _range(storage: DataCollectionStorage, key: str, start: int | None, end: int | None) -> tuple[int, int]:
    """Return the first and the last time of what is stored between two times."""
    [series] = storage.info([key])
    if series.first is None or series.last is None:
        raise ConfigurationError(f"{key}: nothing is stored")
    oldest = max(series.first, start or 0)
    newest = series.last if end is None else min(series.last, end)
    if oldest > newest:
        raise ConfigurationError(f"{key} has data from {moment(series.first)} to {moment(series.last)}, not then")
    return oldest, newest


def _size() -> Size:
    """Return the size of the terminal less a title and a prompt; of no terminal, that of an old one."""
    columns, rows = shutil.get_terminal_size((80, 24))
    return Size(max(columns, SMALLEST.columns), max(rows - 2, SMALLEST.rows))
