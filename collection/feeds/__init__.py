"""Price feeds: which prices are wanted."""

from collection import plugins
from collection.feeds.base import PriceFeed
from collection.feeds.cex_trades import CEXTradesFeed

FEED_TYPES: dict[str, type[PriceFeed]] = {"cex_trades": CEXTradesFeed}
"""A feed type: one line here and one file beside."""

__all__ = ["FEED_TYPES", "CEXTradesFeed", "PriceFeed", "feed_type", "feed_types"]


def feed_type(name: str) -> type[PriceFeed] | None:
    """Return the feed type of a name, built in or of a plug-in; raises ConfigurationError where that is broken."""
    found: type[PriceFeed] | None = FEED_TYPES.get(name) or plugins.find("feeds", name, PriceFeed)
    return found


def feed_types() -> list[str]:
    """Return the names of all feed types."""
    return sorted({*FEED_TYPES, *plugins.names("feeds")})
