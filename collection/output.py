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

from collection.records import Trade
from collection.storage import SeriesInfo

Format = Literal["table", "json", "csv"]

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
    header, rows = _rows(values)
    if form == "json":
        for row in rows:
            sys.stdout.write(json.dumps(dict(zip(header, row, strict=True)), default=str, ensure_ascii=False) + "\n")
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    else:
        table = Table(*header, box=None, pad_edge=False)
        for row in rows:
            table.add_row(moment(row[0]), *("–" if cell is None else str(cell) for cell in row[1:]))
        out.print(table)
    sys.stdout.flush()


def _rows(values: Sequence[tuple[int, Any]]) -> tuple[list[str], Iterable[list[Any]]]:
    """Give the header and the cells; the first column is the timestamp."""
    if values and isinstance(values[0][1], Trade):
        header = ["timestamp_ms", "trade_id", "side", "price", "amount"]
        return header, ([t.timestamp, t.id, t.side, f"{t.price:f}", f"{t.amount:f}"] for _, t in values)
    return ["timestamp_ms", "value"], ([timestamp, _plain(value)] for timestamp, value in values)


def _plain(value: Any) -> Any:
    if isinstance(value, dict | list | bytes):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return f"{value:f}" if isinstance(value, Decimal) else value
