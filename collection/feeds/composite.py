"""Composites: prices that are made of other feeds' quotes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from pydantic import PrivateAttr

from collection.data_collectors import DataSourceCollector
from collection.feeds.base import PriceFeed
from collection.quotes.moment import Moment
from collection.records import Quote, Status
from collection.text import Seconds


class Part(NamedTuple):
    """What one feed brings to a composite."""

    feed: PriceFeed
    quote: Quote
    weight: Decimal | None = None
    """Its share of the price, where that has one; 0 where it was left out."""
    left_out: str = ""
    """Why it was."""
    note: str = ""
    """What else is not as it should be."""


class CompositeFeed(PriceFeed):
    """A price that is made of the quotes of other feeds of the file, which may stand before or after it.

    A part whose newest datum is older than the composite's own `stale_after` is stale to it; by default the parts' own
    limits hold.
    """

    stale_after: Seconds = float("inf")
    _parts: dict[str, PriceFeed] = PrivateAttr(default_factory=dict)

    def bind(self, feeds: Mapping[str, PriceFeed]) -> None:
        self._parts = {name: feeds[name] for _, name in self.references()}

    def data_source_collectors(self) -> list[DataSourceCollector]:
        return [collector for feed in self.bound() for collector in feed.data_source_collectors()]

    @abstractmethod
    def references(self) -> Iterable[tuple[str, str]]:
        """Yield (field, name) for each part."""

    @abstractmethod
    def parts(self, moment: Moment) -> list[Part]:
        """Return what each part brings, in the order of the table, and which are left out."""

    @abstractmethod
    def combine(self, used: Sequence[Part]) -> dict[str, Any]:
        """Return price, dispersion, volume and whatever else of the quote the parts used make; they all have prices."""

    def compute(self, moment: Moment) -> Quote:
        parts = self.parts(moment)
        used = [part for part in parts if not part.left_out]
        reason = "; ".join(
            f"{part.feed.name}: {said}" for part in self.telling(parts) if (said := part.left_out or part.note)
        )
        if not used:
            return Quote.missing(self.name, moment.at, reason)
        quotes = [part.quote for part in used]
        status: Status = "degraded" if reason else "ok"
        if any(quote.status == "stale" for quote in quotes):
            status = "stale"
        found = {
            "timestamp": max(quote.timestamp or 0 for quote in quotes),
            "count": sum(quote.count for quote in quotes),
            "sources": sum(quote.sources for quote in quotes),
            **self.combine(used),
        }
        return Quote(name=self.name, at=moment.at, status=status, reason=reason, **found)

    def telling(self, parts: list[Part]) -> list[Part]:
        """Return the parts of which it matters when something is wrong with them."""
        return parts

    def quotes(self, moment: Moment) -> list[Part]:
        """Return the quotes of all parts as they are to this composite; those without a price are left out."""
        parts = []
        for feed in self.bound():
            quote = moment.quote(feed)
            old = quote.status != "missing" and self.stale_reason(moment.at, quote.timestamp or 0)
            if old and quote.status != "stale":
                quote = msgspec.structs.replace(quote, status="stale", reason=old)
            said = f"{quote.status}: {quote.reason}" if quote.status != "ok" else ""
            left_out = said if quote.price is None else ""
            parts.append(Part(feed, quote, left_out=left_out, note="" if left_out else said))
        return parts

    def fresh(self, moment: Moment) -> list[Part]:
        """Return all parts; the stale ones are left out too, unless there is nothing else."""
        parts = self.quotes(moment)
        if not any(part.quote.status in ("ok", "degraded") for part in parts):
            return parts
        return [part._replace(left_out=part.note, note="") if part.quote.status == "stale" else part for part in parts]

    def bound(self) -> list[PriceFeed]:
        """Return the feeds that it is made of, in the order of the table."""
        return [self._parts[name] for _, name in self.references()]
