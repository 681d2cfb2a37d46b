"""Price feeds: which prices are wanted."""

from collection.feeds.base import PriceFeed
from collection.feeds.cex_trades import CEXTradesFeed

FEED_TYPES: dict[str, type[PriceFeed]] = {"cex_trades": CEXTradesFeed}
"""A feed type: one line here and one file beside."""

__all__ = ["FEED_TYPES", "CEXTradesFeed", "PriceFeed"]
