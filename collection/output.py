"""How the commands show what is stored: tables for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.table import Table

from collection.bars import Bar
from collection.records import Quote, Trade
from collection.storage import SeriesInfo

Format = Literal["table", "json", "csv"]
_SPARKS = "▁▂▃▄▅▆▇█"

out = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def tell(text: str) -> None:
    """Say something beside the output."""
    err.print(text, style="dim")


def moment(timestamp: int | None) -> str:
    """Write Unix milliseconds for people: `2026-01-31 12:00:00.000`, in UTC."""
    if timestamp is None:
        return "–"
    return datetime.fromtimestamp(timestamp // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") + f".{timestamp % 1000:03d}"


def show_series(infos: Sequence[SeriesInfo]) -> None:
    """Print one line for each series."""
    table = Table("series", "type", box=None, pad_edge=False)
    for name in ("records", "first (UTC)", "last (UTC)", "bytes"):
        table.add_column(name, justify="right")
    for info in infos:
        first, last = moment(info.first), moment(info.last)
        table.add_row(info.key, info.type or "–", f"{info.records:,}", first, last, f"{info.bytes:,}")
    out.print(table)


def show_values(values: Sequence[tuple[int, Any]], form: Format) -> None:
    """Print what a query found."""
    header, rows = cells(values)
    if form == "table":
        table = Table(*header, box=None, pad_edge=False)
        for row in rows:
            table.add_row(moment(row[0]), *("–" if cell is None else str(cell) for cell in row[1:]))
        out.print(table)
    else:
        write_rows(header, rows, form)


def show_bars(bars: Sequence[Bar], form: Format) -> None:
    """Print bars; below a table, the way that the closes went."""
    header = ["timestamp_ms", "open", "high", "low", "close", "volume", "count", "quote_volume"]
    if form != "table":
        write_rows(header, map(list, map(msgspec.structs.astuple, bars)), form)
        return
    table = Table("time (UTC)", box=None, pad_edge=False)
    for name in ("open", "high", "low", "close", "volume", "trades", "quote volume"):
        table.add_column(name, justify="right")
    prices = _aligned([price for bar in bars for price in (bar.open, bar.high, bar.low, bar.close)])
    sums = _aligned([bar.volume for bar in bars]), _aligned([bar.quote_volume for bar in bars])
    for number, (bar, volume, quote_volume) in enumerate(zip(bars, *sums, strict=True)):
        style = "green" if bar.close > bar.open else "red" if bar.close < bar.open else ""
        four = prices[4 * number : 4 * number + 4]
        table.add_row(moment(bar.timestamp), *four, volume, f"{bar.count:,}", quote_volume, style=style)
    out.print(table)
    if len(bars) > 1:
        tell(f"closes {sparkline([bar.close for bar in bars])}")


def _aligned(numbers: Sequence[float]) -> list[str]:
    """Write floats with the digits that they have, and as many after the point as the longest of them."""
    exact = [Decimal(repr(number)).normalize() for number in numbers]
    places = max((-int(number.as_tuple().exponent) for number in exact), default=0)
    return [f"{number:.{max(places, 0)}f}" for number in exact]


def sparkline(numbers: Sequence[float], width: int = 60) -> str:
    """Draw numbers as a line of small blocks, the newest on the right; of many, each stretch by its last one."""
    parts = min(width, len(numbers))
    picked = [numbers[(place + 1) * len(numbers) // parts - 1] for place in range(parts)]
    low, high = min(picked), max(picked)
    steps = (len(_SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_SPARKS[round((number - low) * steps)] for number in picked)


def write_rows(header: Sequence[str], rows: Iterable[Sequence[Any]], form: Format, *, titled: bool = True) -> None:
    """Write rows for programs: JSON, an object a line, or CSV, below its header unless that is not `titled`."""
    if form == "json":
        for row in rows:
            sys.stdout.write(json.dumps(dict(zip(header, row, strict=True)), default=str, ensure_ascii=False) + "\n")
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([header] if titled else [])
        writer.writerows(rows)
    sys.stdout.flush()


def cells(values: Sequence[tuple[int, Any]]) -> tuple[list[str], Iterable[list[Any]]]:
    """Give the header and the cells; the first column is the timestamp."""
    if values and isinstance(values[0][1], Trade):
        header = ["timestamp_ms", "trade_id", "side", "price", "amount"]
        return header, ([t.timestamp, t.id, t.side, f"{t.price:f}", f"{t.amount:f}"] for _, t in values)
    if values and isinstance(values[0][1], Quote):
        header = ["timestamp_ms", "price", "status", "count", "sources", "dispersion", "volume", "newest_ms", "reason"]
        return header, ([timestamp, *_quoted(quote)] for timestamp, quote in values)
    return ["timestamp_ms", "value"], ([timestamp, _plain(value)] for timestamp, value in values)


def _quoted(quote: Quote) -> list[Any]:
    price, volume = (None if number is None else f"{number:f}" for number in (quote.price, quote.volume))
    told = [price, quote.status, quote.count, quote.sources, quote.dispersion, volume, quote.timestamp]
    return [*told, quote.reason or None]


def _plain(value: Any) -> Any:
    if isinstance(value, dict | list | bytes):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return f"{value:f}" if isinstance(value, Decimal) else value
