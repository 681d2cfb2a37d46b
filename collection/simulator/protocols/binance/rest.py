"""The REST interface of Binance spot under /api/v3: market data and its errors.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
https://developers.binance.com/docs/binance-spot-api-docs/errors
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from collection.simulator.market import Market, Row
from collection.simulator.protocols.binance.parameters import SYMBOL, Refused, illegal, limit_of, number, parameters
from collection.simulator.protocols.binance.wire import TRADE_IDS, aggregate, book, listing, single
from collection.simulator.rest import Handler, answer, text_answer

if TYPE_CHECKING:
    from collection.simulator.protocol import Protocol, Weight

_DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))


class RestAPI:
    """The routes under /api/v3."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol, self._markets, self._now = protocol, protocol.markets, protocol.now

    def handlers(self) -> Mapping[str, tuple[Weight, Handler]]:
        """As `Protocol.rest`."""
        return {
            "/api/v3/ping": (1, self._ping),
            "/api/v3/time": (1, self._time),
            "/api/v3/exchangeInfo": (20, self._exchange_info),
            "/api/v3/aggTrades": (4, self._aggregates),
            "/api/v3/trades": (25, self._trades),
            "/api/v3/historicalTrades": (25, self._historical),
            "/api/v3/depth": (_depth_weight, self._depth),
        }

    async def _ping(self, request: web.Request) -> web.Response:
        parameters(request)
        return answer({})

    async def _time(self, request: web.Request) -> web.Response:
        parameters(request)
        return answer({"serverTime": self._now()})

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
        weight = self._protocol.budget.limit
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight}
        return answer(
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
        oldest, count = self._protocol.history(market)
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
        oldest, count = self._protocol.history(market)
        return self._page(market.rows(max(oldest, count - limit), count), single)

    async def _historical(self, request: web.Request) -> web.Response:
        given = parameters(request, "symbol", "fromId", "limit")
        market, limit, from_id = self._market(given), limit_of(given), number(given, "fromId")
        oldest, count = self._protocol.history(market)
        begin = count - limit if from_id is None else market.position_of_id(max(0, from_id - TRADE_IDS))
        begin = max(oldest, begin)
        return self._page(market.rows(begin, min(begin + limit, count)), single)

    async def _depth(self, request: web.Request) -> web.Response:
        given = parameters(request, "symbol", "limit")
        market, limit = self._market(given), limit_of(given, 100, 5000)
        count = market.published(self._now())
        return answer(book(market, market.rows(count - 1, count)[0] if count else None, limit))

    def _market(self, given: Mapping[str, str]) -> Market:
        if "symbol" not in given:
            raise Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if not re.fullmatch(SYMBOL, given["symbol"]):
            raise illegal("symbol", SYMBOL)
        if given["symbol"] not in self._markets:
            raise Refused(-1121, "Invalid symbol.")
        return self._markets[given["symbol"]]

    def _page(self, rows: list[Row], form: Callable[[Row], str]) -> web.Response:
        page = self._protocol.faults.page([form(row) for row in rows])
        return text_answer(f"[{','.join(page)}]".encode())


def _depth_weight(request: web.Request) -> int:
    limit = request.query.get("limit", "100")
    asked = int(limit) if limit.isascii() and limit.isdigit() else 0
    return next((weight for most, weight in _DEPTH_WEIGHTS if asked <= most), 250)
