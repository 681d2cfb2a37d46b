"""Which of several prices is not of the others' kind."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from collection.quotes.numbers import EXACT, ROUNDED, median

CUT = Decimal("3.5")
LEAST = Decimal("0.0001")
"""Relative to the median: prices are never said to be closer together than that."""


def scores(prices: Sequence[Decimal]) -> list[Decimal]:
    """Return the modified z-score of each price: 0.6745 (x - median) / MAD, with MAD = median |x - median|.

    Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993), who call outliers those beyond 3.5. Where half of
    the prices are the same the MAD is 0, and of a few that nearly agree it is next to nothing: it counts as one
    basis point (0.0001) of the median at least, so what lies within 5.2 basis points of the median is never an outlier.
    Of fewer than three prices nobody can tell which is wrong: their scores are 0; so are all where half of them are 0.
    """
    if len(prices) < 3:
        return [Decimal(0)] * len(prices)
    centre = median(prices)
    apart = [EXACT.subtract(price, centre) for price in prices]
    scale = max(median([EXACT.abs(one) for one in apart]), EXACT.multiply(LEAST, EXACT.abs(centre)))
    return [ROUNDED.divide(EXACT.multiply(Decimal("0.6745"), one), scale) if scale else Decimal(0) for one in apart]


def outliers(prices: Sequence[Decimal]) -> list[str]:
    """Say of each price why it is an outlier; empty where it is none."""
    found = scores(prices)
    return [f"outlier: {score:+.1f} median absolute deviations" if abs(score) > CUT else "" for score in found]
