"""Quotes: what was known at a moment, what feeds make of it, and telling it to others."""

from collection.quotes.feeder import Feeder
from collection.quotes.following import follow
from collection.quotes.moment import Moment
from collection.quotes.publisher import Publisher
from collection.quotes.redis_publisher import RedisPublisher, open_publisher
from collection.quotes.series import Trades, Values
from collection.quotes.updater import Updater

__all__ = ["Feeder", "Moment", "Publisher", "RedisPublisher", "Trades", "Updater", "Values", "follow", "open_publisher"]
