"""Binance spot: aggregate trades.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from collection.clients.base import Refused
from collection.clients.budget import Rate
from collection.clients.rows import Number, Rows, lone
from collection.clients.wire import UNREADABLE, Event, Leaving, Limits, Rejected, Request, Subscribed, Wire
from collection.errors import CollectionError, ConfigurationError, RetryLater
from collection.records import Trade

_BAD_SYMBOL = -1121


class _Aggregate(msgspec.Struct, gc=False):
    """A message of the stream `<symbol>@aggTrade`; a row of `aggTrades` is one without a symbol."""

    a: Number
    p: Decimal
    q: Decimal
    T: int
    m: bool
    s: str = ""
    e: Literal["aggTrade"] = "aggTrade"

    def trade(self, symbol: str, received: int) -> Trade:
        """Return the record: a taker sells where the buyer is the maker."""
        return Trade(self.T, str(self.a), "sell" if self.m else "buy", self.p, self.q, received)


class _Problem(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Message(msgspec.Struct, gc=False):
    """Any message at the address `/stream`; at `/ws`, those of streams are not wrapped."""

    data: _Aggregate | None = None
    id: int | None = None
    error: _Problem | None = None
    code: int | None = None
    msg: str = ""
    e: str = ""


class Binance(Wire):
    """Ids are those of aggregate trades, which are contiguous in each market."""

    exchange = "binance"
    by = "id"
    pages = "from_id"
    page_size = 1000
    # 1,024 streams and 5 messages a second on a connection, 300 connections in 5 minutes, 6,000 weight a minute.
    limits = Limits(1000, 200, Rate(2, 1), Rate(25, 30), Rate(500, 6))
    rest = "https://api.binance.com/api/v3"
    rest_key = ("public",)
    socket = "wss://stream.binance.com:9443/stream"
    socket_key = ("ws", "spot")

    _message = msgspec.json.Decoder(_Message)
    _aggregate = msgspec.json.Decoder(_Aggregate)
    _rows = Rows(_Aggregate)

    def symbol(self, market: str) -> str:
        return market.replace("/", "")

    def subscribe(self, symbols: Sequence[str], request: int) -> bytes:
        return self._call("SUBSCRIBE", symbols, request)

    def unsubscribe(self, symbols: Sequence[str], request: int) -> bytes:
        return self._call("UNSUBSCRIBE", symbols, request)

    def _call(self, method: str, symbols: Sequence[str], request: int) -> bytes:
        names = [f"{symbol.lower()}@aggTrade" for symbol in symbols]
        return msgspec.json.encode({"method": method, "params": names, "id": request})

    def read(self, message: bytes, received: int) -> Event | None:
        read = self._message.decode(message)
        if (row := read.data) is not None:
            return lone(row.s, row.trade(row.s, received), message)
        problem = read.error or (_Problem(read.code, read.msg) if read.code is not None else None)
        if problem is not None:
            return Rejected(ConfigurationError(f"binance: {problem.msg} ({problem.code})"), request=read.id)
        if read.id is not None:
            return Subscribed(request=read.id)
        if read.e == "serverShutdown":
            return Leaving("the server shuts down")
        row = self._aggregate.decode(message)
        return lone(row.s, row.trade(row.s, received), message)

    def symbol_of(self, message: Mapping[str, Any]) -> Any:
        return message.get("data", message)["s"]

    def ask(self, symbol: str, at: int | None, limit: int) -> Request:
        params: dict[str, str | int] = {"symbol": symbol, "limit": limit}
        return Request("/aggTrades", params if at is None else {**params, "fromId": at}, weight=4)

    def read_page(self, body: bytes, symbol: str, received: int) -> tuple[list[Trade], list[Refused]]:
        return self._rows.read(body, symbol, received)

    def error(self, status: int, body: bytes) -> CollectionError | None:
        try:
            problem = msgspec.json.decode(body, type=_Problem)
        except UNREADABLE:
            return None
        if problem.code == _BAD_SYMBOL or (status == 400 and -1200 < problem.code <= -1100):
            return ConfigurationError(f"binance: {problem.msg} ({problem.code})")
        return RetryLater(f"binance: {problem.msg} ({problem.code})") if status == 400 else None
