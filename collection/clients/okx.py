"""OKX spot: all trades, unmerged.

https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-all-trades-channel
https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-trades-history
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from collection.clients.base import Refused
from collection.clients.budget import Rate
from collection.clients.wire import Event, Leaving, Limits, Rejected, Request, Subscribed, Trades, Wire, read_rows
from collection.errors import CollectionError, ConfigurationError, RetryLater
from collection.records import Trade

_CHANNEL = "trades-all"
_UPGRADE = "64008"
_BUSY = frozenset({"50001", "50004", "50011", "50013", "50026", "50040", "50061"})
_NOT_NOW = frozenset({"60014", "60006", "63999", "64003"})


class _Row(msgspec.Struct, gc=False):
    tradeId: str  # noqa: N815
    px: Decimal
    sz: Decimal
    side: Literal["buy", "sell"]
    ts: str

    def trade(self, received: int) -> Trade:
        return Trade(int(self.ts), str(int(self.tradeId)), self.side, self.px, self.sz, received)


class _Argument(msgspec.Struct, gc=False):
    channel: str = ""
    instId: str = ""  # noqa: N815


class _Message(msgspec.Struct, gc=False):
    arg: _Argument | None = None
    data: list[msgspec.Raw] | None = None
    event: str = ""
    code: str = ""
    msg: str = ""
    id: str | None = None


class _Answer(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[msgspec.Raw] = []


class OKX(Wire):
    """Ids are contiguous in each market."""

    exchange = "okx"
    by = "id"
    pages = "before_id"
    page_size = 100
    # 480 subscriptions and the like an hour on a connection, 3 connections a second; 20 requests for histories in 2 s.
    limits = Limits(240, 100, Rate(3, 10), Rate(1, 0.5), Rate(4, 0.5))
    rest = "https://www.okx.com"
    rest_key = ("rest",)
    socket = "wss://ws.okx.com:8443/ws/v5"
    socket_key = ("ws",)
    socket_path = "/business"
    ping = b"ping"
    _message = msgspec.json.Decoder(_Message)
    _row = msgspec.json.Decoder(_Row)
    _answer = msgspec.json.Decoder(_Answer)

    def symbol(self, market: str) -> str:
        return market.replace("/", "-")

    def subscribe(self, symbols: Sequence[str], request: int) -> bytes:
        return self._call("subscribe", symbols)

    def unsubscribe(self, symbols: Sequence[str], request: int) -> bytes:
        return self._call("unsubscribe", symbols)

    def _call(self, method: str, symbols: Sequence[str]) -> bytes:
        return msgspec.json.encode({"op": method, "args": [{"channel": _CHANNEL, "instId": name} for name in symbols]})

    def read(self, message: bytes, received: int) -> Event | None:
        if message == b"pong":
            return None
        read = self._message.decode(message)
        if read.data is not None and read.arg is not None:
            if read.arg.channel != _CHANNEL:
                return None
            return Trades(read.arg.instId, *read_rows(read.data, self._row, lambda row: row.trade(received)))
        if read.event == "subscribe" and read.arg is not None:
            return Subscribed([read.arg.instId])
        if read.event == "notice":
            return Leaving(f"{read.msg} ({read.code})") if read.code == _UPGRADE else None
        if read.event == "error":
            kind = RetryLater if read.code in _NOT_NOW else ConfigurationError
            named = read.arg.instId if read.arg else _instrument_in(read.msg)
            return Rejected(kind(f"okx: {read.msg} ({read.code})"), [named] if named else ())
        return None

    def symbol_of(self, message: Mapping[str, Any]) -> Any:
        return message["arg"]["instId"]

    def ask(self, symbol: str, at: int | None, limit: int) -> Request:
        params: dict[str, str | int] = {"instId": symbol, "type": "1", "limit": limit}
        return Request("/api/v5/market/history-trades", params if at is None else {**params, "after": at})

    def read_page(self, body: bytes, symbol: str, received: int) -> tuple[list[Trade], list[Refused]]:
        answer = self._answer.decode(body)
        if answer.code != "0":
            raise self._problem(answer)
        return read_rows(reversed(answer.data), self._row, lambda row: row.trade(received))

    def error(self, status: int, body: bytes) -> CollectionError | None:
        try:
            return self._problem(self._answer.decode(body))
        except msgspec.MsgspecError:
            return None

    def _problem(self, answer: _Answer) -> CollectionError:
        text = f"okx: {answer.msg} ({answer.code})"
        busy = answer.code in _BUSY or not answer.code.startswith(("50", "51"))
        return RetryLater(text) if busy else ConfigurationError(text)


def _instrument_in(text: str) -> str:
    found = re.search(r"instId:([A-Z0-9-]+)", text)
    return found[1] if found else ""
