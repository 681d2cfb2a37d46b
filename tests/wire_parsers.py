"""Both ways of reading what an exchange says: ccxt's, as the client that uses it does, and ours."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from collection.clients.base import Refused
from collection.clients.ccxt_exchange import make_exchange, read_trades
from collection.clients.digits import plain
from collection.clients.wire import Wire
from collection.clients.wires import WIRES
from collection.records import Trade
from collection.settings import ExchangeSettings
from tests.wire_forms import RECEIVED, Form
from tests.wire_server import wire_exchange

SAME_DIGITS = {"binance", "okx", "bybit"}
"""Where we keep the digits that were sent. Of Coinbase and Kraken we cut off zeros at the end, and ccxt does not: live
and over REST they write one number differently, and one trade must be one record."""


class CCXT:
    """ccxt's parser of one exchange, as the client that uses it reads what it makes."""

    def __init__(self, made: Any, client: Any, form: Form) -> None:
        self._made, self._client, self._form = made, client, form

    def hear(self, message: str) -> tuple[list[Trade], list[Refused]]:
        self._made.trades.clear()
        self._made.handle_message(self._client, self._decode(message))
        return self._read(list(self._made.trades.get(self._form.market, ())))

    def read_page(self, answer: str, name: Sequence[str] = ()) -> tuple[list[Trade], list[Refused]]:
        rows = self._decode(answer)
        for key in name:
            rows = rows[key]
        return self._read(self._made.parse_trades(rows, self._made.market(self._form.market)))

    def _read(self, rows: list[Any]) -> tuple[list[Trade], list[Refused]]:
        trades, refused = read_trades(rows, self._form.market, RECEIVED, WIRES[self._form.exchange].by == "id")
        if self._form.exchange not in SAME_DIGITS:
            trades = [
                msgspec.structs.replace(trade, price=plain(trade.price), amount=plain(trade.amount)) for trade in trades
            ]
        return trades, refused

    def _decode(self, text: str) -> Any:
        return json.loads(text, parse_float=str)  # as the client does


@functools.cache
def ccxt_of(form: Form) -> CCXT:
    async def make() -> CCXT:
        made = make_exchange(form.exchange, ExchangeSettings())
        made = wire_exchange(made, {form.market: "BTC/USDT" if form.exchange == "kraken" else form.id})
        made.number = str
        client = made.client(form.socket)
        await made.close()
        return CCXT(made, client, form)

    return asyncio.run(make())


@functools.cache
def wire_of(form: Form) -> Wire:
    wire = WIRES[form.exchange]()
    if form.exchange == "kraken":
        wire.learn(b'{"error":[],"result":{"XXBTUSDT":{"altname":"XBTUSDT","wsname":"XBT/USDT"}}}')
    return wire
