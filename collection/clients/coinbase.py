"""Coinbase Exchange: matches.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
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
from collection.clients.times import milliseconds_of
from collection.clients.wire import Event, Limits, Rejected, Request, Subscribed, Wire, lone, read_rows
from collection.errors import CollectionError, ConfigurationError
from collection.records import Trade


class _Match(msgspec.Struct, gc=False):
    """A message `match` or `last_match`; a row of REST is one without a product."""

    trade_id: int
    price: Decimal
    size: Decimal
    time: str
    side: Literal["buy", "sell"]
    product_id: str = ""

    def trade(self, received: int) -> Trade:
        """Return the record; the side that is sent is the maker's."""
        side: Literal["buy", "sell"] = "sell" if self.side == "buy" else "buy"
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


class Coinbase(Wire):
    """Ids are contiguous in each market. Live and over REST numbers differ by zeros at their ends: they are cut off."""

    exchange = "coinbaseexchange"
    by = "id"
    pages = "before_id"
    page_size = 1000
    # 8 connections a second and address, 100 messages a second on each; public REST: 10 requests a second.
    limits = Limits(300, 100, Rate(20, 1), Rate(4, 1), Rate(5, 0.5))
    rest = "https://api.exchange.coinbase.com"
    rest_key = ("public",)
    socket = "wss://ws-feed.exchange.coinbase.com"
    socket_key = ("ws",)
    _match = msgspec.json.Decoder(_Match)
    _message = msgspec.json.Decoder(_Message)
    _rows = msgspec.json.Decoder(list[msgspec.Raw])

    def symbol(self, market: str) -> str:
        return market.replace("/", "-")

    def subscribe(self, symbols: Sequence[str], request: int) -> bytes:
        return self._call("subscribe", symbols)

    def unsubscribe(self, symbols: Sequence[str], request: int) -> bytes:
        return self._call("unsubscribe", symbols)

    def _call(self, method: str, symbols: Sequence[str]) -> bytes:
        return msgspec.json.encode({"type": method, "product_ids": list(symbols), "channels": ["matches"]})

    def read(self, message: bytes, received: int) -> Event | None:
        kind = message[:22]
        if b'"match"' in kind or b'"last_match"' in kind:  # as it is always sent: the type comes first
            match = self._match.decode(message)
            return lone(match.product_id, match.trade(received), message)
        read = self._message.decode(message)
        if read.type in ("match", "last_match"):
            match = self._match.decode(message)
            return lone(match.product_id, match.trade(received), message)
        if read.type == "subscriptions":
            return Subscribed(
                [id for channel in read.channels if channel.name == "matches" for id in channel.product_ids]
            )
        if read.type == "error":
            error = ConfigurationError(f"coinbaseexchange: {read.message}: {read.reason}")
            named = re.match(r"(\S+) is not a valid product", read.reason)
            return Rejected(error, [named[1]] if named else ())
        return None

    def symbol_of(self, message: Mapping[str, Any]) -> Any:
        return message["product_id"]

    def ask(self, symbol: str, at: int | None, limit: int) -> Request:
        params: dict[str, str | int] = {"limit": limit}
        return Request(f"/products/{symbol}/trades", params if at is None else {**params, "after": at})

    def read_page(self, body: bytes, symbol: str, received: int) -> tuple[list[Trade], list[Refused]]:
        rows = self._rows.decode(body)
        return read_rows(reversed(rows), self._match, lambda row: row.trade(received))

    def error(self, status: int, body: bytes) -> CollectionError | None:
        try:
            problem = msgspec.json.decode(body, type=_Problem).message
        except msgspec.MsgspecError:
            return None
        return ConfigurationError(f"coinbaseexchange: {problem}") if status in (400, 404) else None


class _Problem(msgspec.Struct):
    message: str
