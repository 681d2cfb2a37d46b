"""Kraken spot: the channel `trade` of the WebSocket's version 2.

https://docs.kraken.com/api/docs/websocket-v2/trade
https://docs.kraken.com/api/docs/rest-api/get-recent-trades
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from collection.clients.base import Refused
from collection.clients.budget import Rate
from collection.clients.digits import plain
from collection.clients.rows import ABSENT, Number, Rows, check_market
from collection.clients.times import milliseconds_of, milliseconds_of_seconds
from collection.clients.wire import Event, Leaving, Limits, Rejected, Request, Subscribed, Wire
from collection.errors import CollectionError, ConfigurationError, RetryLater
from collection.records import Side, Trade

_OLD_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
_LASTING = ("Currency pair not ", "Symbol(s) not found", "EQuery:", "EGeneral:Invalid", "EGeneral:Permission")
"""How errors begin that trying again does not end."""
_SIDES: dict[str, Side] = {"b": "buy", "s": "sell"}


class _Trade(msgspec.Struct, gc=False):
    """A row of the channel `trade`."""

    symbol: str
    side: Literal["buy", "sell"]
    price: Decimal
    qty: Decimal
    trade_id: Number
    timestamp: str

    def trade(self, symbol: str, received: int) -> Trade:
        check_market(self.symbol, symbol)
        time = milliseconds_of(self.timestamp)
        return Trade(time, str(self.trade_id), self.side, plain(self.price), plain(self.qty), received)


class _Named(msgspec.Struct, gc=False):
    symbol: str = ""


class _First(msgspec.Struct, array_like=True, gc=False):
    row: _Named


class _Message(msgspec.Struct, gc=False):
    channel: str = ""
    data: msgspec.Raw = ABSENT
    method: str = ""
    success: bool | None = None
    error: str = ""
    symbol: str = ""
    req_id: int | None = None
    result: _Named | None = None


class _Row(msgspec.Struct, array_like=True, gc=False):
    """A row of `Trades`."""

    price: Decimal
    volume: Decimal
    time: Decimal
    side: Literal["b", "s"]
    order: str
    more: str
    trade_id: Number

    def trade(self, symbol: str, received: int) -> Trade:
        time, side = milliseconds_of_seconds(self.time), _SIDES[self.side]
        return Trade(time, str(self.trade_id), side, plain(self.price), plain(self.volume), received)


class _Pair(msgspec.Struct):
    altname: str
    wsname: str = ""


class _Answer(msgspec.Struct):
    error: list[str] = []
    result: dict[str, msgspec.Raw] = {}


class _Pairs(msgspec.Struct):
    result: dict[str, _Pair]
    error: list[str] = []


class Kraken(Wire):
    """Ids are contiguous in each market. Live and over REST numbers differ by zeros at their ends: they are cut off."""

    exchange = "kraken"
    by = "id"
    pages = "since"
    page_size = 1000
    # Some 150 connections in ten minutes and address; public REST: about one request a second, with bursts.
    limits = Limits(200, 100, Rate(10, 1), Rate(30, 150), Rate(10, 10))
    rest = "https://api.kraken.com"
    rest_key = ("public",)
    socket = "wss://ws.kraken.com/v2"
    socket_key = ("ws", "publicV2")
    ping = b'{"method":"ping"}'
    _message = msgspec.json.Decoder(_Message)
    _first = msgspec.json.Decoder(_First)
    _answer = msgspec.json.Decoder(_Answer)
    _trades = Rows(_Trade)
    _rows = Rows(_Row)

    def __init__(self) -> None:
        self._pairs: dict[str, str] = {}

    def symbol(self, market: str) -> str:
        return market

    def subscribe(self, symbols: Sequence[str], request: int) -> bytes:
        return self._call("subscribe", symbols, request, snapshot=False)

    def unsubscribe(self, symbols: Sequence[str], request: int) -> bytes:
        return self._call("unsubscribe", symbols, request)

    def _call(self, method: str, symbols: Sequence[str], request: int, **more: bool) -> bytes:
        params = {"channel": "trade", "symbol": list(symbols), **more}
        return msgspec.json.encode({"method": method, "params": params, "req_id": request})

    def read(self, message: bytes, received: int) -> Event | None:
        read = self._message.decode(message)
        if read.channel == "trade":
            return self._trades.hear(read.data, self._first.decode(read.data).row.symbol, received)
        if read.method == "subscribe":
            return _answer_in(read)
        if read.channel == "status":
            state = msgspec.json.decode(read.data)[0]["system"]
            return Leaving("the exchange is in maintenance") if state == "maintenance" else None
        if read.channel == "heartbeat" or read.method in ("pong", "unsubscribe"):
            return None
        raise ValueError(f"unknown channel {read.channel!r}, method {read.method!r}, {read.error!r}")

    def symbol_of(self, message: Mapping[str, Any]) -> Any:
        return message["data"][0]["symbol"]

    def listing(self) -> Request | None:
        return Request("/0/public/AssetPairs", {})

    def learn(self, body: bytes) -> None:
        read = msgspec.json.decode(body, type=_Answer)
        if read.error:
            raise _problem(read.error)
        pairs = msgspec.json.decode(body, type=_Pairs).result
        self._pairs = {_today(pair.wsname): pair.altname for pair in pairs.values() if "/" in pair.wsname}

    def ask(self, symbol: str, at: int | None, limit: int) -> Request:
        if symbol not in self._pairs:
            raise ConfigurationError("kraken: there is no such pair")
        params: dict[str, str | int] = {"pair": self._pairs[symbol], "count": limit}
        if at is not None:
            params["since"] = max(at * 1_000_000 - 1, 0)  # what follows is strictly later
        return Request("/0/public/Trades", params)

    def read_page(self, body: bytes, symbol: str, received: int) -> tuple[list[Trade], list[Refused]]:
        answer = self._answer.decode(body)
        if answer.error:
            raise _problem(answer.error)
        [rows] = [value for name, value in answer.result.items() if name != "last"]
        return self._rows.read(rows, symbol, received)


def _today(wsname: str) -> str:
    return "/".join(_OLD_NAMES.get(asset, asset) for asset in wsname.split("/"))


def _answer_in(read: _Message) -> Event:
    symbol = read.symbol or (read.result.symbol if read.result else "")
    symbols = [symbol] if symbol else []
    if read.success or read.error == "Already subscribed":
        return Subscribed(symbols, read.req_id)
    return Rejected(_problem([read.error]), symbols, read.req_id)


def _problem(errors: Sequence[str]) -> CollectionError:
    text = f"kraken: {', '.join(errors)}"
    return ConfigurationError(text) if any(error.startswith(_LASTING) for error in errors) else RetryLater(text)
