"""Trades by polling: reads on from the end of what is complete until caught up."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter

from collection.clients import Clients, Cursor, Page, Start
from collection.data_collectors.base import DataSourceCollector
from collection.errors import ConfigurationError
from collection.records import Trade, series_key
from collection.retention import check_start, kept_since
from collection.storage import Covers, DataCollectionStorage, Interval
from collection.storage.coverage import By
from collection.storage.values import integer_id
from collection.text import milliseconds

log = logging.getLogger(__name__)

ROUND = 30.0
"""Seconds after which a round that is not caught up ends between two pages: the next one goes on."""
LOGGED = 3
"""Refused records of a page that are logged with their source; all are counted."""


class TradesDataCollector(DataSourceCollector):
    """The trades of one market, by `client.fetch_trades`.

    What is older than `kept` seconds is not read for pages on end: reading goes on at the oldest day that is kept,
    and what lies between stays a gap.
    """

    def __init__(
        self, exchange: str, market: str, *, interval: float, start: str, kept: float, clients: Clients
    ) -> None:
        self.id = series_key("trades", exchange, market)
        self.interval = interval
        self._exchange = exchange
        self._market = market
        self._start = Start(start if start in ("now", "earliest") else milliseconds(start))
        self._start_given, self._kept = start, kept
        self._clients = clients

    async def run(self, storage: DataCollectionStorage) -> None:
        client = self._clients.get(self._exchange)
        until = time.monotonic() + ROUND
        more = True
        before: Cursor | Start | None = None
        while more and time.monotonic() < until:
            after, floor = await asyncio.to_thread(self._position, storage, client.by)
            if after == before:
                return  # what was stored waits in the spool: Redis can be read, but takes nothing
            before = after
            page = await client.fetch_trades(self._market, after)
            oldest = max(floor, kept_since(self._kept, time.time()))
            if page.more and page.trades and all(trade.timestamp < oldest for trade in page.trades):
                skipped_to = Start(oldest) if client.by == "id" else Cursor(oldest - 1)
                page = await client.fetch_trades(self._market, skipped_to)
            kept = above(page, floor)
            self._store(storage, kept, len(page.trades) - len(kept.trades))
            await asyncio.to_thread(storage.flush, self.id)
            more = kept.more

    def _position(self, storage: DataCollectionStorage, by: By) -> tuple[Cursor | Start, int]:
        """Return where to read on, and the time before which the storage takes nothing."""
        coverage, floor = storage.coverage(self.id), storage.floor(self.id).timestamp
        if coverage.end is None:
            check_start(self._start_given, self._kept, floor, time.time())
            return self._start, floor
        if coverage.by != by:
            raise ConfigurationError(f"{self.id}: stored by {coverage.by}, but {self._exchange} is now read by {by}")
        if by == "id":
            return Cursor(coverage.end), floor
        edge = storage.fetch(self.id, coverage.end + 1, coverage.end + 1)
        return Cursor(coverage.end, frozenset(trade.id for _, trade in edge if isinstance(trade, Trade))), floor

    def _store(self, storage: DataCollectionStorage, page: Page, dropped: int) -> None:
        for record in page.refused[:LOGGED]:
            log.warning("%s: refused: %s", self.id, record.source)
        for reason, number in Counter(record.reason for record in page.refused).items():
            storage.count(self.id, f"refused:{reason}", number)
        if dropped and page.trades:  # else it comes again with the next page
            storage.count(self.id, "refused:dropped_day", dropped)
        storage.store_batch(self.id, [(trade.timestamp, trade) for trade in page.trades], page.covers)


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
