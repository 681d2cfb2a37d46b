"""Where ccxt's object of an exchange is taken hold of: each trade it reads is handed on, each socket is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from collection.clients.ccxt_socket import Owner, Socket

_KEPT = 10_000
"""Sinks that are kept: what can't be read may name any number of markets."""
_LOGIN = "authenticated"
"""What ccxt calls a login, where one comes before a subscription."""


class Hooked(Owner, Protocol):
    """Who is told what ccxt does."""

    def take(self, market: str, row: Any) -> None:
        """A trade was read."""

    def linked(self, socket: Socket, hashes: Sequence[str], keys: Sequence[str], message: Any) -> None:
        """A subscription is made in this task: what ccxt knows it by; the message, None where none is to be sent."""

    def place(self, kind: str) -> str | None:
        """Return the number of the socket for the subscription that is made in this task, if there is one."""


class Sink(list[Any]):
    """What ccxt takes for its cache of a market's trades: it keeps nothing, and hands on what it is given at once.

    ccxt's own keeps the last 1,000 and gives them to whoever asks in time.
    """

    def __init__(self, market: str, take: Callable[[str, Any], None]) -> None:
        self._market, self._take = market, take

    def append(self, row: Any) -> None:
        self._take(self._market, row)

    def getLimit(self, symbol: str | None, limit: int | None) -> int | None:  # noqa: N802
        return limit


class Sinks(dict[str, Sink]):
    """What ccxt takes for its caches by market: there is one for each, and no other is put in its place."""

    def __init__(self, take: Callable[[str, Any], None]) -> None:
        self._take = take

    def __missing__(self, market: str) -> Sink:
        sink = Sink(market, self._take)
        if len(self) < _KEPT:
            super().__setitem__(market, sink)
        return sink

    def __contains__(self, market: object) -> bool:
        return True

    def __setitem__(self, market: str, cache: Any) -> None:
        pass

    def __delitem__(self, market: str) -> None:
        pass


def attach(exchange: Any, owner: Hooked) -> None:
    """Hand on what comes over the sockets of ccxt's object, which has made none yet."""
    exchange.open()  # some want its event loop before they do so themselves
    make, watch, watch_multiple = exchange.client, exchange.watch, exchange.watch_multiple
    on_connected = exchange.on_connected
    silent_deaths: dict[str, int] = {}

    def client(url: str) -> Any:
        known = url in (exchange.clients or {})
        made = make(url)
        return made if known else Socket.adopt(made, owner, exchange.id, silent_deaths)

    def hooked_watch(
        url: str, message_hash: str, message: Any = None, subscribe_hash: Any = None, subscription: Any = None
    ) -> Any:
        socket = client(url)
        known = socket.subscriptions.get(subscribe_hash) or (subscribe_hash is None and message_hash in socket.futures)
        future = watch(url, message_hash, message, subscribe_hash, subscription)
        if message_hash != _LOGIN:
            owner.linked(socket, [message_hash], [subscribe_hash or message_hash], None if known else message)
        return future

    def hooked_watch_multiple(
        url: str, message_hashes: list[str], message: Any = None, subscribe_hashes: Any = None, subscription: Any = None
    ) -> Any:
        socket, keys = client(url), subscribe_hashes or []
        known = all(key in socket.subscriptions for key in keys)
        future = watch_multiple(url, message_hashes, message, subscribe_hashes, subscription)
        owner.linked(socket, message_hashes, keys, None if known else message)
        return future

    def hooked_on_connected(socket: Any, message: Any = None) -> None:
        on_connected(socket, message)
        owner.connected(socket)

    exchange.trades = Sinks(owner.take)
    exchange.client, exchange.watch, exchange.watch_multiple = client, hooked_watch, hooked_watch_multiple
    exchange.on_connected = hooked_on_connected
    exchange.ws_dial_delay = lambda url: 0  # `Subscriptions` waits, by a clock that doesn't jump
    if hasattr(exchange, "stream"):  # Binance: ccxt takes another socket for each subscription, and 200 on one
        stream = exchange.stream

        def place(kind: str, subscription_hash: str | None = None, count: int = 1) -> Any:
            return owner.place(kind) or stream(kind, subscription_hash, count)

        exchange.stream = place
    if "okx" in exchange.id:
        log_in = exchange.authenticate

        async def authenticate(params: Any = {}) -> Any:  # noqa: B006 - ccxt's own
            # ccxt logs in wherever something is to be had at /business; all trades are public there.
            return None if params.get("access") == "business" else await log_in(params)

        exchange.authenticate = authenticate
