"""Updater: quotes all feeds, round after round, stores what they say, and publishes what is news."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from collection import clock
from collection.errors import CollectionError, RecordRefused, StorageRefused
from collection.quotes.feeder import Feeder
from collection.quotes.publisher import Publisher
from collection.records import Quote, quote_key
from collection.storage import DataCollectionStorage

if TYPE_CHECKING:
    from collection.feeds import PriceFeed

log = logging.getLogger(__name__)

INTERVAL = 1.0
DELAY = 0.25
"""Seconds: what was received by now is on its way to the storage for a moment yet."""


class Round(NamedTuple):
    """What a round came to."""

    quoted: int
    late: int
    """Feeds that were not done in time."""
    published: list[Quote]


class Updater:
    """Each round quotes all feeds as of `delay` seconds ago, so that the same comes out whenever it is asked for.

    What a slow feed says comes after what the others say. One that was not done for a heartbeat's time is missing.
    """

    def __init__(
        self,
        feeds: Sequence[PriceFeed],
        storage: DataCollectionStorage,
        publisher: Publisher | None = None,
        *,
        interval: float = INTERVAL,
        delay: float = DELAY,
    ) -> None:
        self._feeds = [feed for feed in feeds if feed.can_quote]
        self._storage = storage
        self._publisher = publisher or Publisher()
        self._interval = interval
        self._delay = round(delay * 1000)
        self._feeder = Feeder(self._feeds, storage, interval / 2)
        self._quoted: dict[str, float] = {}
        self._unstored: set[str] = set()

    def update(self, at: int | None = None) -> Round:
        """Do one round, as of `at` (Unix milliseconds). Blocks, but for no slow feed longer than half an interval.

        Raises:
            StorageUnavailable: Quotes could not be stored or published.
        """
        at = clock.now() - self._delay if at is None else at
        published: list[Quote] = []
        left = {feed.name: None for feed in self._feeds}
        for quotes in self._feeder.as_completed(at):
            published += self._tell(quotes.values())
            for name in quotes:
                del left[name]
        published += self._tell(self._overdue(left, at))
        return Round(len(self._feeds) - len(left), len(left), published)

    async def run(self) -> None:
        """Do a round every interval, until cancelled."""
        async for _ in self.rounds():
            pass

    async def rounds(self) -> AsyncIterator[Round]:
        """Do a round every interval, and yield what each came to; one that fails is logged."""
        while True:
            try:
                yield await asyncio.to_thread(self.update)
            except CollectionError as error:
                log.warning("quotes: %s", error)
            await asyncio.sleep(self._interval - time.time() % self._interval)

    def _tell(self, quotes: Iterable[Quote]) -> list[Quote]:
        """Store quotes, then publish them: whatever anybody hears of is stored."""
        stored = [kept for quote in quotes if (kept := self._stored(quote))]
        return self._publisher.publish([quote for quote in stored if self._is_durable(quote)])

    def _stored(self, quote: Quote) -> Quote | None:
        """Store a quote, or that there is none as it can't be kept; returns which, None where not even that can."""
        self._quoted[quote.name] = time.monotonic()
        key = quote_key(quote.name)
        try:
            self._storage.store(key, quote, quote.at)
            return quote
        except RecordRefused as error:
            missing = Quote.missing(quote.name, quote.at, f"it can't be stored: {error}")
        try:
            self._storage.store(key, missing, missing.at)
            return missing
        except RecordRefused as error:
            self._refused(quote.name, error)
            return None

    def _is_durable(self, quote: Quote) -> bool:
        try:
            self._storage.flush(quote_key(quote.name))  # of one key: what is wrong with others is told to who stored it
            return True
        except StorageRefused as error:
            self._refused(quote.name, error)
            return False

    def _refused(self, name: str, error: Exception) -> None:
        if name not in self._unstored:
            log.warning("quotes: %s is not published, as it can't be stored: %s", name, error)
        self._unstored.add(name)

    def _overdue(self, names: Iterable[str], at: int) -> list[Quote]:
        now = time.monotonic()
        since = {name: now - self._quoted.setdefault(name, now) for name in names}
        for name in since:
            self._storage.count(quote_key(name), "quote:late")
        return [
            Quote.missing(name, at, f"not done for {seconds:.0f} s")
            for name, seconds in since.items()
            if seconds >= self._publisher.heartbeat
        ]
