"""Several feeds that quote the same, less the outliers among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from pydantic import Field, field_validator

from collection.feeds.composite import CompositeFeed, Part
from collection.quotes.moment import Moment
from collection.quotes.numbers import ROUNDED, spread
from collection.quotes.outliers import outliers


class SourcesFeed(CompositeFeed):
    """A price from several feeds that quote the same; outliers among them are left out (`collection.quotes.outliers`).

    Dispersion is the standard deviation of their prices around this one, relative to it; of a single one its own.
    """

    feeds: list[str] = Field(min_length=1)

    @field_validator("feeds")
    @classmethod
    def _once(cls, feeds: list[str]) -> list[str]:
        if twice := [name for place, name in enumerate(feeds) if name in feeds[:place]]:
            raise ValueError(f"{twice[0]!r} is named twice")
        return feeds

    def references(self) -> Iterable[tuple[str, str]]:
        return [("feeds", name) for name in self.feeds]

    def parts(self, moment: Moment) -> list[Part]:
        parts = self.usable(self.fresh(moment))
        prices = {place: part.quote.price for place, part in enumerate(parts) if not part.left_out}
        given = {place: price for place, price in prices.items() if price is not None}
        for place, why in zip(given, outliers(list(given.values())), strict=True):
            if why:
                parts[place] = parts[place]._replace(left_out=why, note="")
        return self.weighed(parts)

    def usable(self, parts: list[Part]) -> list[Part]:
        """Leave out what this type has no use for."""
        return parts

    def weighed(self, parts: list[Part]) -> list[Part]:
        """Give each part its share of the price: by default they share alike."""
        used = sum(not part.left_out for part in parts)
        share = ROUNDED.divide(Decimal(1), used) if used else Decimal(0)
        return [part._replace(weight=Decimal(0) if part.left_out else share) for part in parts]

    def spread(self, used: Sequence[Part], price: Any) -> float | None:
        """Return the dispersion around a price."""
        if len(used) == 1:
            return used[0].quote.dispersion
        return spread([part.quote.price for part in used if part.quote.price is not None], price)
