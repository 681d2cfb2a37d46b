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
from collection.clients.times import milliseconds_of
from collection.clients.wire import Event, Leaving, Limits, Rejected, Request, Subscribed, Trades, Wire, read_rows
from collection.errors import CollectionError, ConfigurationError, RetryLater
from collection.records import Trade

_OLD_NAMES = {"XBT": "BTC", "XDG": "DOGE"}


class _Trade(msgspec.Struct, gc=False):
    symbol: str
    side: Literal["buy", "sell"]
    price: Decimal
    qty: Decimal
    trade_id: int
    timestamp: str

    def trade_of(self, symbol: str, received: int) -> Trade:
        """Return the record; raises ValueError where it is one of another market."""
        if self.symbol != symbol:
            raise ValueError(f"it is not of {symbol}")
        return Trade(
            milliseconds_of(self.timestamp),
            str(self.trade_id),
            self.side,
            plain(self.price),
            plain(self.qty),
            received,
        )


class _Named(msgspec.Struct, gc=False):
    symbol: str = ""


class _Message(msgspec.Struct, gc=False):
    channel: str = ""
    data: list[msgspec.Raw] = []
    method: str = ""
    success: bool | None = None
    error: str = ""
    symbol: str = ""
    req_id: int | None = None
    result: _Named | None = None


class _Row(msgspec.Struct, array_like=True, gc=False):
    price: Decimal
    volume: Decimal
    time: Decimal
    side: Literal["b", "s"]
    order: str
    more: str
    trade_id: int

    def trade(self, received: int) -> Trade:
        side: Literal["buy", "sell"] = "buy" if self.side == "b" else "sell"
        time = int(self.time * 1000)
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
    _trade = msgspec.json.Decoder(_Trade)
    _symbol = msgspec.json.Decoder(_Named)
    _row = msgspec.json.Decoder(_Row)
    _answer = msgspec.json.Decoder(_Answer)
    _rows = msgspec.json.Decoder(list[msgspec.Raw])

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
            symbol = self._symbol.decode(read.data[0]).symbol
            return Trades(symbol, *read_rows(read.data, self._trade, lambda row: row.trade_of(symbol, received)))
        if read.channel == "status":
            state = self.state_of(message)
            return Leaving(f"the exchange is in {state}") if state == "maintenance" else None
        if read.method != "subscribe" or read.success is None:
            return None
        if read.success:
            return Subscribed([read.result.symbol] if read.result else (), read.req_id)
        symbol = read.symbol or (read.result.symbol if read.result else "")
        return Rejected(ConfigurationError(f"kraken: {read.error}"), [symbol] if symbol else (), read.req_id)

    @staticmethod
    def state_of(message: bytes) -> str:
        """Return what a message of the channel `status` calls the state of the exchange."""
        return str(msgspec.json.decode(message)["data"][0]["system"])

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
        [rows] = [self._rows.decode(value) for name, value in answer.result.items() if name != "last"]
        return read_rows(rows, self._row, lambda row: row.trade(received))


def _today(wsname: str) -> str:
    return "/".join(_OLD_NAMES.get(asset, asset) for asset in wsname.split("/"))


def _problem(errors: Sequence[str]) -> CollectionError:
    text = f"kraken: {', '.join(errors)}"
    lasting = any(error.startswith(("EQuery:", "EGeneral:Invalid", "EGeneral:Permission")) for error in errors)
    return ConfigurationError(text) if lasting else RetryLater(text)
