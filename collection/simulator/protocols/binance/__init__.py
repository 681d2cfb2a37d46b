"""Binance spot: its streams, over its REST interface in `rest` and its JSON in `wire`.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from collection.simulator.market import Market, Row
from collection.simulator.protocol import Excess, Protocol, Weight
from collection.simulator.protocols.binance.rest import RestAPI
from collection.simulator.protocols.binance.wire import event
from collection.simulator.rest import Handler, answer

if TYPE_CHECKING:
    from collection.simulator.connection import Connection
    from collection.simulator.streams import Streams

_KINDS = ("trade", "aggTrade")
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_STREAM = re.compile(r"[A-Za-z0-9_!]+@[A-Za-z0-9_@]+")


class _Invalid(Exception):
    """What the exchange answers to a message that it does not accept."""

    def __init__(self, code: int, msg: str) -> None:
        self.code, self.msg = code, msg
        super().__init__(msg)


class Binance(Protocol):
    """Streams at /ws (raw messages) and /stream (combined ones), REST under /api/v3."""

    name = "binance"
    allowance = (6000, 60_000)
    sockets = ("/ws{tail:(/.*)?}", "/stream{tail:(/.*)?}")

    @staticmethod
    def urls(address: str) -> dict[str, Any]:
        rest = f"http://{address}/api/v3"
        return {"public": rest, "private": rest, "ws": {"spot": f"ws://{address}/stream"}}

    @staticmethod
    def symbol(market: Market) -> str:
        return market.symbol

    def rest(self) -> Mapping[str, tuple[Weight, Handler]]:
        return RestAPI(self).handlers()

    def limited(self, why: Excess) -> web.Response:
        after, status = self.faults["retry_after"], 429
        match why:
            case "budget":
                msg = (
                    f"Too much request weight used; current limit is {self.budget.limit} request weight per 1 MINUTE. "
                    "Please use WebSocket Streams for live updates to avoid polling the API."
                )
                after = 60 - self.now() / 1000 % 60
            case "rate_limit":
                msg = "Too many requests queued."
            case "ban":
                msg = "Way too much request weight used; IP banned. Please use WebSocket Streams to avoid bans."
                status = 418
        response = answer({"code": -1003, "msg": msg}, status)
        response.headers["Retry-After"] = f"{max(1, round(after))}"
        return response

    def unconnected(self, why: Excess) -> web.Response:
        return self.limited(why)

    def stamp(self, response: web.StreamResponse) -> None:
        response.headers["X-MBX-USED-WEIGHT"] = response.headers["X-MBX-USED-WEIGHT-1M"] = str(self.budget.used)

    def opened(self, connection: Connection, request: web.Request, streams: Streams) -> Sequence[str]:
        connection.combined = request.path.startswith("/stream")
        named = request.query.get("streams", "") if connection.combined else request.match_info["tail"]
        streams.subscribe(connection, [name for name in named.split("/") if _STREAM.fullmatch(name)])
        return ()

    def streams_of(self, market: Market) -> Sequence[str]:
        return [f"{market.symbol.lower()}@{kind}" for kind in _KINDS]

    def messages(self, stream: str, market: Market, rows: Sequence[Row], now: int) -> Sequence[str]:
        kind = stream.partition("@")[2]
        return [event(market, kind, row, now) for row in rows]

    def notice(self, connection: Connection) -> str | None:
        return f'{{"e":"serverShutdown","E":{self.now()}}}'

    def answers(self, connection: Connection, text: str | bytes, streams: Streams) -> Sequence[str]:
        request: Any = None
        try:
            try:
                request = msgspec.json.decode(text)
            except (msgspec.MsgspecError, UnicodeError) as error:
                raise _Invalid(3, f"Invalid JSON: {error}") from None
            said: dict[str, Any] = {"result": self._do(connection, request, streams)}
        except _Invalid as invalid:
            said = {"error": {"code": invalid.code, "msg": invalid.msg}}
        id = request.get("id") if isinstance(request, dict) else None
        return [msgspec.json.encode(said | {"id": id if isinstance(id, int | str) else None}).decode()]

    def _do(self, connection: Connection, request: Any, streams: Streams) -> Any:
        if not isinstance(request, dict) or "method" not in request:
            raise _Invalid(2, "Invalid request: missing field `method`")
        method, names = request["method"], request.get("params", [])
        if method not in _METHODS:
            known = ", ".join(f"`{name}`" for name in _METHODS)
            raise _Invalid(2, f"Invalid request: unknown variant `{method}`, expected one of {known}")
        id = request.get("id", ...)
        if isinstance(id, bool) or not (id is None or isinstance(id, int) or (isinstance(id, str) and len(id) <= 36)):
            raise _Invalid(2, "Invalid request: request ID must be an unsigned integer")
        if method == "LIST_SUBSCRIPTIONS":
            return list(connection.streams)
        if not isinstance(names, list):
            raise _Invalid(2, "Invalid request: params must be an array")
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            return _property(connection, method, names)
        if not names or not all(isinstance(name, str) and _STREAM.fullmatch(name) for name in names):
            raise _Invalid(2, "Invalid request: invalid stream")
        # Names of streams that nobody publishes are accepted and stay silent.
        (streams.subscribe if method == "SUBSCRIBE" else streams.unsubscribe)(connection, names)
        return None


def _property(connection: Connection, method: str, given: list[Any]) -> bool | None:
    if not given or not isinstance(given[0], str):
        raise _Invalid(2, "Invalid request: property name must be a string")
    if given[0] != "combined":
        raise _Invalid(0, "Unknown property")
    if method == "GET_PROPERTY":
        return connection.combined
    if len(given) != 2 or not isinstance(given[1], bool):
        raise _Invalid(1, "Invalid value type: expected Boolean")
    connection.combined = given[1]
    return None
