"""Exact decimals: sums keep every digit, and only the last step rounds."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal, Inexact

EXACT = Context(prec=1_000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact])
"""For sums and products. A number of a trade has 60 digits at most, so these never come near its end; if one did, it
would raise and not round."""
ROUNDED = Context(prec=34, rounding=ROUND_HALF_EVEN, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""For quotients and roots: 34 significant digits (those of IEEE 754 decimal128), half to even. Rounded once."""


def median(prices: Sequence[Decimal]) -> Decimal:
    """Return the middle one of the prices in order; of an even number the mean of the two in the middle, rounded."""
    ordered = sorted(prices)
    return middle(ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2])


def middle(low: Decimal, high: Decimal) -> Decimal:
    """Return the mean of two prices, or the one that both are, as it is written."""
    return low if low == high else ROUNDED.divide(EXACT.add(low, high), 2)


def spread(prices: Sequence[Decimal], centre: Decimal) -> float | None:
    """Return sqrt(Σ(p - centre)² / n) / |centre|, how far n prices lie from one; None where that is 0."""
    if not centre:
        return None
    squares = Decimal(0)
    for price in prices:
        apart = EXACT.subtract(price, centre)
        squares = EXACT.add(squares, EXACT.multiply(apart, apart))
    root = ROUNDED.sqrt(ROUNDED.divide(squares, len(prices)))
    return float(ROUNDED.divide(root, EXACT.abs(centre)))
