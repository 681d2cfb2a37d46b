"""Bybit spot: its REST interface and its public WebSocket in version 5.

https://bybit-exchange.github.io/docs/v5/websocket/public/trade
https://bybit-exchange.github.io/docs/v5/market/recent-trade
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from collection.simulator.market import Market, Row
from collection.simulator.protocol import Excess, Protocol, Weight
from collection.simulator.rest import Handler, Refused, answer, is_number, text_answer
from collection.simulator.views import View, step

if TYPE_CHECKING:
    from collection.simulator.connection import Connection
    from collection.simulator.streams import Streams

_FIRST_ID = 2_290_000_000_000_000_000
_APART = 13
"""How far ids are apart on average."""
_RECENT = 60
_MOST_TOPICS = 10
_TOPIC = "publicTrade."
_SIDES = {"buy": "Buy", "sell": "Sell"}


class Bybit(Protocol):
    """Ids ascend with holes between them, several trades share a message, and REST has the last 60 alone."""

    name = "bybit"
    allowance = (600, 5_000)
    sockets = ("/v5/public/spot",)

    @staticmethod
    def urls(address: str) -> dict[str, Any]:
        rest = f"http://{address}"
        return {"public": rest, "private": rest, "ws": {"public": {"spot": f"ws://{address}/v5/public/spot"}}}

    @staticmethod
    def symbol(market: Market) -> str:
        return market.symbol

    @staticmethod
    def view(market: Market) -> Market:
        return View(market, lambda row: Row(row.timestamp, _id(row.id), row.side, row.price, row.amount), _earliest)

    def rest(self) -> Mapping[str, tuple[Weight, Handler]]:
        return {
            "/v5/market/time": (1, self._time),
            "/v5/market/instruments-info": (1, self._instruments),
            "/v5/market/recent-trade": (1, self._recent),
        }

    def limited(self, why: Excess) -> web.Response:
        if why == "rate_limit":
            return self._answer(10006, "Too many visits. Exceeded the API Rate Limit.", {})
        return web.Response(status=403, text="403, access too frequent")

    def _answer(self, code: int, msg: str, result: Any) -> web.Response:
        return answer({"retCode": code, "retMsg": msg, "result": result, "retExtInfo": {}, "time": self.now()})

    def _refused(self, msg: str) -> Refused:
        content = {"retCode": 10001, "retMsg": msg, "result": {}, "retExtInfo": {}, "time": self.now()}
        return Refused(content, 200)

    async def _time(self, request: web.Request) -> web.Response:
        now = self.now()
        return self._answer(0, "OK", {"timeSecond": str(now // 1000), "timeNano": str(now * 10**6)})

    async def _instruments(self, request: web.Request) -> web.Response:
        self._check_category(request)
        wanted = request.query.get("symbol")
        listed = [_listing(market) for symbol, market in self.markets.items() if wanted in (None, symbol)]
        if wanted is not None and not listed:
            raise self._refused("Not supported symbols")
        return self._answer(0, "OK", {"category": "spot", "list": listed})

    async def _recent(self, request: web.Request) -> web.Response:
        self._check_category(request)
        market = self.markets.get(request.query.get("symbol", ""))
        if market is None:
            raise self._refused("Not supported symbols")
        limit = request.query.get("limit", str(_RECENT))
        if not is_number(limit) or not int(limit):
            raise self._refused("params error: Limit invalid")
        oldest, count = self.history(market)
        rows = market.rows(max(oldest, count - min(int(limit), _RECENT)), count)
        page = self.faults.page([_row(market, row) for row in reversed(rows)])
        body = (
            f'{{"retCode":0,"retMsg":"OK","result":{{"category":"spot","list":[{",".join(page)}]}},"retExtInfo":{{}},'
            f'"time":{self.now()}}}'
        )
        return text_answer(body.encode())

    def _check_category(self, request: web.Request) -> None:
        if request.query.get("category") != "spot":
            raise self._refused("params error: Category is invalid")

    def streams_of(self, market: Market) -> Sequence[str]:
        return [_TOPIC + market.symbol]

    def messages(self, stream: str, market: Market, rows: Sequence[Row], now: int) -> Sequence[str]:
        head = f'{{"topic":"{stream}","ts":{now},"type":"snapshot","data":['
        return [f"{head}{','.join([_event(market, row) for row in batch])}]}}" for batch in self.batches(rows)]

    def answers(self, connection: Connection, text: str | bytes, streams: Streams) -> Sequence[str]:
        try:
            request = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeError):
            return [_said(connection, {}, False, "error:request is not valid json")]
        op, args = request.get("op"), request.get("args")
        if op == "ping":
            return [_said(connection, request, True, "pong")]
        if op not in ("subscribe", "unsubscribe"):
            return [_said(connection, request, False, "error:invalid op")]
        if not isinstance(args, list) or not args:
            return [_said(connection, request, False, "error:invalid args")]
        if len(args) > _MOST_TOPICS:
            return [_said(connection, request, False, f"args size >{_MOST_TOPICS}")]
        if strange := [arg for arg in args if not self._is_topic(arg)]:
            return [_said(connection, request, False, f"error:handler not found,topic:{strange[0]}")]
        if unknown := [arg for arg in args if arg.removeprefix(_TOPIC) not in self.markets]:
            return [_said(connection, request, False, f"Invalid symbol :[{','.join(unknown)}]")]
        answers = [_said(connection, request, True, op if op == "subscribe" else "")]
        if op == "unsubscribe":
            streams.unsubscribe(connection, args)
            return answers
        for topic in [arg for arg in args if arg not in connection.streams]:
            streams.subscribe(connection, [topic])
            market = self.markets[topic.removeprefix(_TOPIC)]
            answers += self.messages(topic, market, self.older(market, streams.position(market)), self.now())
        return answers

    def _is_topic(self, arg: Any) -> bool:
        return isinstance(arg, str) and arg.startswith(_TOPIC)


def _id(id: int) -> int:
    return _FIRST_ID + id * _APART + id * 7 % _APART


def _earliest(id: int) -> int:
    """Return the least number whose id is this one or greater."""
    number = max(0, (id - _FIRST_ID) // _APART)
    return number if _id(number) >= id else number + 1


def _said(connection: Connection, request: dict[str, Any], success: bool, msg: str) -> str:
    req_id = str(request.get("req_id", ""))
    content = {
        "success": success,
        "ret_msg": msg,
        "conn_id": connection.id,
        "req_id": req_id,
        "op": request.get("op", ""),
    }
    return msgspec.json.encode(content).decode()


def _event(market: Market, row: Row) -> str:
    return (
        f'{{"i":"{row.id}","T":{row.timestamp},"p":"{row.price}","v":"{row.amount}","S":"{_SIDES[row.side]}",'
        f'"seq":{_sequence(row)},"s":"{market.symbol}","BT":false,"RPI":false}}'
    )


def _row(market: Market, row: Row) -> str:
    return (
        f'{{"execId":"{row.id}","symbol":"{market.symbol}","price":"{row.price}","size":"{row.amount}",'
        f'"side":"{_SIDES[row.side]}","time":"{row.timestamp}","isBlockTrade":false,"isRPITrade":false,'
        f'"seq":"{_sequence(row)}"}}'
    )


def _sequence(row: Row) -> int:
    return row.id % 10**12 * 2


def _listing(market: Market) -> dict[str, Any]:
    lot = step(market.amount_decimals)
    return {
        "symbol": market.symbol,
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "innovation": "0",
        "status": "Trading",
        "marginTrading": "none",
        "lotSizeFilter": {
            "basePrecision": lot,
            "quotePrecision": "0.00000001",
            "minOrderQty": lot,
            "maxOrderQty": "1000000",
            "minOrderAmt": "1",
            "maxOrderAmt": "4000000",
        },
        "priceFilter": {"tickSize": step(market.price_decimals)},
    }
