"""How late trades are, and how far the clocks are apart: what `collection lag` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table

from collection.clients.skew import LIMIT
from collection.data_collectors.lag import REDIS, SKEW, lag_key
from collection.output import moment, out
from collection.storage import DataCollectionStorage


class Late(NamedTuple):
    """How late one market is, in milliseconds; None where nothing is known."""

    key: str
    p50: float | None
    p99: float | None
    at: int | None
    """When the 10 s began that these are of, in Unix milliseconds."""
    age: int | None
    """How long ago the newest trade was executed."""


class Apart(NamedTuple):
    """How far a clock is ahead of another one, in milliseconds."""

    clock: str
    than: str
    ahead: float
    at: int


def lateness(storage: DataCollectionStorage, key: str, now: int) -> Late:
    """Look up how late a market is; `now` is Unix time in milliseconds."""
    p50, p99 = (storage.latest(lag_key(percent, key)) for percent in (50, 99))
    newest = storage.latest(key)
    return Late(
        key,
        p50[-1][1] if p50 else None,
        p99[-1][1] if p99 else None,
        p50[-1][0] if p50 else None,
        now - newest[-1][0] if newest else None,
    )


def clocks(storage: DataCollectionStorage) -> list[Apart]:
    """Look up how far the clocks are apart."""
    found = []
    for key in storage.series():
        kind, _, rest = key.partition(":")
        other, _, host = rest.partition(":")
        if kind == SKEW and (newest := storage.latest(key)):
            at, ahead = newest[-1]
            pair = (host, "Redis") if other == REDIS else (other, host)
            found.append(Apart(*pair, ahead, at))
    return found


def show_lag(late: Sequence[Late], apart: Sequence[Apart]) -> None:
    """Print both as tables."""
    table = Table("series", box=None, pad_edge=False)
    for name in ("p50", "p99", "of 10 s from (UTC)", "newest trade"):
        table.add_column(name, justify="right")
    for one in late:
        table.add_row(one.key, _ms(one.p50), _ms(one.p99), moment(one.at), _ago(one.age))
    out.print(table)
    if apart:
        skews = Table("clock", "than", box=None, pad_edge=False)
        for name in ("ahead by", "as of (UTC)"):
            skews.add_column(name, justify="right")
        for pair in apart:
            style = "red" if abs(pair.ahead) > LIMIT else ""
            skews.add_row(pair.clock, pair.than, _ms(pair.ahead), moment(pair.at), style=style)
        out.print()
        out.print(skews)


def _ms(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f} ms"


def _ago(age: int | None) -> str:
    return "–" if age is None else f"{age / 1000:,.1f} s ago"
