"""Coinbase Exchange: its REST interface and its WebSocket feed.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-trades
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from collection.simulator.market import Market, Row
from collection.simulator.protocol import Excess, Protocol, Weight
from collection.simulator.protocols.coinbaseexchange_wire import PADDED, listing, match, row_text, sequence
from collection.simulator.rest import Handler, Refused, answer, is_number, text_answer
from collection.simulator.times import instant
from collection.simulator.views import plain_digits, step

if TYPE_CHECKING:
    from collection.simulator.connection import Connection
    from collection.simulator.streams import Streams

_CHANNELS = ("matches", "heartbeat")
_PATIENCE = 5.0
"""Seconds after which a connection that asked for nothing is closed."""


class CoinbaseExchange(Protocol):
    """Prices over REST are padded with zeros to eight decimals, over WebSocket they are not; sides are the maker's."""

    name = "coinbaseexchange"
    # Twice the 10 a second that are documented: a client with a bucket of 10 may empty and refill it in one second.
    allowance = (20, 1_000)
    sockets = ("/",)

    @staticmethod
    def urls(address: str) -> dict[str, Any]:
        return {"public": f"http://{address}", "private": f"http://{address}", "ws": f"ws://{address}"}

    @staticmethod
    def symbol(market: Market) -> str:
        return f"{market.base}-{market.quote}"

    @staticmethod
    def view(market: Market) -> Market:
        return plain_digits(market)

    def rest(self) -> Mapping[str, tuple[Weight, Handler]]:
        return {
            "/time": (1, self._time),
            "/currencies": (1, self._currencies),
            "/products": (1, self._products),
            "/products/{id}/trades": (1, self._trades),
        }

    def limited(self, why: Excess) -> web.Response:
        if why == "ban":
            return web.Response(status=403, text="<html>Access denied</html>", content_type="text/html")
        return answer({"message": "Public rate limit exceeded"}, 429)

    async def _time(self, request: web.Request) -> web.Response:
        now = self.now()
        return answer({"iso": f"{instant(now)[:-4]}Z", "epoch": now / 1000})

    async def _currencies(self, request: web.Request) -> web.Response:
        names = dict.fromkeys(name for market in self.markets.values() for name in (market.base, market.quote))
        least = step(PADDED)
        return answer(
            [
                {"id": name, "name": name, "min_size": least, "status": "online", "max_precision": least,
                 "details": {"type": "crypto"}, "supported_networks": []}
                for name in names
            ]
        )  # fmt: skip

    async def _products(self, request: web.Request) -> web.Response:
        return answer([listing(id, market) for id, market in self.markets.items()])

    async def _trades(self, request: web.Request) -> web.Response:
        market = self.markets.get(request.match_info["id"])
        if market is None:
            raise Refused({"message": "NotFound"}, 404)
        query = request.query
        for name in ("limit", "after", "before"):
            if name in query and not is_number(query[name]):
                raise Refused({"message": f"Invalid {name}"})
        limit = min(int(query.get("limit", 1000)) or 1000, 1000)
        oldest, stop = self.history(market)
        if "after" in query:
            stop = min(stop, market.position_of_id(int(query["after"])))
        if "before" in query:
            oldest = max(oldest, market.position_of_id(int(query["before"]) + 1))
        rows = market.rows(max(oldest, stop - limit), stop)
        page = self.faults.page([row_text(row) for row in reversed(rows)])
        response = text_answer(f"[{','.join(page)}]".encode())
        if rows:
            response.headers["CB-BEFORE"], response.headers["CB-AFTER"] = str(rows[-1].id), str(rows[0].id)
        return response

    def streams_of(self, market: Market) -> Sequence[str]:
        return [f"matches:{self.symbol(market)}"]

    def messages(self, stream: str, market: Market, rows: Sequence[Row], now: int) -> Sequence[str]:
        return [match("match", market, row) for row in rows]

    def heartbeats(self, connection: Connection, streams: Streams) -> Sequence[str]:
        products = [name for channel, _, name in _parts(connection) if channel == "heartbeat"]
        return [self._heartbeat(self.markets[product], streams) for product in products]

    def _heartbeat(self, market: Market, streams: Streams) -> str:
        position = streams.position(market)
        last = market.rows(position - 1, position)[0].id if position else 0
        return (
            f'{{"type":"heartbeat","last_trade_id":{last},"product_id":"{self.symbol(market)}",'
            f'"sequence":{sequence(last) + 1},"time":"{instant(self.now())}"}}'
        )

    def overdue(self, connection: Connection) -> tuple[int, bytes] | None:
        return (1000, b"no subscription") if not connection.asked and connection.age > _PATIENCE else None

    def answers(self, connection: Connection, text: str | bytes, streams: Streams) -> Sequence[str]:
        try:
            request = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeError):
            return [_error("Malformed JSON")]
        kind = request.get("type")
        if kind not in ("subscribe", "unsubscribe"):
            return [_error("Type has to be either subscribe or unsubscribe", f"{kind} is not a valid type")]
        try:
            wanted = self._wanted(request)
        except ValueError as error:
            return [_error(f"Failed to {kind}", str(error))]
        if kind == "unsubscribe":
            streams.unsubscribe(connection, wanted)
            return [_subscriptions(connection)]
        new = [name for name in wanted if name not in connection.streams]
        streams.subscribe(connection, new)
        said = [_subscriptions(connection)]
        for channel, _, product in (name.partition(":") for name in new):
            market = self.markets[product]
            position = streams.position(market)
            if channel == "matches" and position:
                said.append(match("last_match", market, market.rows(position - 1, position)[0]))
        return said

    def _wanted(self, request: dict[str, Any]) -> list[str]:
        """Return what a request names, as `channel:product`; raises ValueError saying why the exchange refuses."""
        wanted = []
        for channel in _list(request, "channels"):
            named = channel if isinstance(channel, dict) else {"name": channel}
            name, products = named.get("name"), _list(named, "product_ids") or _list(request, "product_ids")
            if name not in _CHANNELS:
                raise ValueError(f"{name} is not a valid channel")
            if not products:
                raise ValueError(f"You need to specify at least one product ID for channel {name}")
            for product in products:
                if not isinstance(product, str) or product not in self.markets:
                    raise ValueError(f"{product} is not a valid product")
                wanted.append(f"{name}:{product}")
        if not wanted:
            raise ValueError("channels must be specified")
        return wanted


def _list(given: dict[str, Any], name: str) -> list[Any]:
    found = given.get(name)
    return found if isinstance(found, list) else []


def _parts(connection: Connection) -> list[tuple[str, str, str]]:
    return [name.partition(":") for name in connection.streams]


def _subscriptions(connection: Connection) -> str:
    products: dict[str, list[str]] = {}
    for channel, _, product in _parts(connection):
        products.setdefault(channel, []).append(product)
    channels = [{"name": name, "product_ids": ids, "account_ids": None} for name, ids in products.items()]
    return msgspec.json.encode({"type": "subscriptions", "channels": channels}).decode()


def _error(message: str, reason: str | None = None) -> str:
    more = {} if reason is None else {"reason": reason}
    return msgspec.json.encode({"type": "error", "message": message} | more).decode()
