"""Clients of exchanges: the only place where wire formats become records."""

from __future__ import annotations

from collection.clients.base import CEXClient, Cursor, Live, Page, Refused, Start, TradeStream
from collection.clients.ccxt_client import CCXTClient
from collection.settings import Settings

__all__ = ["CEXClient", "Clients", "Cursor", "Live", "Page", "Refused", "Start", "TradeStream"]


class Clients:
    """The clients of a process: one for each exchange, made when first asked for, shared by all its collectors."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: dict[str, CEXClient] = {}

    def get(self, exchange: str) -> CEXClient:
        """Return the client of an exchange; to be called, and its client used, within one event loop."""
        if exchange not in self._clients:
            self._clients[exchange] = CCXTClient(exchange, self._settings.exchange(exchange))
        return self._clients[exchange]

    async def close(self) -> None:
        """Close all clients."""
        while self._clients:
            await self._clients.popitem()[1].close()
