"""OKX: its REST interface and its WebSocket in version 5.

https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-all-trades-channel
https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-trades-history
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from collection.simulator.market import Market, Row
from collection.simulator.protocol import Excess, Protocol, Weight
from collection.simulator.rest import Handler, Refused, answer, is_number, text_answer
from collection.simulator.views import step

if TYPE_CHECKING:
    from collection.simulator.connection import Connection
    from collection.simulator.streams import Streams

_ENDPOINTS = {"trades": "/ws/v5/public", "trades-all": "/ws/v5/business"}
_PATIENCE = 30.0
"""Seconds without any message after which a connection is closed."""


class Okx(Protocol):
    """The channel `trades-all` has each trade, `trades` merges those of one order at one price."""

    name = "okx"
    # Twice the 20 requests for older trades in two seconds that are documented, with a weight of 5 each.
    allowance = (200, 2_000)
    sockets = ("/ws/v5/public", "/ws/v5/business")

    @staticmethod
    def urls(address: str) -> dict[str, Any]:
        return {"rest": f"http://{address}", "ws": f"ws://{address}/ws/v5"}

    @staticmethod
    def symbol(market: Market) -> str:
        return f"{market.base}-{market.quote}"

    def rest(self) -> Mapping[str, tuple[Weight, Handler]]:
        return {
            "/api/v5/public/time": (5, self._time),
            "/api/v5/public/instruments": (5, self._instruments),
            "/api/v5/market/trades": (1, self._recent),
            "/api/v5/market/history-trades": (5, self._history),
        }

    def limited(self, why: Excess) -> web.Response:
        if why == "ban":
            return web.Response(status=403, text="<html>Access denied</html>", content_type="text/html")
        return answer({"msg": "Too Many Requests", "code": "50011"}, 429)

    async def _time(self, request: web.Request) -> web.Response:
        return _data([{"ts": str(self.now())}])

    async def _instruments(self, request: web.Request) -> web.Response:
        if request.query.get("instType") != "SPOT":
            raise _refused("51000", "Parameter instType error", 400)
        wanted = request.query.get("instId")
        if wanted is not None and wanted not in self.markets:
            raise _unknown()
        return _data([_listing(id, market) for id, market in self.markets.items() if wanted in (None, id)])

    async def _recent(self, request: web.Request) -> web.Response:
        market, limit = self._market(request), _number(request, "limit", 100, 500)
        oldest, count = self.history(market)
        return self._page(market, market.rows(max(oldest, count - limit), count))

    async def _history(self, request: web.Request) -> web.Response:
        market, limit = self._market(request), _number(request, "limit", 100, 100)
        by = request.query.get("type") or "1"
        if by not in ("1", "2"):
            raise _refused("51000", "Parameter type error", 400)
        if by == "2" and "before" in request.query:
            raise _refused("51000", "Parameter before error", 400)
        oldest, stop = self.history(market)
        if "after" in request.query:
            after = _number(request, "after", 0)
            stop = min(stop, market.position_of_id(after) if by == "1" else market.position_of_time(after))
        if "before" in request.query:
            oldest = max(oldest, market.position_of_id(_number(request, "before", 0) + 1))
        return self._page(market, market.rows(max(oldest, stop - limit), stop))

    def _market(self, request: web.Request) -> Market:
        if not request.query.get("instId"):
            raise _refused("50014", "Parameter instId can not be empty.", 400)
        if request.query["instId"] not in self.markets:
            raise _unknown()
        return self.markets[request.query["instId"]]

    def _page(self, market: Market, rows: list[Row]) -> web.Response:
        page = self.faults.page([_trade(self.symbol(market), row) for row in reversed(rows)])
        return text_answer(f'{{"code":"0","msg":"","data":[{",".join(page)}]}}'.encode())

    def streams_of(self, market: Market) -> Sequence[str]:
        return [f"{channel}:{self.symbol(market)}" for channel in _ENDPOINTS]

    def messages(self, stream: str, market: Market, rows: Sequence[Row], now: int) -> Sequence[str]:
        channel, _, id = stream.partition(":")
        trades = [_trade(id, row) for row in rows] if channel == "trades-all" else _merged(id, rows)
        return [f'{{"arg":{{"channel":"{channel}","instId":"{id}"}},"data":[{trade}]}}' for trade in trades]

    def notice(self, connection: Connection) -> str | None:
        msg = "The connection will soon be closed for a service upgrade. Please reconnect."
        return _said("notice", connection, code="64008", msg=msg)

    def overdue(self, connection: Connection) -> tuple[int, bytes] | None:
        return (4004, b"No data received in 30s.") if connection.idle > _PATIENCE else None

    def answers(self, connection: Connection, text: str | bytes, streams: Streams) -> Sequence[str]:
        if text in ("ping", b"ping"):
            return ["pong"]
        shown = text if isinstance(text, str) else text.decode(errors="replace")
        illegal = _said("error", connection, code="60012", msg=f"Illegal request: {shown}")
        try:
            request = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeError):
            return [illegal]
        op, args = request.get("op"), request.get("args")
        echo = {"id": request["id"]} if "id" in request else {}
        if op == "login":
            return [_said("login", connection, code="0", msg="")]
        if op not in ("subscribe", "unsubscribe") or not isinstance(args, list) or not args:
            return [illegal]
        answers = []
        for arg in args:
            channel, id = (arg.get("channel"), arg.get("instId")) if isinstance(arg, dict) else (None, None)
            if not isinstance(id, str) or id not in self.markets or _ENDPOINTS.get(str(channel)) != connection.path:
                msg = (
                    f"Wrong URL or channel:{channel},instId:{id} doesn't exist. Please use the correct URL, channel "
                    "and parameters referring to API document."
                )
                answers.append(_said("error", connection, code="60018", msg=msg, **echo))
                continue
            stream = f"{channel}:{id}"
            known = {"arg": {"channel": channel, "instId": id}}
            answers.append(_said(op, connection, **known, **echo))
            if op == "unsubscribe":
                streams.unsubscribe(connection, [stream])
            elif stream not in connection.streams:
                streams.subscribe(connection, [stream])
                market = self.markets[id]
                answers += self.messages(stream, market, self.older(market, streams.position(market)), self.now())
        return answers


def _said(event: str, connection: Connection, **more: Any) -> str:
    return msgspec.json.encode({"event": event, **more, "connId": connection.id[:8]}).decode()


def _data(rows: list[Any]) -> web.Response:
    return answer({"code": "0", "msg": "", "data": rows})


def _refused(code: str, msg: str, status: int = 200) -> Refused:
    return Refused({"code": code, "msg": msg, "data": []}, status)


def _unknown() -> Refused:
    return _refused("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")


def _number(request: web.Request, name: str, default: int, most: int | None = None) -> int:
    text = request.query.get(name, str(default))
    if not is_number(text) or (most is not None and not 1 <= int(text) <= most):
        raise _refused("51000", f"Parameter {name} error", 400)
    return int(text)


def _trade(id: str, row: Row) -> str:
    return (
        f'{{"instId":"{id}","tradeId":"{row.id}","px":"{row.price}","sz":"{row.amount}","side":"{row.side}",'
        f'"source":"0","ts":"{row.timestamp}"}}'
    )


def _merged(id: str, rows: Sequence[Row]) -> list[str]:
    merged = []
    for (timestamp, side, price), group in groupby(rows, lambda row: (row.timestamp, row.side, row.price)):
        trades = list(group)
        size = sum((Decimal(row.amount) for row in trades), Decimal(0))
        merged.append(
            f'{{"instId":"{id}","tradeId":"{trades[-1].id}","px":"{price}","sz":"{size:f}","side":"{side}",'
            f'"source":"0","ts":"{timestamp}","count":"{len(trades)}","seqId":{trades[-1].id * 3}}}'
        )
    return merged


def _listing(id: str, market: Market) -> dict[str, Any]:
    return {
        "instType": "SPOT",
        "instId": id,
        "baseCcy": market.base,
        "quoteCcy": market.quote,
        "lotSz": step(market.amount_decimals),
        "minSz": step(market.amount_decimals),
        "tickSz": step(market.price_decimals),
        "listTime": "1548133413000",
        "state": "live",
    }
