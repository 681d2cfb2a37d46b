"""A client that speaks an exchange's own protocol: what its wire knows, over connections that all exchanges share."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from collection.clients.answers import in_short
from collection.clients.base import CEXClient, Cursor, Page, Start, TradeStream
from collection.clients.budget import Budget, Rate
from collection.clients.histories import history_of
from collection.clients.rest import Rest
from collection.clients.skew import Skew
from collection.clients.sockets import Sockets
from collection.clients.wire import UNREADABLE, Wire
from collection.errors import ConfigurationError, RetryLater
from collection.setting_groups import ExchangeSettings

log = logging.getLogger(__name__)

RELOAD = 600.0
"""Seconds after which an unknown market may be a new one."""
SHOWN, NOW_AND_THEN = 3, 1000
"""Of messages that can't be read, the first few are logged, then every so many."""


class NativeClient(CEXClient):
    """One exchange; connects with its first call."""

    def __init__(self, wire: Wire, settings: ExchangeSettings, budgets: Callable[[str, Rate], Budget]) -> None:
        self.exchange, self.by, self.skew = wire.exchange, wire.by, Skew(wire.exchange)
        self.unreadable: deque[str] = deque(maxlen=10)
        """The last messages over WebSockets that could not be read."""
        self.unreadable_count = 0
        self._wire = wire
        proxy = settings.proxy.get_secret_value() if settings.proxy else None
        rest = _address(settings.urls, wire.rest_key, wire.rest)
        budget = budgets(f"{self.exchange}:rest", wire.limits.requests)
        self._rest = Rest(self.exchange, rest, proxy, budget, self.skew, wire.error)
        self._history = history_of(wire, self._rest.get)
        self._socket = _address(settings.urls, wire.socket_key, wire.socket) + wire.socket_path
        self._proxy, self._connections = proxy, budgets(f"{self.exchange}:sockets", wire.limits.connections)
        self._sockets: Sockets | None = None
        self._listing = asyncio.Lock()
        self._listed = 0.0

    def __repr__(self) -> str:
        return f"NativeClient({self.exchange!r})"

    async def fetch_trades(self, market: str, after: Cursor | Start) -> Page:
        with _about(market):
            return await self._history.page(await self._symbol(market), after)

    async def first_since(self, market: str, timestamp: int) -> int:
        with _about(market):
            return await self._history.first_since(await self._symbol(market), timestamp)

    def stream_trades(self, market: str) -> TradeStream:
        if self._sockets is None:
            self._sockets = Sockets(self._wire, self._socket, self._proxy, self._connections, self._unread)
        return self._sockets.open(market)

    async def close(self) -> None:
        if self._sockets is not None:
            sockets, self._sockets = self._sockets, None
            await sockets.close()
        await self._rest.close()

    async def _symbol(self, market: str) -> str:
        """Return the symbol of a market, once what names the markets is known."""
        symbol = self._wire.symbol(market)
        if (listing := self._wire.listing()) is None:
            return symbol
        async with self._listing:
            if not self._listed or (not self._knows(symbol) and time.monotonic() > self._listed + RELOAD):
                body = await self._rest.get(listing)
                try:
                    self._wire.learn(body)
                except UNREADABLE as error:
                    raise RetryLater(f"{self.exchange}: an answer that can't be read: {in_short(error)}") from None
                self._listed = time.monotonic()
        return symbol

    def _knows(self, symbol: str) -> bool:
        try:
            self._wire.ask(symbol, None, 1)
        except ConfigurationError:
            return False
        return True

    def _unread(self, text: str, error: str) -> None:
        self.unreadable_count += 1
        self.unreadable.append(text)
        if self.unreadable_count <= SHOWN or self.unreadable_count % NOW_AND_THEN == 0:
            log.warning("%s: message %d that can't be read (%s): %s", self.exchange, self.unreadable_count, error, text)


@contextmanager
def _about(market: str) -> Iterator[None]:
    """Name the market in what is wrong with the configuration: the exchange does not."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}: {market}") from None


def _address(urls: Mapping[str, Any], keys: Sequence[str], default: str) -> str:
    """Return the address that the setting `urls` has under the keys, or the default."""
    found: Any = urls
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else default
