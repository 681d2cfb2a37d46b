"""The REST interface of Binance spot under /api/v3: market data, its errors and its budget of request weight.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
https://developers.binance.com/docs/binance-spot-api-docs/errors
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from collection.simulator.faults import Faults
from collection.simulator.market import Market, Row
from collection.simulator.parameters import SYMBOL, Refused, illegal, limit_of, number, parameters
from collection.simulator.wire import TRADE_IDS, aggregate, book, listing, single

_DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def too_many(msg: str, status: int, retry_after: float) -> web.Response:
    """The exchange's answer to those who ask too much: 429, or 418 once they are banned."""
    headers = {"Retry-After": f"{max(1, round(retry_after))}"}
    return web.json_response({"code": -1003, "msg": msg}, status=status, headers=headers)


class Budget:
    """The request weight of the running minute, which begins with the clock's."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._minute = 0

    def spend(self, weight: int, now: int) -> bool:
        """Count the weight and say whether the minute had room for it."""
        if now // 60_000 != self._minute:
            self._minute, self.used = now // 60_000, 0
        self.used += weight
        return self.used <= self.limit


class RestAPI:
    """The routes under /api/v3 for the markets given by symbol; `now` gives Unix time in milliseconds."""

    def __init__(
        self, markets: Mapping[str, Market], now: Callable[[], int], faults: Faults, weight_limit: int
    ) -> None:
        self._markets, self._now, self._faults = markets, now, faults
        self._budget = Budget(weight_limit)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v3/ping", self._weighed(1, self._ping)),
            web.get("/api/v3/time", self._weighed(1, self._time)),
            web.get("/api/v3/exchangeInfo", self._weighed(20, self._exchange_info)),
            web.get("/api/v3/aggTrades", self._weighed(4, self._aggregates)),
            web.get("/api/v3/trades", self._weighed(25, self._trades)),
            web.get("/api/v3/historicalTrades", self._weighed(25, self._historical)),
            web.get("/api/v3/depth", self._weighed(_depth_weight, self._depth)),
        ]

    def _weighed(self, weight: int | Callable[[web.Request], int], handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def answer(request: web.Request) -> web.StreamResponse:
            now = self._now()
            if self._budget.spend(weight if isinstance(weight, int) else weight(request), now):
                try:
                    response = await handler(request)
                except Refused as refused:
                    response = web.json_response({"code": refused.code, "msg": refused.msg}, status=400)
            else:
                self._faults.counts["weight_exceeded"] += 1
                msg = (
                    f"Too much request weight used; current limit is {self._budget.limit} request weight per 1 MINUTE. "
                    "Please use WebSocket Streams for live updates to avoid polling the API."
                )
                response = too_many(msg, 429, 60 - now / 1000 % 60)
            response.headers["X-MBX-USED-WEIGHT"] = response.headers["X-MBX-USED-WEIGHT-1M"] = str(self._budget.used)
            return response

        return answer

    async def _ping(self, request: web.Request) -> web.Response:
        parameters(request)
        return _json({})

    async def _time(self, request: web.Request) -> web.Response:
        parameters(request)
        return _json({"serverTime": self._now()})

    async def _exchange_info(self, request: web.Request) -> web.Response:
        given = parameters(request, "symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus")
        if "symbol" in given and "symbols" in given:
            raise Refused(-1128, "Combination of optional parameters invalid.")
        markets = list(self._markets.values())
        if "symbol" in given:
            markets = [self._market(given)]
        elif "symbols" in given:
            try:
                symbols = msgspec.json.decode(given["symbols"], type=list[str])
            except msgspec.MsgspecError:
                raise illegal("symbols", '^\\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\\]$') from None
            markets = [self._market({"symbol": symbol}) for symbol in symbols]
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self._budget.limit}
        return _json(
            {
                "timezone": "UTC",
                "serverTime": self._now(),
                "rateLimits": [limit],
                "exchangeFilters": [],
                "symbols": [listing(market) for market in markets],
            }
        )

    async def _aggregates(self, request: web.Request) -> web.Response:
        given = parameters(request, "symbol", "fromId", "startTime", "endTime", "limit")
        market, limit = self._market(given), limit_of(given)
        from_id, start, end = (number(given, name) for name in ("fromId", "startTime", "endTime"))
        oldest, count = self._history(market)
        if from_id is not None:
            if start is not None or end is not None:
                raise Refused(-1128, "Combination of optional parameters invalid.")
            begin = max(oldest, market.position_of_id(from_id))
            return self._page(market.rows(begin, min(begin + limit, count)), aggregate)
        stop = count if end is None or end >= self._now() else min(count, market.position_of_time(end + 1))
        if start is None:
            begin = max(oldest, stop - limit)
        else:
            begin = max(oldest, market.position_of_time(start)) if start <= self._now() else stop
            stop = min(begin + limit, stop)
        return self._page(market.rows(begin, stop), aggregate)

    async def _trades(self, request: web.Request) -> web.Response:
        given = parameters(request, "symbol", "limit")
        market, limit = self._market(given), limit_of(given)
        oldest, count = self._history(market)
        return self._page(market.rows(max(oldest, count - limit), count), single)

    async def _historical(self, request: web.Request) -> web.Response:
        given = parameters(request, "symbol", "fromId", "limit")
        market, limit, from_id = self._market(given), limit_of(given), number(given, "fromId")
        oldest, count = self._history(market)
        begin = count - limit if from_id is None else market.position_of_id(max(0, from_id - TRADE_IDS))
        begin = max(oldest, begin)
        return self._page(market.rows(begin, min(begin + limit, count)), single)

    async def _depth(self, request: web.Request) -> web.Response:
        given = parameters(request, "symbol", "limit")
        market, limit = self._market(given), limit_of(given, 100, 5000)
        count = market.published(self._now())
        return _json(book(market, market.rows(count - 1, count)[0] if count else None, limit))

    def _history(self, market: Market) -> tuple[int, int]:
        """Return the first position that is served, and the one after the last."""
        count = market.published(self._now())
        return max(0, count - int(self._faults["history"] or count)), count

    def _market(self, given: Mapping[str, str]) -> Market:
        if "symbol" not in given:
            raise Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if not re.fullmatch(SYMBOL, given["symbol"]):
            raise illegal("symbol", SYMBOL)
        if given["symbol"] not in self._markets:
            raise Refused(-1121, "Invalid symbol.")
        return self._markets[given["symbol"]]

    def _page(self, rows: list[Row], form: Callable[[Row], str]) -> web.Response:
        page = self._faults.page([form(row) for row in rows])
        return web.Response(body=f"[{','.join(page)}]".encode(), content_type="application/json", charset="utf-8")


def _depth_weight(request: web.Request) -> int:
    limit = request.query.get("limit", "100")
    asked = int(limit) if limit.isascii() and limit.isdigit() else 0
    return next((weight for most, weight in _DEPTH_WEIGHTS if asked <= most), 250)


def _json(content: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json", charset="utf-8")
