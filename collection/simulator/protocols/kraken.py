"""Kraken: its REST interface, and its WebSocket in version 2.

https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/trade
https://docs.kraken.com/api-reference/market-data/get-recent-trades
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from collection.simulator.market import Market, Row
from collection.simulator.protocol import Excess, Protocol, Weight
from collection.simulator.protocols.kraken_wire import (
    altname,
    asset_names,
    listing,
    message,
    pair_id,
    row_text,
    wsname,
)
from collection.simulator.rest import Handler, Refused, answer, is_number, text_answer
from collection.simulator.times import instant, nanoseconds
from collection.simulator.views import plain_digits

if TYPE_CHECKING:
    from collection.simulator.connection import Connection
    from collection.simulator.streams import Streams

_SNAPSHOT = 50
_IN_SECONDS = 10**12
"""A `since` below this is one in seconds."""


class Kraken(Protocol):
    """Numbers are texts padded with zeros over REST, and JSON numbers over WebSocket."""

    name = "kraken"
    # About one a second is documented, with some more at once.
    allowance = (30, 15_000)
    sockets = ("/v2",)

    @staticmethod
    def urls(address: str) -> dict[str, Any]:
        return {
            "public": f"http://{address}",
            "private": f"http://{address}",
            "ws": {"publicV2": f"ws://{address}/v2", "privateV2": f"ws://{address}/v2"},
        }

    @staticmethod
    def symbol(market: Market) -> str:
        return market.name

    @staticmethod
    def view(market: Market) -> Market:
        return plain_digits(market)

    def rest(self) -> Mapping[str, tuple[Weight, Handler]]:
        return {
            "/0/public/Time": (1, self._time),
            "/0/public/Assets": (1, self._assets),
            "/0/public/AssetPairs": (1, self._pairs),
            "/0/public/Trades": (1, self._trades),
        }

    def limited(self, why: Excess) -> web.Response:
        errors = {"budget": "EGeneral:Too many requests", "rate_limit": "EAPI:Rate limit exceeded"}
        return answer({"error": [errors.get(why, "EGeneral:Temporary lockout")]})

    async def _time(self, request: web.Request) -> web.Response:
        now = self.now()
        return _result({"unixtime": now // 1000, "rfc1123": instant(now)})

    async def _assets(self, request: web.Request) -> web.Response:
        assets = dict.fromkeys(name for market in self.markets.values() for name in (market.base, market.quote))
        listed = {}
        for asset in assets:
            id, name = asset_names(asset)
            listed[id] = {
                "aclass": "currency",
                "altname": name,
                "decimals": 10,
                "display_decimals": 5,
                "status": "enabled",
            }
        return _result(listed)

    async def _pairs(self, request: web.Request) -> web.Response:
        markets = list(self.markets.values())
        if "pair" in request.query:
            markets = [self._market(name) for name in request.query["pair"].split(",")]
        return _result({pair_id(market): listing(market) for market in markets})

    async def _trades(self, request: web.Request) -> web.Response:
        query = request.query
        if not query.get("pair"):
            raise Refused({"error": ["EGeneral:Invalid arguments"]}, 200)
        market = self._market(query["pair"])
        for name in ("since", "count"):
            if name in query and not is_number(query[name]):
                raise Refused({"error": [f"EGeneral:Invalid arguments:{name}"]}, 200)
        count = int(query.get("count", 1000))
        if not 1 <= count <= 1000:
            raise Refused({"error": ["EGeneral:Invalid arguments:count"]}, 200)
        oldest, stop = self.history(market)
        since = int(query["since"]) if "since" in query else None
        if since is None:
            begin = max(oldest, stop - count)
        else:
            since *= 1 if since >= _IN_SECONDS else 10**9
            begin = max(oldest, _first_after(market, since))
        rows = market.rows(begin, min(stop, begin + count))
        nothing_since = self.now() * 10**6 if since is None else since
        last = nanoseconds(rows[-1].timestamp) if rows else nothing_since
        page = self.faults.page([row_text(market, row) for row in rows])
        body = f'{{"error":[],"result":{{"{pair_id(market)}":[{",".join(page)}],"last":"{last}"}}}}'
        return text_answer(body.encode())

    def _market(self, pair: str) -> Market:
        for market in self.markets.values():
            if pair in (pair_id(market), altname(market), wsname(market), market.name):
                return market
        raise Refused({"error": ["EQuery:Unknown asset pair"]}, 200)

    def streams_of(self, market: Market) -> Sequence[str]:
        return [f"trade:{market.name}"]

    def messages(self, stream: str, market: Market, rows: Sequence[Row], now: int) -> Sequence[str]:
        return [message("update", market, batch) for batch in self.batches(rows)]

    def heartbeats(self, connection: Connection, streams: Streams) -> Sequence[str]:
        return ['{"channel":"heartbeat"}'] if connection.streams else []

    def opened(self, connection: Connection, request: web.Request, streams: Streams) -> Sequence[str]:
        return [_status(connection, "online")]

    def notice(self, connection: Connection) -> str | None:
        return _status(connection, "maintenance")

    def answers(self, connection: Connection, text: str | bytes, streams: Streams) -> Sequence[str]:
        came = instant(self.now())

        def said(content: dict[str, Any]) -> str:
            return msgspec.json.encode({**content, "time_in": came, "time_out": instant(self.now())}).decode()

        try:
            request = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeError):
            return [said({"error": "Malformed request", "method": "error", "success": False})]
        method = request.get("method")
        common = {"method": method} | {name: request[name] for name in ("req_id",) if name in request}
        if method == "ping":
            return [said({**common, "method": "pong"})]
        params = request.get("params")
        if method not in ("subscribe", "unsubscribe") or not isinstance(params, dict):
            return [said({**common, "error": "Unsupported method or missing params", "success": False})]
        if params.get("channel") != "trade":
            return [said({**common, "error": f"Unsupported channel {params.get('channel')}", "success": False})]
        symbols, snapshot, answers = params.get("symbol"), bool(params.get("snapshot", False)), []
        for symbol in symbols if isinstance(symbols, list) else []:
            error = self._change(connection, method, symbol, streams)
            if error:
                answers.append(said({**common, "error": error, "success": False, "symbol": symbol}))
                continue
            result = {"channel": "trade", "symbol": symbol}
            if method == "subscribe":
                result["snapshot"] = snapshot
            answers.append(said({**common, "result": result, "success": True}))
            if method == "subscribe" and snapshot:
                market = self.markets[symbol]
                position = streams.position(market)
                answers.append(message("snapshot", market, market.rows(max(0, position - _SNAPSHOT), position)))
        return answers or [said({**common, "error": "Symbol(s) not found", "success": False})]

    def _change(self, connection: Connection, method: str, symbol: Any, streams: Streams) -> str | None:
        """Do what is asked for; return the exchange's objection if it has one."""
        stream = f"trade:{symbol}"
        if not isinstance(symbol, str) or symbol not in self.markets:
            return f"Currency pair not supported {symbol}"
        if (stream in connection.streams) == (method == "subscribe"):
            return "Already subscribed" if method == "subscribe" else "Subscription Not Found"
        (streams.subscribe if method == "subscribe" else streams.unsubscribe)(connection, [stream])
        return None


def _first_after(market: Market, since: int) -> int:
    """Return the first position whose trade is later than `since`, in Unix time in nanoseconds."""
    millisecond = since // 10**6
    return market.position_of_time(millisecond if nanoseconds(millisecond) > since else millisecond + 1)


def _result(content: Any) -> web.Response:
    return answer({"error": [], "result": content})


def _status(connection: Connection, system: str) -> str:
    id = int(connection.id[:15], 16)
    return (
        f'{{"channel":"status","type":"update","data":[{{"version":"2.0.10","system":"{system}","api_version":"v2",'
        f'"connection_id":{id}}}]}}'
    )
