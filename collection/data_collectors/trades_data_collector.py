"""Trades by polling: reads on from the end of what is complete until caught up."""

from __future__ import annotations

import time

from collection.clients import Cursor, Start
from collection.data_collectors.base import DataSourceCollector
from collection.data_collectors.stretches import read_over
from collection.data_collectors.trades_reader import TradesReader
from collection.storage import DataCollectionStorage, Interval

ROUND = 30.0
"""Seconds after which a round that is not caught up ends between two pages: the next one goes on."""


class TradesDataCollector(DataSourceCollector):
    """The trades of one market, a round of pages every `interval` seconds."""

    def __init__(self, reader: TradesReader, interval: float) -> None:
        self.id = reader.key
        self.interval = interval
        self._reader = reader

    async def run(self, storage: DataCollectionStorage) -> None:
        until = time.monotonic() + ROUND
        more = True
        before: Cursor | Start | None = None
        while more and time.monotonic() < until:
            coverage = await self._reader.coverage(storage)
            after = await self._reader.after(storage, coverage.end)
            if after == before:
                return  # what was stored waits in the spool: Redis can be read, but takes nothing
            before = after
            page = await self._reader.read(storage, after)
            more = page.more
            if coverage.end is not None and page.covers.intervals:
                end = Interval(coverage.end, coverage.end)
                for hole in coverage._replace(intervals=(end,)).with_intervals(page.covers.intervals).gaps:
                    if hole.after > coverage.end:  # else it is where the page began, which it would do again
                        await read_over(self._reader, storage, hole, until)  # once: what is left is for repair
