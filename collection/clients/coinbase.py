"""Coinbase Exchange: matches.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
https://docs.cdp.coinbase.com/exchange/websocket-feed/rate-limits
https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproducttrades
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from collection.clients.base import Refused
from collection.clients.budget import Rate
from collection.clients.digits import plain
from collection.clients.rows import Number, Rows, check_market, lone
from collection.clients.times import milliseconds_of
from collection.clients.wire import UNREADABLE, Event, Limits, Rejected, Request, Subscribed, Wire
from collection.errors import CollectionError, ConfigurationError, RetryLater
from collection.records import Side, Trade

_MATCHES = (b'{"type":"match",', b'{"type":"last_match",')
"""How messages of trades begin."""
_TAKERS: dict[str, Side] = {"buy": "sell", "sell": "buy"}


class _Match(msgspec.Struct, gc=False):
    """A message `match` or `last_match`; a row of REST is one without a product."""

    trade_id: Number
    price: Decimal
    size: Decimal
    time: str
    side: Literal["buy", "sell"]
    product_id: str = ""

    def trade(self, symbol: str, received: int) -> Trade:
        """Return the record; the side that is sent is the maker's."""
        if self.product_id:
            check_market(self.product_id, symbol)
        side = _TAKERS[self.side]
        return Trade(
            milliseconds_of(self.time), str(self.trade_id), side, plain(self.price), plain(self.size), received
        )


class _Channel(msgspec.Struct):
    name: str = ""
    product_ids: list[str] = []


class _Message(msgspec.Struct, gc=False):
    type: str
    message: str = ""
    reason: str = ""
    channels: list[_Channel] = []


class _Problem(msgspec.Struct):
    message: str


class Coinbase(Wire):
    """Ids are contiguous in each market. Live and over REST numbers differ by zeros at their ends: they are cut off."""

    exchange = "coinbaseexchange"
    by = "id"
    pages = "before_id"
    page_size = 1000
    # An address: 8 connections and 100 messages a second; REST: 10 requests a second, 15 at once.
    limits = Limits(300, 100, Rate(20, 1), Rate(4, 1), Rate(5, 0.5))
    rest = "https://api.exchange.coinbase.com"
    rest_key = ("public",)
    socket = "wss://ws-feed.exchange.coinbase.com"
    socket_key = ("ws",)
    _match = msgspec.json.Decoder(_Match)
    _message = msgspec.json.Decoder(_Message)
    _rows = Rows(_Match)

    def symbol(self, market: str) -> str:
        return market.replace("/", "-")

    def subscribe(self, symbols: Sequence[str], request: int) -> bytes:
        return self._call("subscribe", symbols)

    def unsubscribe(self, symbols: Sequence[str], request: int) -> bytes:
        return self._call("unsubscribe", symbols)

    def _call(self, method: str, symbols: Sequence[str]) -> bytes:
        return msgspec.json.encode({"type": method, "product_ids": list(symbols), "channels": ["matches"]})

    def read(self, message: bytes, received: int) -> Event | None:
        if message.startswith(_MATCHES):
            return self._trade_in(message, received)
        read = self._message.decode(message)
        match read.type:
            case "match" | "last_match":
                return self._trade_in(message, received)
            case "subscriptions":
                named = [channel.product_ids for channel in read.channels if channel.name == "matches"]
                return Subscribed([id for ids in named for id in ids])
            case "error":
                return _rejected(read)
            case "heartbeat":
                return None
        raise ValueError(f"unknown type {read.type!r}")

    def _trade_in(self, message: bytes, received: int) -> Event:
        match = self._match.decode(message)
        return lone(match.product_id, match.trade(match.product_id, received), message)

    def symbol_of(self, message: Mapping[str, Any]) -> Any:
        return message["product_id"]

    def ask(self, symbol: str, at: int | None, limit: int) -> Request:
        params: dict[str, str | int] = {"limit": limit}
        return Request(f"/products/{symbol}/trades", params if at is None else {**params, "after": at})

    def read_page(self, body: bytes, symbol: str, received: int) -> tuple[list[Trade], list[Refused]]:
        trades, refused = self._rows.read(body, symbol, received)
        return trades[::-1], refused

    def error(self, status: int, body: bytes) -> CollectionError | None:
        try:
            problem = msgspec.json.decode(body, type=_Problem).message
        except UNREADABLE:
            return None
        return ConfigurationError(f"coinbaseexchange: {problem}") if status in (400, 404) else None


def _rejected(read: _Message) -> Rejected:
    text = f"coinbaseexchange: {read.message}: {read.reason}"
    if named := re.match(r"(\S+) is not a valid product", read.reason):
        return Rejected(ConfigurationError(text), [named[1]])
    return Rejected(RetryLater(text))
