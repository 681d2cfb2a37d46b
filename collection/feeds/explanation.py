"""Explanations: what a quote is made of, part by part."""

from __future__ import annotations

from decimal import Decimal
from typing import Self

import msgspec

from collection.feeds.base import PriceFeed
from collection.feeds.composite import CompositeFeed, Part
from collection.quotes.moment import Moment
from collection.records import Quote


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A quote, and those that it is made of."""

    name: str
    type: str
    made_of: str
    """What its type makes of what, in a few words."""
    quote: Quote
    weight: Decimal | None = None
    """Its share of the price that it is a part of, where it has one; 0 where it was left out."""
    left_out: str = ""
    """Why it was."""
    parts: list[Self] = []

    @classmethod
    def of(cls, feed: PriceFeed, moment: Moment, part: Part | None = None) -> Self:
        """Explain what a feed says at a moment; `part` is what it brings to a composite."""
        quote = moment.quote(feed)
        parts: list[Part] = []
        if isinstance(feed, CompositeFeed):
            try:
                parts = feed.parts(moment)
            except Exception:  # it is why the quote is missing, which says it
                parts = [Part(one, moment.quote(one)) for one in feed.bound()]
        return cls(
            name=feed.name,
            type=feed.type,
            made_of=feed.made_of(),
            quote=part.quote if part else quote,
            weight=part.weight if part else None,
            left_out=part.left_out if part else "",
            parts=[cls.of(one.feed, moment, one) for one in parts],
        )
