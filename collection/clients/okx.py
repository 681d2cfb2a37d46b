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
from collection.clients.rows import ABSENT, Rows, check_market, numbered, whole
from collection.clients.wire import UNREADABLE, Event, Leaving, Limits, Rejected, Request, Subscribed, Wire
from collection.errors import CollectionError, ConfigurationError, RetryLater
from collection.records import Trade

_CHANNEL = "trades-all"
_UPGRADE = "64008"
_LASTING = frozenset({"50014", "60012", "60013", "60018"})
"""What trying again does not end, as all that begins with 51."""
_SILENT = frozenset({"unsubscribe", "login", "channel-conn-count"})


class _Row(msgspec.Struct, gc=False):
    """A row of the channel `trades-all`, and of REST."""

    instId: str  # noqa: N815
    tradeId: str  # noqa: N815
    px: Decimal
    sz: Decimal
    side: Literal["buy", "sell"]
    ts: str

    def trade(self, symbol: str, received: int) -> Trade:
        check_market(self.instId, symbol)
        return Trade(whole(self.ts), numbered(self.tradeId), self.side, self.px, self.sz, received)


class _Argument(msgspec.Struct, gc=False):
    channel: str = ""
    instId: str = ""  # noqa: N815


class _Message(msgspec.Struct, gc=False):
    arg: _Argument | None = None
    data: msgspec.Raw = ABSENT
    event: str = ""
    code: str = ""
    msg: str = ""


class _Answer(msgspec.Struct):
    code: str
    msg: str = ""
    data: msgspec.Raw = ABSENT


class OKX(Wire):
    """Ids are contiguous in each market."""

    exchange = "okx"
    by = "id"
    pages = "before_id"
    page_size = 100
    # 480 subscriptions and the like an hour on a connection, 3 connections a second; 20 requests for histories in 2 s.
    limits = Limits(240, 100, Rate(200, 3600), Rate(1, 0.5), Rate(4, 0.5))
    rest = "https://www.okx.com"
    rest_key = ("rest",)
    socket = "wss://ws.okx.com:8443/ws/v5"
    socket_key = ("ws",)
    socket_path = "/business"
    ping = b"ping"
    _message = msgspec.json.Decoder(_Message)
    _answer = msgspec.json.Decoder(_Answer)
    _rows = Rows(_Row)

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
        if read.arg is not None and read.arg.channel == _CHANNEL and not read.event:
            return self._rows.hear(read.data, read.arg.instId, received)
        if read.event == "subscribe" and read.arg is not None:
            return Subscribed([read.arg.instId])
        if read.event == "error":
            named = read.arg.instId if read.arg else _instrument_in(read.msg)
            return Rejected(_problem(read.code, read.msg), [named] if named else ())
        if read.event == "notice":
            return Leaving(f"{read.msg} ({read.code})") if read.code == _UPGRADE else None
        if read.event in _SILENT:
            return None
        raise ValueError(f"unknown event {read.event!r}")

    def symbol_of(self, message: Mapping[str, Any]) -> Any:
        return message["arg"]["instId"]

    def ask(self, symbol: str, at: int | None, limit: int) -> Request:
        params: dict[str, str | int] = {"instId": symbol, "type": "1", "limit": limit}
        return Request("/api/v5/market/history-trades", params if at is None else {**params, "after": at})

    def read_page(self, body: bytes, symbol: str, received: int) -> tuple[list[Trade], list[Refused]]:
        answer = self._answer.decode(body)
        if answer.code != "0":
            raise _problem(answer.code, answer.msg)
        trades, refused = self._rows.read(answer.data, symbol, received)
        return trades[::-1], refused

    def error(self, status: int, body: bytes) -> CollectionError | None:
        try:
            answer = self._answer.decode(body)
        except UNREADABLE:
            return None
        return _problem(answer.code, answer.msg)


def _problem(code: str, msg: str) -> CollectionError:
    text = f"okx: {msg} ({code})"
    return ConfigurationError(text) if code in _LASTING or code.startswith("51") else RetryLater(text)


def _instrument_in(text: str) -> str:
    found = re.search(r"instId:([A-Z0-9-]+)", text)
    return found[1] if found else ""
