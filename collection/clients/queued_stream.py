"""The live trades of one market: what was read of them waits here for the collector."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from collection.clients.base import Live, Refused, TradeStream
from collection.errors import CollectionError, ConfigurationError, RetryLater
from collection.records import Trade

log = logging.getLogger(__name__)

SETTLING = 0.02
"""Seconds that what came waits for more, as a rule: waking the collector for each trade costs more than the trade."""
MOST_WAITING = 50_000
"""Trades that wait for a collector that is busy; of more, all are dropped and read over REST."""


class QueuedStream(TradeStream):
    """A queue between the socket, that never waits, and the collector."""

    def __init__(
        self,
        name: str,
        market: str,
        renew: Callable[[QueuedStream], None],
        close: Callable[[QueuedStream], Awaitable[None]],
        settling: float = SETTLING,
    ) -> None:
        self.market = market
        self.dropped = 0
        """Trades that were dropped because the collector was too busy for too long."""
        self._name = name
        self._renew, self._close, self._settling = renew, close, settling
        self._ended: deque[Live] = deque()  # what came before the last mark, and the marks
        self._trades: list[Trade] = []
        self._refused: list[Refused] = []
        self._waiting = 0
        self._failure: CollectionError | None = None
        self._came = asyncio.Event()
        self._waking: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def __repr__(self) -> str:
        return f"QueuedStream({self._name})"

    async def next(self) -> Live:
        while not self._closed:
            if self._ended:
                live = self._ended.popleft()
            elif self._trades or self._refused:
                live = self._cut()
            elif self._failure:
                raise self._fail_now(self._failure)
            else:
                self._came.clear()
                await self._came.wait()
                continue
            self._waiting -= len(live.trades) + len(live.refused)
            return live
        raise RetryLater(f"{self._name}: the stream was closed")

    def renew(self) -> None:
        self._renew(self)

    async def close(self) -> None:
        if not self._closed:
            self.end()
            await self._close(self)

    def end(self) -> None:
        """Take and give nothing any more."""
        self._closed = True
        self._ended.clear()
        self._trades, self._refused, self._waiting = [], [], 0
        self._came.set()

    def put(self, trades: Sequence[Trade], refused: Sequence[Refused]) -> None:
        """Queue what came in one message."""
        if self._closed:
            return
        self._waiting += len(trades) + len(refused)
        if self._waiting > MOST_WAITING:
            self._drop(trades)
            return
        self._trades += trades
        self._refused += refused
        if not self._settling:
            self._came.set()
        elif self._waking is None:
            self._waking = self._loop.call_later(self._settling, self._wake)

    def _wake(self) -> None:
        self._waking = None
        self._came.set()

    def mark_fresh(self) -> None:
        """Queue that something may be missing from here on."""
        self.live = True
        self._failure = None if isinstance(self._failure, RetryLater) else self._failure
        if self._trades or self._refused:
            self._ended.append(self._cut())
        if not (self._ended and self._ended[-1].fresh):
            self._ended.append(Live((), (), fresh=True))
        self._came.set()

    def fail(self, failure: CollectionError) -> None:
        """Let `next` raise, after what came before; once, unless it is the configuration that is wrong."""
        self._failure = failure
        self._came.set()

    def _fail_now(self, failure: CollectionError) -> CollectionError:
        if not isinstance(failure, ConfigurationError):
            self._failure = None
        return failure

    def _cut(self) -> Live:
        live = Live(self._trades, self._refused)
        self._trades, self._refused = [], []
        return live

    def _drop(self, trades: Sequence[Trade]) -> None:
        dropped = sum(len(live.trades) for live in self._ended) + len(self._trades) + len(trades)
        self.dropped += dropped
        self._ended.clear()
        self._trades, self._refused, self._waiting = [], [], 0
        log.warning("%s: %d trades waited for too long and were dropped: they are read again", self._name, dropped)
        live = self.live  # what came late, over a socket that is lost or renewed, does not make it so
        self.mark_fresh()
        self.live = live
