"""A moment: what was known then of series and feeds, each read once."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from collection.errors import CollectionError
from collection.quotes.once import FOREVER, Late, Once
from collection.quotes.series import Trades, Values
from collection.records import Quote
from collection.storage import DataCollectionStorage
from collection.storage.base import State

if TYPE_CHECKING:
    from collection.feeds import PriceFeed

Series = TypeVar("Series", Trades, Values)


class Moment:
    """What a storage held at `at` (Unix milliseconds). Feeds read it through this, so that they can share.

    It is for one round: what was read once is not read again. Several threads may use it: what one of them is at, the
    others wait for, but not longer than until it took `limit` seconds.
    """

    def __init__(self, storage: DataCollectionStorage, at: int, limit: float = FOREVER) -> None:
        self.storage = storage
        self.at = at
        self.limit = limit
        self.late: set[str] = set()
        """The feeds whose quotes are missing as something took too long."""
        self._states: dict[str, State] = {}
        self._once = Once()

    def quote(self, feed: PriceFeed) -> Quote:
        """Return the quote of a feed; what goes wrong is a quote that is missing, with the reason."""
        try:
            return self._once.do(feed.name, lambda: _checked(feed.compute(self), feed.name, self.at), self.limit)
        except Late as error:
            self.late.add(feed.name)
            return Quote.missing(feed.name, self.at, str(error))
        except Exception as error:  # whatever it is, it is this feed's alone
            return Quote.missing(feed.name, self.at, _said(error))

    def give_up(self, name: str, seconds: float) -> None:
        """Have nobody wait for a feed that is being computed for so long, for an earlier moment."""
        self.late.add(name)
        self._once.do(name, lambda: Quote.missing(name, self.at, f"not done after {seconds:.1f} s"))

    def trades(self, key: str, start: int) -> Trades:
        """Return the trades of a series after `start` that had been received by now; there may be older ones too."""
        return self._once.do((key, start, Trades), lambda: self._read(key, start, Trades), self.limit).known_by(self.at)

    def values(self, key: str, start: int) -> Values:
        """Return the numbers of a series after `start`; there may be older ones too."""
        return self._once.do((key, start, Values), lambda: self._read(key, start, Values), self.limit)

    def state(self, key: str) -> State:
        """Return what is known of a series as a whole: coverage and floor."""
        if key not in self._states:
            self._states.update(self.storage.states([key]))
        return self._states[key]

    def _read(self, key: str, start: int, kind: type[Series]) -> Series:
        found = kind()
        found.add(self.storage.fetch(key, start + 1, self.at))
        return found


def _checked(quote: Any, name: str, at: int) -> Quote:
    """Return what a feed type computed; raises where that is no quote: a type may be a plug-in."""
    if not isinstance(quote, Quote):
        raise TypeError(f"no quote, but {type(quote).__name__}")
    if (quote.name, quote.at) != (name, at):
        raise ValueError(f"a quote of {quote.name} at {quote.at}, not of {name} at {at}")
    if (quote.status == "missing") != (quote.price is None):
        raise ValueError(f"status {quote.status} and price {quote.price}")
    if quote.price is not None and not (isinstance(quote.price, Decimal) and quote.price.is_finite()):
        raise ValueError(f"a price of {quote.price!r}")
    return quote


def _said(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return first if isinstance(error, CollectionError) and first else f"{type(error).__name__}: {first}"
