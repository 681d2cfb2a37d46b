"""Quotes: what was known at a moment, and what feeds make of it."""

from collection.quotes.feeder import Feeder
from collection.quotes.moment import Moment
from collection.quotes.series import Trades, Values

__all__ = ["Feeder", "Moment", "Trades", "Values"]
