"""Trades by listening: what comes live, joined without a hole to what was stored before."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from collection.data_collectors.base import DataSourceCollector
from collection.data_collectors.live_trades import LiveTrades
from collection.data_collectors.trades_reader import TradesReader
from collection.storage import DataCollectionStorage


class TradesStreamCollector(DataSourceCollector):
    """The trades of one market over a WebSocket, and over REST what passed while it was not connected."""

    interval = None

    def __init__(self, reader: TradesReader) -> None:
        self.id = reader.key
        self.ready = asyncio.Event()
        self._reader = reader

    async def run(self, storage: DataCollectionStorage) -> None:
        self.ready.clear()
        try:
            async with self._reader.client.stream_trades(self._reader.market) as stream:
                live = LiveTrades(self._reader, storage, stream, self.ready, await self._reader.coverage(storage))
                try:
                    await _first_failure(live.listen(), live.close_holes(), live.compare())
                finally:
                    live.release(joined=False)
        finally:
            self.ready.clear()


async def _first_failure(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one of them fails, and raise what it raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
