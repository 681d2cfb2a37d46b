"""The WebSocket streams of Binance spot: subscriptions, and each trade at the moment of its publishing.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from collection.simulator.connection import Connection
from collection.simulator.faults import Faults
from collection.simulator.market import Market
from collection.simulator.wire import event

_KINDS = ("trade", "aggTrade")
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_STREAM = re.compile(r"[A-Za-z0-9_!]+@[A-Za-z0-9_@]+")
_REAPING = 0.02


class _Invalid(Exception):
    """What the exchange answers to a message that it does not accept."""

    def __init__(self, code: int, msg: str) -> None:
        self.code, self.msg = code, msg
        super().__init__(msg)


class Streams:
    """All connections at /ws (raw messages) and /stream (combined ones); `now` gives Unix time in milliseconds."""

    def __init__(self, markets: Mapping[str, Market], now: Callable[[], int], faults: Faults) -> None:
        self._markets = {symbol.lower(): market for symbol, market in markets.items()}
        self._now, self._faults = now, faults
        self._listeners: defaultdict[str, dict[Connection, None]] = defaultdict(dict)
        self._connections: set[Connection] = set()
        self._publishers: dict[Market, asyncio.Task[None]] = {}
        self._reaper: asyncio.Task[None] | None = None

    def routes(self) -> list[web.RouteDef]:
        return [web.get(f"/{path}{{tail:(/.*)?}}", self._connect) for path in ("ws", "stream")]

    def subscribers(self) -> dict[str, int]:
        """Return how many connections listen to each stream."""
        return {name: len(connections) for name, connections in self._listeners.items()}

    def start(self) -> None:
        self._reaper = asyncio.create_task(self._reap())

    async def stop(self) -> None:
        """End what publishes and close all connections, without waiting for clients that don't answer."""
        tasks = [*self._publishers.values(), *filter(None, [self._reaper])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in list(self._connections)), return_exceptions=True)

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        # aiohttp would answer pings and closes of a connection that has to play dead.
        socket = web.WebSocketResponse(autoping=False, autoclose=False, compress=False, timeout=0.1)
        await socket.prepare(request)
        combined = request.path.startswith("/stream")
        connection = Connection(socket, request.transport, combined, self._faults)
        self._connections.add(connection)
        names = request.query.get("streams", "").split("/") if combined else request.match_info["tail"].split("/")
        writer = asyncio.create_task(connection.write())
        try:
            self._subscribe(connection, [name for name in names if _STREAM.fullmatch(name)])
            await self._listen(connection)
        finally:
            self._connections.discard(connection)
            self._unsubscribe(connection, list(connection.streams))
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return socket

    async def _listen(self, connection: Connection) -> None:
        while True:
            message = await connection.socket.receive()
            if message.type in (WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR):
                return
            if connection.silent:
                continue
            if message.type == WSMsgType.CLOSE:
                await connection.socket.close(code=message.data or 1000)
                return
            with contextlib.suppress(ConnectionError):
                if message.type == WSMsgType.PING:
                    await connection.socket.pong(message.data)
                elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    connection.send(self._answer(connection, message.data))

    def _answer(self, connection: Connection, text: str | bytes) -> str:
        request: Any = None
        try:
            try:
                request = msgspec.json.decode(text)
            except (msgspec.MsgspecError, UnicodeError) as error:
                raise _Invalid(3, f"Invalid JSON: {error}") from None
            answer: dict[str, Any] = {"result": self._do(connection, request)}
        except _Invalid as invalid:
            answer = {"error": {"code": invalid.code, "msg": invalid.msg}}
        id = request.get("id") if isinstance(request, dict) else None
        return msgspec.json.encode(answer | {"id": id if isinstance(id, int | str) else None}).decode()

    def _do(self, connection: Connection, request: Any) -> Any:
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
            return self._property(connection, method, names)
        if not names or not all(isinstance(name, str) and _STREAM.fullmatch(name) for name in names):
            raise _Invalid(2, "Invalid request: invalid stream")
        (self._subscribe if method == "SUBSCRIBE" else self._unsubscribe)(connection, names)
        return None

    def _property(self, connection: Connection, method: str, given: list[Any]) -> bool | None:
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

    def _subscribe(self, connection: Connection, names: list[str]) -> None:
        """Names of streams that nobody publishes are accepted and stay silent, as on the exchange."""
        for name in names:
            connection.streams[name] = None
            symbol, _, kind = name.partition("@")
            if symbol in self._markets and kind in _KINDS:
                self._listeners[name][connection] = None
                market = self._markets[symbol]
                if market not in self._publishers:
                    # Taken here, not in the task: what is published while it gets going must not be lost.
                    position = market.published(self._now())
                    self._publishers[market] = asyncio.create_task(self._publish(market, position))

    def _unsubscribe(self, connection: Connection, names: list[str]) -> None:
        for name in names:
            connection.streams.pop(name, None)
            self._listeners[name].pop(connection, None)
            if not self._listeners[name]:
                del self._listeners[name]

    async def _publish(self, market: Market, position: int) -> None:
        streams = [f"{market.symbol.lower()}@{kind}" for kind in _KINDS]
        try:
            while any(stream in self._listeners for stream in streams):
                due = market.due(position)
                if due is None:
                    return
                await asyncio.sleep(max(1, due - self._now()) / 1000)
                now = self._now()
                stop = max(position, market.published(now))
                for row in market.rows(position, stop):
                    for stream, kind in zip(streams, _KINDS, strict=True):
                        if stream in self._listeners:
                            text = event(market, kind, row, now)
                            for connection in self._listeners[stream]:
                                connection.publish(stream, text)
                position = stop
        finally:
            del self._publishers[market]

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(_REAPING)
            age = self._faults["disconnect_every"]
            for connection in [c for c in self._connections if age and c.age >= age]:
                self._faults.counts["disconnect_every"] += 1
                self._connections.discard(connection)
                connection.cut()
