"""A moment: what was known then of series and feeds, each read once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from collection.errors import CollectionError
from collection.quotes.series import Trades, Values
from collection.records import Quote
from collection.storage import DataCollectionStorage
from collection.storage.base import State

if TYPE_CHECKING:
    from collection.feeds import PriceFeed

Series = TypeVar("Series", Trades, Values)


class Moment:
    """What a storage held at `at` (Unix milliseconds). Feeds read it through this, so that they can share.

    It is for one round: what was read once is not read again.
    """

    def __init__(self, storage: DataCollectionStorage, at: int) -> None:
        self.storage = storage
        self.at = at
        self._quotes: dict[str, Quote] = {}
        self._states: dict[str, State] = {}
        self._series: dict[tuple[str, type, int], Trades | Values] = {}

    def quote(self, feed: PriceFeed) -> Quote:
        """Return the quote of a feed; what goes wrong is a quote that is missing, with the reason."""
        if feed.name not in self._quotes:
            try:
                found = feed.compute(self)
            except Exception as error:  # whatever it is, it is this feed's alone
                found = Quote.missing(feed.name, self.at, _said(error))
            self._quotes[feed.name] = found
        return self._quotes[feed.name]

    def trades(self, key: str, start: int) -> Trades:
        """Return the trades of a series after `start` that had been received by now; there may be older ones too."""
        return self._read(key, start, Trades).known_by(self.at)

    def values(self, key: str, start: int) -> Values:
        """Return the numbers of a series after `start`; there may be older ones too."""
        return self._read(key, start, Values)

    def state(self, key: str) -> State:
        """Return what is known of a series as a whole: coverage and floor."""
        if key not in self._states:
            self._states.update(self.storage.states([key]))
        return self._states[key]

    def _read(self, key: str, start: int, kind: type[Series]) -> Series:
        name = (key, kind, start)
        found = self._series.get(name)
        if not isinstance(found, kind):
            self._series[name] = found = kind()
            found.add(self.storage.fetch(key, start + 1, self.at))
        return found


def _said(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return first if isinstance(error, CollectionError) and first else f"{type(error).__name__}: {first}"
