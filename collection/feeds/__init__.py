"""Price feeds: which prices are wanted."""

from collection import plugins
from collection.feeds.base import PriceFeed
from collection.feeds.cex_trades import CEXTradesFeed
from collection.feeds.composite import CompositeFeed, Part
from collection.feeds.convert import ConvertFeed
from collection.feeds.explanation import Explanation
from collection.feeds.fallback import FallbackFeed
from collection.feeds.median import MedianFeed
from collection.feeds.stored import StoredFeed
from collection.feeds.weighted import WeightedFeed

FEED_TYPES: dict[str, type[PriceFeed]] = {
    "cex_trades": CEXTradesFeed,
    "convert": ConvertFeed,
    "fallback": FallbackFeed,
    "median": MedianFeed,
    "stored": StoredFeed,
    "weighted": WeightedFeed,
}
"""A feed type: one line here and one file beside."""

__all__ = [
    "FEED_TYPES",
    "CEXTradesFeed",
    "CompositeFeed",
    "ConvertFeed",
    "Explanation",
    "FallbackFeed",
    "MedianFeed",
    "Part",
    "PriceFeed",
    "StoredFeed",
    "WeightedFeed",
    "feed_type",
    "feed_types",
]


def feed_type(name: str) -> type[PriceFeed] | None:
    """Return the feed type of a name, built in or of a plug-in; raises ConfigurationError where that is broken."""
    found: type[PriceFeed] | None = FEED_TYPES.get(name) or plugins.find("feeds", name, PriceFeed)
    return found


def feed_types() -> list[str]:
    """Return the names of all feed types."""
    return sorted({*FEED_TYPES, *plugins.names("feeds")})
