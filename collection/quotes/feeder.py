"""Feeder: the quotes of all feeds, a round at a time, from windows that are kept in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from collection import clock
from collection.errors import RetryLater
from collection.quotes.moment import Moment, Series
from collection.quotes.series import Trades, Values
from collection.records import Quote
from collection.storage import DataCollectionStorage
from collection.storage.base import State, Tail

if TYPE_CHECKING:
    from collection.feeds import PriceFeed

PAGES = 3
"""Pages of new records that are read before the window is read anew: a backfill brings days that nobody looks at."""


class Feeder:
    """Reads all feeds once a round; each part that several share is computed once, before what is made of it.

    Its quotes equal those of `feed.quote(storage, at)`. Windows are kept in memory, each record is decoded once, and a
    round reads on: three round trips to Redis, however many feeds and series, and one more for each append to an older
    day. The first round reads each window, which takes some for each. For one thread.
    """

    def __init__(self, feeds: Sequence[PriceFeed], storage: DataCollectionStorage) -> None:
        self.feeds = feeds
        self._storage = storage
        self._windows: dict[str, _Followed] = {}

    def quotes(self, at: int | None = None) -> dict[str, Quote]:
        """Return the quotes of all feeds by name, as of `at` (Unix milliseconds), by default now. Never raises."""
        moment = _FedMoment(self._storage, clock.now() if at is None else at, self._windows)
        moment.read_on()
        return {feed.name: moment.quote(feed) for feed in self.feeds}


class _Followed:
    """A series of which the last `span` milliseconds are kept."""

    def __init__(self, kind: type[Trades] | type[Values], position: str, since: int, stored: int) -> None:
        self.kept = kind()
        self.position = position
        self.since = since  # all after it is kept
        self.span = 0
        self.stored = stored


class _FedMoment(Moment):
    """A moment that reads what is kept."""

    def __init__(self, storage: DataCollectionStorage, at: int, windows: dict[str, _Followed]) -> None:
        super().__init__(storage, at)
        self._windows = windows
        self._errors: dict[str, Exception] = {}

    def read_on(self) -> None:
        """Bring all windows up to what is stored; what can't be read fails the feeds that need it."""
        try:
            self._follow(list(self._windows))
        except RetryLater as error:
            self._errors = dict.fromkeys(self._windows, error)
        except Exception:  # one of them: each for itself
            for key in list(self._windows):
                try:
                    self._follow([key])
                except Exception as error:
                    self._errors[key] = error

    def state(self, key: str) -> State:
        if key in self._errors:
            raise self._errors[key]
        return super().state(key)

    def _follow(self, keys: Iterable[str]) -> None:
        left, pages = set(keys), 0
        while left and pages < PAGES:
            pages += 1
            tails = self.storage.tail({key: self._windows[key].position for key in left})
            left = {key for key, tail in tails.items() if self._take(key, tail)}
        for key in left:
            self._windows.pop(key)
        followed = [key for key in keys if key in self._windows]
        self._states.update(self.storage.states(followed))
        for key in followed:
            window = self._windows[key]
            stored = self._states[key].stored
            if stored < window.stored:  # it was emptied: what is kept is there no more
                del self._windows[key]
                continue
            window.stored = stored
            if window.since < self.at - window.span:
                window.since = self.at - window.span
                window.kept.trim(window.since)

    def _take(self, key: str, tail: Tail) -> bool:
        window = self._windows[key]
        window.kept.add(pair for pair in tail.values if pair[0] > window.since)
        window.position = tail.position
        return tail.more

    def _read(self, key: str, start: int, kind: type[Series]) -> Series:
        if key in self._errors:
            raise self._errors[key]
        window = self._windows.get(key)
        if window is None or start < window.since:
            window = self._begin(key, start, kind)
        if not isinstance(window.kept, kind):  # the same series as trades and as numbers: one of them will fail
            return super()._read(key, start, kind)
        window.span = max(window.span, self.at - start)
        return window.kept

    def _begin(self, key: str, start: int, kind: type[Series]) -> _Followed:
        """Note where the series ends, then read the window: what comes in between is read twice and kept once."""
        position = self.storage.tail({key: "now"})[key].position
        window = _Followed(kind, position, start, self.state(key).stored)
        window.kept.add(self.storage.fetch(key, start + 1))
        self._windows[key] = window
        return window
