"""The WebSockets of a process to one exchange: as few as its limits allow, shared by the streams of all markets."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable

from collection.clients.base import Refused
from collection.clients.budget import Budget
from collection.clients.dialling import Dialling
from collection.clients.queued_stream import QueuedStream
from collection.clients.socket import Socket
from collection.clients.wire import Trades, Unread, Wire
from collection.errors import CollectionError

log = logging.getLogger(__name__)


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
        self.wire, self.exchange = wire, wire.exchange
        self.dialling = Dialling(wire.exchange, address, proxy, connections)
        self._unread = unread
        self._streams: defaultdict[str, list[QueuedStream]] = defaultdict(list)
        self._sockets: list[Socket] = []
        self._places: dict[str, Socket] = {}

    def open(self, market: str) -> QueuedStream:
        """Listen to a market."""
        symbol = self.wire.symbol(market)
        stream = QueuedStream(f"{self.exchange} {market}", symbol, self._renew, self._close, settling=0.0)
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
        """Hand trades to those who listen; a subscription that is not (or no more) known to live brings nothing."""
        for stream in self._streams.get(event.symbol, ()):
            if stream.live:
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
