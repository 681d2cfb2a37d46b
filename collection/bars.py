"""Bars: what the trades of a stretch of time come to, exact to the last digit before it is rounded to a float."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact
from itertools import groupby

import msgspec

from collection.records import Trade

SECOND = 1_000
"""The width, in milliseconds, of the bars that are kept beside the records."""
_EXACT = Context(prec=1_000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact])


class Bar(msgspec.Struct, frozen=True, gc=False):
    """Open, high, low, close and sums of the trades of [timestamp, timestamp + width).

    Each number is the 64-bit float nearest to the exact decimal one.
    """

    timestamp: int
    """Unix time in milliseconds, a multiple of the width."""
    open: float
    high: float
    low: float
    close: float
    volume: float
    """Sum of the amounts, in units of the base currency."""
    count: int
    """Number of trades."""
    quote_volume: float
    """Sum of price times amount, in units of the quote currency."""


def bars_of(trades: Iterable[Trade], width: int = SECOND) -> list[Bar]:
    """Compute the bars of trades in order of (timestamp, id); a stretch without trades has none."""
    checked_width(width)
    return [
        _bar(timestamp, list(group))
        for timestamp, group in groupby(trades, lambda trade: trade.timestamp - trade.timestamp % width)
    ]


def bar_range(start: int | None, end: int | None, width: int) -> tuple[int | None, int | None]:
    """Return the first and last millisecond of the bars that begin between two times, both included."""
    checked_width(width)
    return (
        None if start is None else start + -start % width,
        None if end is None else end - end % width + width - 1,
    )


def checked_width(width: int) -> int:
    """Return the width, or raise ValueError where it is none."""
    if type(width) is not int or width < 1:
        raise ValueError(f"a bar's width is a number of milliseconds from 1 on, not {width!r}")
    return width


def _bar(timestamp: int, trades: list[Trade]) -> Bar:
    volume = quote_volume = Decimal(0)
    for trade in trades:
        volume = _EXACT.add(volume, trade.amount)
        quote_volume = _EXACT.add(quote_volume, _EXACT.multiply(trade.price, trade.amount))
    prices = [float(trade.price) for trade in trades]
    return Bar(
        timestamp, prices[0], max(prices), min(prices), prices[-1], float(volume), len(trades), float(quote_volume)
    )
