"""The WebSocket streams of a simulated exchange: connections, and each trade at the moment of its publishing."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from typing import Any

from aiohttp import WSMsgType, web

from collection.simulator.connection import Connection
from collection.simulator.market import Market
from collection.simulator.protocol import Protocol

_REAPING = 0.02
_BEATING = 1.0


class Streams:
    """All connections at the protocol's paths."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol, self._now, self._faults = protocol, protocol.now, protocol.faults
        self._names = {market: protocol.streams_of(market) for market in protocol.markets.values()}
        self._published = {name: market for market, names in self._names.items() for name in names}
        self._listeners: defaultdict[str, dict[Connection, None]] = defaultdict(dict)
        self._connections: set[Connection] = set()
        self._positions: dict[Market, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        return [web.get(path, self._connect) for path in self._protocol.sockets]

    def subscribers(self) -> dict[str, int]:
        """Return how many connections listen to each stream."""
        return {name: len(connections) for name, connections in self._listeners.items()}

    def start(self) -> None:
        self._run(self._reap())
        self._run(self._beat())

    async def stop(self) -> None:
        """End what publishes and close all connections, without waiting for clients that don't answer."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in list(self._connections)), return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        # aiohttp would answer pings and closes of a connection that has to play dead.
        socket = web.WebSocketResponse(autoping=False, autoclose=False, compress=False, timeout=0.1)
        await socket.prepare(request)
        connection = Connection(socket, request.transport, request.path, self._faults)
        self._connections.add(connection)
        writer = asyncio.create_task(connection.write())
        try:
            for text in self._protocol.opened(connection, request, self):
                connection.send(text)
            await self._listen(connection)
        finally:
            self._connections.discard(connection)
            self.unsubscribe(connection, list(connection.streams))
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
            connection.hear()
            with contextlib.suppress(ConnectionError):
                if message.type == WSMsgType.PING:
                    await connection.socket.pong(message.data)
                elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    for text in self._protocol.answers(connection, message.data, self):
                        connection.send(text)

    def subscribe(self, connection: Connection, names: Iterable[str]) -> None:
        """Names of streams that nobody publishes stay silent."""
        connection.asked = True
        for name in names:
            connection.streams[name] = None
            market = self._published.get(name)
            if market is None:
                continue
            self._listeners[name][connection] = None
            if market not in self._positions:
                # Taken here, not in the task: what is published while it gets going must not be lost.
                self._positions[market] = market.published(self._now())
                self._run(self._publish(market))

    def unsubscribe(self, connection: Connection, names: Iterable[str]) -> None:
        for name in names:
            connection.streams.pop(name, None)
            self._listeners[name].pop(connection, None)
            if not self._listeners[name]:
                del self._listeners[name]

    def position(self, market: Market) -> int:
        """Return the position of the trade that listeners get next: all before it were sent to them."""
        return self._positions.get(market, market.published(self._now()))

    async def _publish(self, market: Market) -> None:
        names = self._names[market]
        try:
            while any(name in self._listeners for name in names):
                position = self._positions[market]
                due = market.due(position)
                if due is None:
                    return
                await asyncio.sleep(max(1, due - self._now()) / 1000)
                now = self._now()
                stop = max(position, market.published(now))
                rows = market.rows(position, stop)
                for name in names:
                    if name in self._listeners:
                        for text in self._protocol.messages(name, market, rows, now):
                            for connection in self._listeners[name]:
                                connection.publish(name, text)
                self._positions[market] = stop
        finally:
            del self._positions[market]

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(_REAPING)
            age, ahead = self._faults["disconnect_every"], self._faults["notice"]
            for connection in list(self._connections):
                if age and connection.age >= age:
                    self._faults.counts["disconnect_every"] += 1
                    self._connections.discard(connection)
                    connection.cut()
                elif age and ahead and connection.age >= age - ahead and not connection.warned:
                    connection.warned = True
                    if notice := self._protocol.notice(connection):
                        self._faults.counts["notice"] += 1
                        connection.send(notice)
                elif not connection.silent and (closing := self._protocol.overdue(connection)):
                    self._connections.discard(connection)
                    self._run(connection.close(*closing))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEATING)
            for connection in list(self._connections):
                for text in self._protocol.heartbeats(connection, self):
                    connection.send(text)
