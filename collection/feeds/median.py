"""The median of several feeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from collection.feeds.composite import Part
from collection.feeds.sources import SourcesFeed
from collection.quotes.numbers import median


class MedianFeed(SourcesFeed):
    """The median of the feeds' prices, each counted once; of an even number the mean of the two in the middle."""

    type: Literal["median"]

    def combine(self, used: Sequence[Part]) -> dict[str, Any]:
        price = median([part.quote.price for part in used if part.quote.price is not None])
        return {"price": price, "dispersion": self.spread(used, price)}
