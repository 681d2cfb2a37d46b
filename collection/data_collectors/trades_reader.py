"""Reads the history of a market into the storage, page by page: what polls do, and streams where they have a hole."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from collection import clock
from collection.clients import CEXClient, Clients, Cursor, Page, Refused, Start
from collection.data_collectors.lag import store_skew
from collection.errors import ConfigurationError
from collection.records import Trade, series_key
from collection.retention import check_start, kept_since
from collection.storage import Coverage, Covers, DataCollectionStorage, Interval
from collection.storage.threads import in_thread
from collection.storage.values import integer_id
from collection.text import milliseconds

log = logging.getLogger(__name__)

REACHES_MS = (0, 10_000, 3_600_000)
"""How far back the last trade before a position is looked for, where positions are times."""
LOGGED = 3
"""Refused records of a page that are logged with their source; all are counted."""


class TradesReader:
    """The history of one market, by `client.fetch_trades`.

    What is older than `kept` seconds is not read for pages on end: reading goes on at the oldest day that is kept,
    and what lies between stays a gap.
    """

    def __init__(self, exchange: str, market: str, *, start: str, kept: float, clients: Clients) -> None:
        self.key = series_key("trades", exchange, market)
        self.market = market
        self._exchange = exchange
        self._start = Start(start if start in ("now", "earliest") else milliseconds(start))
        self._start_given, self._kept = start, kept
        self._clients = clients

    @property
    def client(self) -> CEXClient:
        """The client of the exchange, to be asked for within the event loop."""
        return self._clients.get(self._exchange, self.market)

    @property
    def has_past(self) -> bool:
        """Whether an empty series begins before now."""
        return self._start.at != "now"

    async def coverage(self, storage: DataCollectionStorage) -> Coverage:
        """Return the coverage; raises ConfigurationError where its positions are not what the exchange's are now."""
        by = self.client.by
        coverage = await in_thread(storage.coverage, self.key)
        if coverage.end is not None and coverage.by != by:
            raise ConfigurationError(f"{self.key}: stored by {coverage.by}, but {self._exchange} is now read by {by}")
        return coverage._replace(by=by)

    async def after(self, storage: DataCollectionStorage, position: int | None) -> Cursor | Start:
        """Return where to read on after a position; None is that of an empty series."""
        if position is None:
            floor = await in_thread(storage.floor, self.key)
            check_start(self._start_given, self._kept, floor.timestamp, clock.now() / 1000)
            return self._start
        if self.client.by == "id":
            return Cursor(position)
        return await in_thread(self._edge, storage, position)

    def _edge(self, storage: DataCollectionStorage, position: int) -> Cursor:
        """Return a cursor at the last trade that is stored up to there: a page shows by it that it joins."""
        for reach in REACHES_MS:
            if found := storage.fetch(self.key, position + 1 - reach, position + 1):
                last = found[-1][0]
                known = (trade for timestamp, trade in found if timestamp == last)
                return Cursor(last - 1, frozenset(trade.id for trade in known if isinstance(trade, Trade)))
        return Cursor(position)

    async def read(self, storage: DataCollectionStorage, after: Cursor | Start) -> Page:
        """Store the page that follows, durably, and return what of it the storage takes."""
        page = await self.client.fetch_trades(self.market, after)
        floor = (await in_thread(storage.floor, self.key)).timestamp
        oldest = max(floor, kept_since(self._kept, clock.now() / 1000))
        if page.more and page.trades and all(trade.timestamp < oldest for trade in page.trades):
            skipped_to = Start(oldest) if self.client.by == "id" else Cursor(oldest - 1)
            page = await self.client.fetch_trades(self.market, skipped_to)
        kept = above(page, floor)
        dropped = len(page.trades) - len(kept.trades)
        if dropped and kept.trades:  # else it comes again with the next page
            storage.count(self.key, "refused:dropped_day", dropped)
        self.store(storage, kept.trades, kept.refused, kept.covers)
        store_skew(storage, self.client)
        await in_thread(storage.flush, self.key)
        return kept

    def store(
        self, storage: DataCollectionStorage, trades: Sequence[Trade], refused: Sequence[Refused], covers: Covers
    ) -> None:
        """Hand over what was read, with what it covers, and count what is refused."""
        for record in refused[:LOGGED]:
            log.warning("%s: refused: %s", self.key, record.source)
        for reason, number in Counter(record.reason for record in refused).items():
            storage.count(self.key, f"refused:{reason}", number)
        if trades or covers.intervals:
            storage.store_batch(self.key, [(trade.timestamp, trade) for trade in trades], covers)


def above(page: Page, floor: int) -> Page:
    """Return what of a page the storage still takes, and covers: `floor` is where it begins, in Unix milliseconds.

    A page that has nothing of the kind has no next one either: what is published by now is older than what is kept.
    """
    dropped = [trade for trade in page.trades if trade.timestamp < floor]
    if not dropped:
        return page
    below = floor - 1 if page.covers.by == "time" else max(integer_id(trade.id) or 0 for trade in dropped)
    intervals = [Interval(max(one.after, below), one.upto) for one in page.covers.intervals if one.upto > below]
    kept = [trade for trade in page.trades if trade.timestamp >= floor]
    return Page(kept, page.refused, Covers(page.covers.by, intervals), page.more and bool(kept))
