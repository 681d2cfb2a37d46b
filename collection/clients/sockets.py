"""The WebSockets of a process to one exchange: as few as its limits allow, shared by the streams of all markets."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable

from collection.backoff import HEALTHY, LONGEST, Backoff
from collection.clients.base import Refused
from collection.clients.budget import Budget
from collection.clients.queued_stream import QueuedStream
from collection.clients.socket import Socket
from collection.clients.wire import Trades, Unread, Wire
from collection.errors import CollectionError

log = logging.getLogger(__name__)

LIVED = 2.0
"""Seconds after which a connection that breaks shows that others can be had: the next is tried within as long."""


class Dialling:
    """When the next connection may be tried: one budget and one backoff for all sockets of an exchange."""

    def __init__(self, exchange: str, budget: Budget) -> None:
        self._exchange, self._budget = exchange, budget
        self._backoff = Backoff()
        self._not_before = 0.0

    async def wait(self) -> None:
        """Return when a connection may be tried."""
        while True:
            left = self._not_before - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await asyncio.sleep(left)
        await self._budget.take()

    def failed(self, error: CollectionError) -> None:
        """None could be made."""
        after: float | None = getattr(error, "after", None)
        self._pause(max(self._backoff.next(), after or 0.0), str(error))

    def broke(self, lived: float) -> None:
        """One ended after so many seconds."""
        if lived >= HEALTHY:
            self._backoff.reset()
        self._pause(min(self._backoff.next(), LONGEST if lived < LIVED else lived), "the connection broke")

    def succeeded(self) -> None:
        """One brings what it should."""
        self._not_before = 0.0

    def _pause(self, seconds: float, why: str) -> None:
        log.warning("%s: %s; connecting in %.1f s", self._exchange, why, seconds)
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + seconds)


class Sockets:
    """Which streams listen to which market, and over which socket it comes."""

    def __init__(
        self,
        wire: Wire,
        address: str,
        proxy: str | None,
        connections: Budget,
        unread: Callable[[str, str], None],
    ) -> None:
        self.wire, self.exchange, self.address, self.proxy = wire, wire.exchange, address, proxy
        self.dialling = Dialling(wire.exchange, connections)
        self._unread = unread
        self._streams: defaultdict[str, list[QueuedStream]] = defaultdict(list)
        self._sockets: list[Socket] = []
        self._places: dict[str, Socket] = {}

    def open(self, market: str) -> QueuedStream:
        """Listen to a market."""
        symbol = self.wire.symbol(market)
        stream = QueuedStream(f"{self.exchange} {market}", symbol, self._renew, self._close)
        self._streams[symbol].append(stream)
        if symbol not in self._places:
            self._place(symbol)
        elif self._places[symbol].brings(symbol):
            stream.mark_fresh()
        return stream

    async def close(self) -> None:
        """Close all sockets; the streams end."""
        for streams in self._streams.values():
            for stream in streams:
                stream.end()
        self._streams.clear()
        self._places.clear()
        await asyncio.gather(*(socket.close() for socket in list(self._sockets)))

    def deliver(self, event: Trades) -> None:
        """Hand trades to those who listen."""
        for stream in self._streams.get(event.symbol, ()):
            stream.put(event.trades, event.refused)

    def unread(self, event: Unread, symbols: Iterable[str]) -> None:
        """Tell those whom a message may have concerned that it can't be read."""
        self._unread(event.text, event.error)
        record = Refused("unreadable", f"{event.text} ({event.error})", "")
        concerned = [event.symbol] if event.symbol else list(symbols)
        if self.wire.by == "id":
            del concerned[1:]  # it is counted once: by ids a hole shows by itself
        for symbol in concerned:
            for stream in self._streams.get(symbol, ()):
                stream.put((), (record,))

    def subscribed(self, symbols: Iterable[str]) -> None:
        """Tell streams that they are connected."""
        for symbol in symbols:
            for stream in self._streams.get(symbol, ()):
                stream.mark_fresh()

    def lost(self, symbols: Iterable[str]) -> None:
        """Tell streams that they are not."""
        for symbol in symbols:
            for stream in self._streams.get(symbol, ()):
                stream.live = False

    def fail(self, symbols: Iterable[str], error: CollectionError) -> None:
        """Let streams fail."""
        for symbol in symbols:
            for stream in self._streams.get(symbol, ()):
                stream.fail(error)

    def forget(self, socket: Socket) -> None:
        """A socket ended."""
        if socket in self._sockets:
            self._sockets.remove(socket)
        for symbol in [symbol for symbol, place in self._places.items() if place is socket]:
            del self._places[symbol]
            if self._streams.get(symbol):
                self._place(symbol)

    def _place(self, symbol: str, but: Socket | None = None) -> None:
        room = (one for one in self._sockets if one is not but and len(one.wanted) < self.wire.limits.markets)
        socket = next(room, None)
        if socket is None:
            socket = Socket(self)
            self._sockets.append(socket)
        self._places[symbol] = socket
        socket.add(symbol)

    def _renew(self, stream: QueuedStream) -> None:
        """Subscribe over another socket: on its own, the subscription has died."""
        symbol, old = stream.market, self._places.get(stream.market)
        self.lost([symbol])
        if old is not None:
            old.remove(symbol)
        self._place(symbol, but=old)

    async def _close(self, stream: QueuedStream) -> None:
        streams = self._streams.get(stream.market, [])
        if stream in streams:
            streams.remove(stream)
        if not streams and (socket := self._places.pop(stream.market, None)) is not None:
            del self._streams[stream.market]
            socket.remove(stream.market)
