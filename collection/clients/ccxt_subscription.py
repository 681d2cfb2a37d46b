"""What is known of one market of an exchange that is listened to."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING

from collection.clients.queued_stream import QueuedStream
from collection.errors import CollectionError

if TYPE_CHECKING:
    from collection.clients.ccxt_socket import Socket

TOGETHER = 0.05
"""Seconds within which subscriptions that are asked for, or ended, are sent as one."""
_BATCH = 100
_BATCHES = {"bybit": 10, "bybiteu": 10, "bybitid": 10, "bitget": 50}
ON_ONE_SOCKET = 1_000
"""Markets on one socket of Binance, which allows 1,024."""


class Subscription:
    """One market of an exchange, and who listens to it."""

    def __init__(self, market: str) -> None:
        self.market = market
        self.streams: list[QueuedStream] = []
        self.due = False
        self.alone = False
        """Whether it is not subscribed together with others any more, as something of that was refused."""
        self.batch: list[Subscription] | None = None
        """Those that it was subscribed together with; None when it is to be subscribed."""
        self.sockets: set[Socket] = set()
        self.hashes: set[str] = set()
        """What ccxt knows it by, on its sockets."""
        self.names: set[str] = {market}
        """What errors of the exchange may call it."""
        self.live = False
        """Whether the subscription was sent."""
        self.heard = False
        """Whether trades came since."""
        self.asked_at = 0.0
        self.error: CollectionError | None = None
        self.timer: asyncio.TimerHandle | None = None

    def go_live(self, time: float) -> None:
        """It was subscribed."""
        self.live, self.asked_at, self.error = True, time, None
        self._stop_timer()
        self.mark_fresh()

    def mark_fresh(self) -> None:
        for stream in self.streams:
            stream.mark_fresh()

    def reset(self, error: CollectionError) -> None:
        """It sits on no socket any more."""
        for stream in self.streams:
            stream.live = False
        self.batch, self.live, self.heard, self.error = None, False, False, error
        self.sockets, self.hashes = set(), set()

    def fail(self, error: CollectionError) -> None:
        self.error = error
        for stream in self.streams:
            stream.fail(error)

    def end(self) -> None:
        """Nobody listens any more."""
        self._stop_timer()
        for stream in self.streams:
            stream.end()

    def _stop_timer(self) -> None:
        if self.timer:
            self.timer.cancel()
            self.timer = None


class Places:
    """Which markets share a socket where the exchange limits how many do."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, int]] = {}

    def together(self, kind: str, markets: Sequence[str]) -> int:
        """Return the number of the socket where these are, or the first one with room for them."""
        here = {self._places.get(market) for market in markets}
        if len(here) != 1 or None in here:
            for market in markets:
                self.leave(market)
            taken = Counter(self._places.values())
            number = next(n for n in itertools.count() if taken[kind, n] + len(markets) <= ON_ONE_SOCKET)
            self._places.update((market, (kind, number)) for market in markets)
        return self._places[markets[0]][1]

    def leave(self, market: str) -> None:
        self._places.pop(market, None)


asking: ContextVar[Sequence[Subscription]] = ContextVar("asking", default=())
"""Whose subscription ccxt is making, or ending, in this task."""


def batch_size(exchange: str) -> int:
    """Return how many markets an exchange takes in one message."""
    return _BATCHES.get(exchange, _BATCH)
