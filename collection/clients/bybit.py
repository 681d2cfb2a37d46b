"""Bybit spot: public trades.

https://bybit-exchange.github.io/docs/v5/websocket/public/trade
https://bybit-exchange.github.io/docs/v5/market/recent-trade
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from collection.clients.base import Refused
from collection.clients.budget import Rate
from collection.clients.rows import ABSENT, Rows, check_market, whole
from collection.clients.wire import Event, Limits, Rejected, Request, Subscribed, Wire
from collection.errors import ConfigurationError, RetryLater
from collection.records import Side, Trade

_TOPIC = "publicTrade."
_BAD_REQUEST = 10001
_LASTING = ("invalid symbol", "handler not found", "invalid args", "args size")
"""What errors over WebSockets say that trying again does not end."""
_SIDES: dict[str, Side] = {"Buy": "buy", "Sell": "sell"}
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class _Trade(msgspec.Struct, gc=False):
    """A row of the topic `publicTrade`; `S` is the taker's side."""

    T: int
    S: Literal["Buy", "Sell"]
    v: Decimal
    p: Decimal
    i: Id
    s: str

    def trade(self, symbol: str, received: int) -> Trade:
        check_market(self.s, symbol)
        return Trade(self.T, self.i, _SIDES[self.S], self.p, self.v, received)


class _Recent(msgspec.Struct, gc=False):
    """A row of `recent-trade`."""

    execId: Id  # noqa: N815
    symbol: str
    price: Decimal
    size: Decimal
    side: Literal["Buy", "Sell"]
    time: str

    def trade(self, symbol: str, received: int) -> Trade:
        check_market(self.symbol, symbol)
        return Trade(whole(self.time), self.execId, _SIDES[self.side], self.price, self.size, received)


class _Message(msgspec.Struct, gc=False):
    topic: str = ""
    data: msgspec.Raw = ABSENT
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


class _Result(msgspec.Struct):
    rows: msgspec.Raw = msgspec.field(default=ABSENT, name="list")


class _Answer(msgspec.Struct):
    retCode: int  # noqa: N815
    retMsg: str = ""  # noqa: N815
    result: _Result | None = None


class Bybit(Wire):
    """Ids ascend with holes: positions are times."""

    exchange = "bybit"
    by = "time"
    pages = "newest"
    page_size = 60
    # 10 topics a message on spot, 500 connections in 5 minutes, 600 requests in 5 s.
    limits = Limits(200, 10, Rate(8, 1), Rate(80, 60), Rate(80, 1))
    rest = "https://api.bybit.com"
    rest_key = ("public",)
    socket = "wss://stream.bybit.com/v5/public/spot"
    socket_key = ("ws", "public", "spot")
    ping = b'{"op":"ping"}'
    _message = msgspec.json.Decoder(_Message)
    _answer = msgspec.json.Decoder(_Answer)
    _trades = Rows(_Trade)
    _recent = Rows(_Recent)

    def symbol(self, market: str) -> str:
        return market.replace("/", "")

    def subscribe(self, symbols: Sequence[str], request: int) -> bytes:
        return self._call("subscribe", symbols, request)

    def unsubscribe(self, symbols: Sequence[str], request: int) -> bytes:
        return self._call("unsubscribe", symbols, request)

    def _call(self, method: str, symbols: Sequence[str], request: int) -> bytes:
        topics = [_TOPIC + symbol for symbol in symbols]
        return msgspec.json.encode({"op": method, "args": topics, "req_id": str(request)})

    def read(self, message: bytes, received: int) -> Event | None:
        read = self._message.decode(message)
        if read.topic.startswith(_TOPIC):
            return self._trades.hear(read.data, read.topic[len(_TOPIC) :], received)
        if read.op == "subscribe" and read.success is not None:
            request = int(read.req_id) if read.req_id.isdecimal() else None
            if read.success or "already subscribed" in read.ret_msg:
                return Subscribed(request=request)
            # Which topics of the request are wrong is not named in one way, nor are the others taken.
            kind = ConfigurationError if any(text in read.ret_msg.lower() for text in _LASTING) else RetryLater
            return Rejected(kind(f"bybit: {read.ret_msg}"), request=request)
        if read.op in ("ping", "pong", "unsubscribe"):
            return None
        raise ValueError(f"unknown topic {read.topic!r}, op {read.op!r}")

    def symbol_of(self, message: Mapping[str, Any]) -> Any:
        return message["topic"].removeprefix(_TOPIC)

    def ask(self, symbol: str, at: int | None, limit: int) -> Request:
        return Request("/v5/market/recent-trade", {"category": "spot", "symbol": symbol, "limit": min(limit, 60)})

    def read_page(self, body: bytes, symbol: str, received: int) -> tuple[list[Trade], list[Refused]]:
        answer = self._answer.decode(body)
        if answer.retCode:
            text = f"bybit: {answer.retMsg} ({answer.retCode})"
            raise ConfigurationError(text) if answer.retCode == _BAD_REQUEST else RetryLater(text)
        if answer.result is None:
            raise ValueError("no result")
        trades, refused = self._recent.read(answer.result.rows, symbol, received)
        return trades[::-1], refused
