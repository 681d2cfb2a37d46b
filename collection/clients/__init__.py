"""Clients of exchanges: the only place where wire formats become records."""

from __future__ import annotations

from collections.abc import Callable

from collection import plugins
from collection.clients.base import CEXClient, Cursor, Live, Page, Refused, Start, TradeStream
from collection.clients.budget import Budget, LocalBudget, Rate
from collection.clients.ccxt_client import CCXTClient
from collection.clients.native_client import NativeClient
from collection.clients.wires import WIRES
from collection.names import known_exchanges
from collection.settings import Settings

__all__ = ["CEXClient", "Clients", "Cursor", "Live", "Page", "Refused", "Start", "TradeStream"]


class Clients:
    """The clients of a process: one for each exchange, made when first asked for, shared by all its collectors.

    `budgets` gives the budget of a name (`binance:rest`) and a rate: one that is shared with other processes, or not.
    """

    def __init__(self, settings: Settings, budgets: Callable[[str, Rate], Budget] | None = None) -> None:
        self._settings = settings
        self._budgets = budgets or (lambda _, rate: LocalBudget(rate))
        self._clients: dict[tuple[str, bool], CEXClient] = {}

    def get(self, exchange: str, market: str) -> CEXClient:
        """Return the client of an exchange for a market; to be called, and its client used, within one event loop."""
        native = exchange in WIRES and is_spot(market) and self._settings.exchange(exchange).client == "auto"
        if (exchange, native) not in self._clients:
            self._clients[exchange, native] = self._made(exchange, native=native)
        return self._clients[exchange, native]

    def _made(self, exchange: str, *, native: bool) -> CEXClient:
        settings = self._settings.exchange(exchange)
        if native:
            return NativeClient(WIRES[exchange](), settings, self._budgets)
        if exchange not in known_exchanges() and (plugin := plugins.find("clients", exchange, CEXClient)):
            made: CEXClient = plugin(settings, self._budgets)
            return made
        return CCXTClient(exchange, settings, self._budgets)

    async def close(self) -> None:
        """Close all clients."""
        while self._clients:
            await self._clients.popitem()[1].close()


def is_spot(market: str) -> bool:
    """Whether a market is one of spot trades: others name what they settle in (`BTC/USDT:USDT`)."""
    return ":" not in market
