"""Feeder: the quotes of all feeds, a round at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from collection import clock
from collection.quotes.crew import LIMIT, Crew
from collection.quotes.once import FOREVER
from collection.quotes.windows import KeptMoment, Windows
from collection.records import Quote
from collection.storage import DataCollectionStorage

if TYPE_CHECKING:
    from collection.feeds import PriceFeed


class Feeder:
    """Reads all feeds once a round; each part that several share is computed once, before what is made of it.

    Its quotes equal those of `feed.quote(storage, at)`. Windows are kept in memory, each record is decoded once, and a
    round reads on: three round trips to Redis, however many feeds and series, and one more for each append to an older
    day. The first round reads each window, which takes some for each. One round at a time.

    `limit` is for `as_completed`: the seconds that a feed may take.
    """

    def __init__(self, feeds: Sequence[PriceFeed], storage: DataCollectionStorage, limit: float = LIMIT) -> None:
        self.feeds = feeds
        self._storage = storage
        self._windows = Windows()
        self._crew: Crew[Quote] = Crew(limit)
        named = {feed.name: feed for feed in feeds}
        parts = {feed.name: [name for _, name in feed.references() if name in named] for feed in feeds}
        self._parts_first = {name: (named[name], parts[name]) for name in TopologicalSorter(parts).static_order()}

    def quotes(self, at: int | None = None) -> dict[str, Quote]:
        """Return the quotes of all feeds by name, as of `at` (Unix milliseconds), by default now. Never raises."""
        moment = self._moment(at)
        quotes = {name: moment.quote(feed) for name, (feed, _) in self._parts_first.items()}
        return {feed.name: quotes[feed.name] for feed in self.feeds}

    def as_completed(self, at: int | None = None) -> Iterator[dict[str, Quote]]:
        """Yield the same quotes as they are done: mostly all at once, else those of slow feeds after the others.

        A feed that takes longer than its limit is left out, and its quote missing to what is made of it. It is computed
        on, in a thread of its own, so that the window that it reads will be there some round. Never raises.
        """
        moment = self._moment(at, self._crew.limit)
        busy = self._crew.busy
        for name, seconds in busy.items():
            moment.give_up(name, seconds)
        jobs: dict[str, Callable[[], Quote]] = {}
        slow: dict[str, Callable[[], Quote]] = {}
        for name, (feed, parts) in self._parts_first.items():
            if name not in busy:
                later = name in self._crew.slow or any(part in slow for part in parts)
                (slow if later else jobs)[name] = partial(moment.quote, feed)
        for done in self._crew.run(jobs | slow):
            yield {name: quote for name, quote in done.items() if name not in moment.late}

    def _moment(self, at: int | None, limit: float = FOREVER) -> KeptMoment:
        moment = KeptMoment(self._storage, clock.now() if at is None else at, self._windows, limit)
        moment.read_on()
        return moment
