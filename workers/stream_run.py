"""One stream that runs in this process: it listens until it fails, is told to end, or another one runs it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from collection.backoff import HEALTHY
from collection.data_collectors import DataSourceCollector
from collection.storage import DataCollectionStorage


class StreamRun:
    """A run under a token; `end` may be called from any thread, all else happens in the event loop."""

    def __init__(self, collector: DataSourceCollector, token: str, loop: asyncio.AbstractEventLoop) -> None:
        self.collector = collector
        self.token = token
        self.healthy = False
        """Whether it has delivered for so long that what failed before it is forgotten."""
        self.given_away = False
        """Whether its lease is to stay as it is: it waits for the next try, or for somebody to mend what is wrong."""
        self.left = threading.Event()
        """Set when it has ended and its last records are durable."""
        self._loop = loop
        self._ended = asyncio.Event()
        self._why = ""

    def end(self, why: str) -> None:
        """Have it end, and say why."""
        self._why = self._why or why
        self._loop.call_soon_threadsafe(self._ended.set)

    async def go(
        self,
        storage: DataCollectionStorage,
        on_ready: Callable[[], Awaitable[bool]],
        on_healthy: Callable[[], Awaitable[object]],
    ) -> str:
        """Listen until told to end, and return why; raises what the collector raises.

        `on_ready` is asked once it is connected and joined to what was stored, whether it is to go on.
        """
        work = asyncio.ensure_future(self.collector.run(storage))
        told = asyncio.ensure_future(self._ended.wait())
        health = asyncio.ensure_future(self._tell(on_ready, on_healthy))
        try:
            await asyncio.wait([work, told], return_when=asyncio.FIRST_COMPLETED)
            if not told.done():
                await work
            return self._why or "ended"
        finally:
            for task in (work, told, health):
                task.cancel()
            await asyncio.gather(work, told, health, return_exceptions=True)

    async def _tell(self, on_ready: Callable[[], Awaitable[bool]], on_healthy: Callable[[], Awaitable[object]]) -> None:
        await self.collector.ready.wait()
        if not await on_ready():
            self.end("another one runs it")
        await asyncio.sleep(HEALTHY)
        self.healthy = True
        await on_healthy()
