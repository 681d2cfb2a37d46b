"""The average of several feeds, weighted by volume."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal

from collection.feeds.composite import Part
from collection.feeds.sources import SourcesFeed
from collection.quotes.numbers import EXACT, ROUNDED


class WeightedFeed(SourcesFeed):
    """Σ p·v / Σ v over the feeds' prices p and volumes v, those of their windows: give them windows of one length.

    A feed without volume, such as a stored number, is left out. The volume of this one is the sum.
    """

    type: Literal["weighted"]

    def made_of(self) -> str:
        return "mean, weighted by volume"

    def usable(self, parts: list[Part]) -> list[Part]:
        return [
            part if part.left_out or part.quote.volume else part._replace(left_out="no volume", note="")
            for part in parts
        ]

    def weighed(self, parts: list[Part]) -> list[Part]:
        total = _sum(part.quote.volume or Decimal(0) for part in parts if not part.left_out)
        return [
            part._replace(weight=Decimal(0) if part.left_out else ROUNDED.divide(part.quote.volume or 0, total))
            for part in parts
        ]

    def combine(self, used: Sequence[Part]) -> dict[str, Any]:
        pairs = [(part.quote.price or Decimal(0), part.quote.volume or Decimal(0)) for part in used]
        volume = _sum(amount for _, amount in pairs)
        price = ROUNDED.divide(_sum(EXACT.multiply(*pair) for pair in pairs), volume)
        return {"price": price, "volume": volume, "dispersion": self.spread(used, price)}


def _sum(numbers: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for number in numbers:
        total = EXACT.add(total, number)
    return total
