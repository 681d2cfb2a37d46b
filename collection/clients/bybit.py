"""Bybit spot: public trades.

https://bybit-exchange.github.io/docs/v5/websocket/public/trade
https://bybit-exchange.github.io/docs/v5/market/recent-trade
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from collection.clients.base import Refused
from collection.clients.budget import Rate
from collection.clients.wire import Event, Limits, Rejected, Request, Subscribed, Trades, Wire, read_rows
from collection.errors import ConfigurationError, RetryLater
from collection.records import Side, Trade

_TOPIC = "publicTrade."
_BAD_REQUEST = 10001
_SIDES: dict[str, Side] = {"Buy": "buy", "Sell": "sell"}


class _Trade(msgspec.Struct, gc=False):
    """A row of the topic `publicTrade`; `S` is the taker's side."""

    T: int
    S: Literal["Buy", "Sell"]
    v: Decimal
    p: Decimal
    i: str

    def trade(self, received: int) -> Trade:
        return Trade(self.T, _id(self.i), _SIDES[self.S], self.p, self.v, received)


class _Recent(msgspec.Struct, gc=False):
    """A row of `recent-trade`."""

    execId: str  # noqa: N815
    price: Decimal
    size: Decimal
    side: Literal["Buy", "Sell"]
    time: str

    def trade(self, received: int) -> Trade:
        return Trade(int(self.time), _id(self.execId), _SIDES[self.side], self.price, self.size, received)


class _Message(msgspec.Struct, gc=False):
    topic: str = ""
    data: list[msgspec.Raw] = []
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


class _Result(msgspec.Struct):
    rows: list[msgspec.Raw] = msgspec.field(default_factory=list, name="list")


class _Answer(msgspec.Struct):
    retCode: int  # noqa: N815
    retMsg: str = ""  # noqa: N815
    result: _Result = msgspec.field(default_factory=_Result)


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
    _trade = msgspec.json.Decoder(_Trade)
    _recent = msgspec.json.Decoder(_Recent)
    _answer = msgspec.json.Decoder(_Answer)

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
            symbol = read.topic[len(_TOPIC) :]
            return Trades(symbol, *read_rows(read.data, self._trade, lambda row: row.trade(received)))
        if read.op != "subscribe" or read.success is None:
            return None
        request = int(read.req_id) if read.req_id.isdecimal() else None
        if read.success:
            return Subscribed(request=request)
        named = re.findall(r"publicTrade\.([A-Z0-9]+)", read.ret_msg)
        return Rejected(ConfigurationError(f"bybit: {read.ret_msg}"), named, request)

    def symbol_of(self, message: Mapping[str, Any]) -> Any:
        return message["topic"].removeprefix(_TOPIC)

    def ask(self, symbol: str, at: int | None, limit: int) -> Request:
        return Request("/v5/market/recent-trade", {"category": "spot", "symbol": symbol, "limit": min(limit, 60)})

    def read_page(self, body: bytes, symbol: str, received: int) -> tuple[list[Trade], list[Refused]]:
        answer = self._answer.decode(body)
        if answer.retCode:
            text = f"bybit: {answer.retMsg} ({answer.retCode})"
            raise ConfigurationError(text) if answer.retCode == _BAD_REQUEST else RetryLater(text)
        return read_rows(reversed(answer.result.rows), self._recent, lambda row: row.trade(received))


def _id(text: str) -> str:
    if not text:
        raise ValueError("no id")
    return text
