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
from collection.storage import DataCollectionStorage
from collection.storage.coverage import By
from collection.text import milliseconds

log = logging.getLogger(__name__)

ROUND = 30.0
"""Seconds after which a round that is not caught up ends between two pages: the next one goes on."""
LOGGED = 3
"""Refused records of a page that are logged with their source; all are counted."""


class TradesDataCollector(DataSourceCollector):
    """The trades of one market, by `client.fetch_trades`."""

    def __init__(self, exchange: str, market: str, *, interval: float, start: str, clients: Clients) -> None:
        self.id = series_key("trades", exchange, market)
        self.interval = interval
        self._exchange = exchange
        self._market = market
        self._start = Start(start if start in ("now", "earliest") else milliseconds(start))
        self._clients = clients

    async def run(self, storage: DataCollectionStorage) -> None:
        client = self._clients.get(self._exchange)
        until = time.monotonic() + ROUND
        more = True
        while more and time.monotonic() < until:
            after = await asyncio.to_thread(self._position, storage, client.by)
            page = await client.fetch_trades(self._market, after)
            self._store(storage, page)
            await asyncio.to_thread(storage.flush, self.id)
            more = page.more

    def _position(self, storage: DataCollectionStorage, by: By) -> Cursor | Start:
        coverage = storage.coverage(self.id)
        if coverage.end is None:
            return self._start
        if coverage.by != by:
            raise ConfigurationError(f"{self.id}: stored by {coverage.by}, but {self._exchange} is now read by {by}")
        if by == "id":
            return Cursor(coverage.end)
        edge = storage.fetch(self.id, coverage.end + 1, coverage.end + 1)
        return Cursor(coverage.end, frozenset(trade.id for _, trade in edge if isinstance(trade, Trade)))

    def _store(self, storage: DataCollectionStorage, page: Page) -> None:
        for record in page.refused[:LOGGED]:
            log.warning("%s: refused: %s", self.id, record.source)
        for reason, number in Counter(record.reason for record in page.refused).items():
            storage.count(self.id, f"refused:{reason}", number)
        storage.store_batch(self.id, [(trade.timestamp, trade) for trade in page.trades], page.covers)
