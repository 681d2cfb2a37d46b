"""A price in another currency."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import hypot
from typing import Any, Literal

from collection.feeds.composite import CompositeFeed, Part
from collection.quotes.moment import Moment
from collection.quotes.numbers import ROUNDED


class ConvertFeed(CompositeFeed):
    """The price of `feed` times, or divided by, that of `by`: BTC/USDT × USDT/USD = BTC/USD = BTC/EUR ÷ USD/EUR.

    Without both there is none. Volume is that of `feed`. Dispersion is sqrt(a² + b²) of the dispersions of the two: the
    error of a product or a quotient of two independent ones, to the first order (JCGM 100:2008, 5.1.6).
    """

    type: Literal["convert"]
    feed: str
    by: str
    operation: Literal["multiply", "divide"] = "multiply"

    def references(self) -> Iterable[tuple[str, str]]:
        return [("feed", self.feed), ("by", self.by)]

    def made_of(self) -> str:
        return "the first times the second" if self.operation == "multiply" else "the first by the second"

    def parts(self, moment: Moment) -> list[Part]:
        parts = self.quotes(moment)
        lacking = any(part.left_out for part in parts)
        if not lacking and self.operation == "divide" and not parts[1].quote.price:
            parts[1], lacking = parts[1]._replace(left_out="a price of zero divides nothing"), True
        if lacking:
            return [part if part.left_out else part._replace(left_out="of no use without the other") for part in parts]
        return parts

    def combine(self, used: Sequence[Part]) -> dict[str, Any]:
        feed, by = (part.quote for part in used)
        operate = ROUNDED.multiply if self.operation == "multiply" else ROUNDED.divide
        dispersion = None
        if feed.dispersion is not None and by.dispersion is not None:
            dispersion = hypot(feed.dispersion, by.dispersion)
        return {"price": operate(feed.price or 0, by.price or 0), "volume": feed.volume, "dispersion": dispersion}
