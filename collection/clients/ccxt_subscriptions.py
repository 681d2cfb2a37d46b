"""Which markets of an exchange are listened to over which sockets, and the subscribing to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from collection.clients.ccxt_delivery import Delivery
from collection.clients.ccxt_leaving import Leaving
from collection.clients.ccxt_recovery import Recovery
from collection.clients.ccxt_subscription import TOGETHER, Places, Subscription, asking, batch_size
from collection.clients.queued_stream import QueuedStream
from collection.errors import ConfigurationError, RetryLater
from collection.records import Trade

if TYPE_CHECKING:
    from collection.clients.ccxt_socket import Socket

log = logging.getLogger(__name__)

_REQUEST = ("id", "req_id", "reqid")
"""What exchanges call the number of a request."""


class Subscriptions:
    """All live trades of one exchange; used within one event loop.

    Args:
        exchange: Its id.
        numbered: Whether its trades have contiguous ids, so that a collector sees itself which are missing.
        load: Returns ccxt's object, with the market known to it; raises as `CEXClient` says.
        is_like_rest: Whether a trade has an id of the kind that trades have over REST.
        silence: Is told for how many seconds the exchange wants to be left alone.
        unread: Is told of a message that can't be read, and why.
    """

    def __init__(
        self,
        exchange: str,
        numbered: bool,
        load: Callable[[str], Awaitable[Any]],
        is_like_rest: Callable[[Trade], bool],
        silence: Callable[[float], None],
        unread: Callable[[str, Exception], None],
    ) -> None:
        self._exchange, self._load = exchange, load
        self._batch = batch_size(exchange)
        self._loop = asyncio.get_running_loop()
        self._ccxt: Any = None
        self._subscriptions: dict[str, Subscription] = {}
        self._starting: asyncio.TimerHandle | None = None
        self._unsent: list[tuple[Socket, Any, list[Subscription]]] = []
        self._places = Places()
        self._leaving = Leaving(exchange, self._subscriptions, self._places, self.start)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._recovery = recovery = Recovery(exchange, self._subscriptions, self._ask_for, silence)
        self.rejected = recovery.rejected
        delivery = Delivery(self._subscriptions, numbered, self._go_live, is_like_rest, unread)
        self.take, self.unreadable = delivery.take, delivery.unreadable
        self.begin_message, self.end_message = delivery.begin_message, delivery.end_message

    def open(self, market: str) -> QueuedStream:
        """Listen to a market."""
        stream = QueuedStream(f"trades:{self._exchange}:{market}", market, self._recovery.renew, self._leave)
        one = self._subscriptions.get(market)
        if one is None:
            one = self._subscriptions[market] = Subscription(market)
            self._recovery.have_patience(one)
            self._ask_for([one])
        one.streams.append(stream)
        if one.live:
            stream.mark_fresh()
        elif isinstance(one.error, ConfigurationError):
            stream.fail(one.error)
        return stream

    async def close(self) -> None:
        """End all streams and tasks; the sockets are ccxt's to close, after this."""
        for one in self._subscriptions.values():
            one.end()
        self._subscriptions.clear()
        if self._starting:
            self._starting.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in the background until it ends, or all is closed."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("%s: streams: %r", self._exchange, error, exc_info=error)

    # Subscribing

    def _ask_for(self, subscriptions: Iterable[Subscription]) -> None:
        for one in subscriptions:
            one.due = one.batch is None
        if self._starting is None:
            self._starting = self._loop.call_later(TOGETHER, self._start_due)

    def _start_due(self) -> None:
        self._starting = None
        due = [one for one in self._subscriptions.values() if one.due]
        for one in due:
            one.due = False
        if due:
            self.start(self._subscribe(due))

    async def _subscribe(self, due: list[Subscription]) -> None:
        await self._leaving.wait_for(due)
        groups: dict[Any, list[Subscription]] = {}
        for at, one in enumerate(due):
            try:
                self._attach(await self._load(one.market))
            except ConfigurationError as error:
                self._recovery.refuse([one], error)
            except RetryLater as error:  # the others would have to wait for the same
                self._recovery.refuse(due[at:], error)
                break
            else:
                groups.setdefault(self._group(one), []).append(one)
        size = self._batch if groups and self._takes_many else 1
        for group in groups.values():
            for begin in range(0, len(group), size):
                self.start(self._ask(group[begin : begin + size]))

    def _attach(self, exchange: Any) -> None:
        if exchange is not self._ccxt:
            from collection.clients.ccxt_hooks import attach  # imports ccxt, which takes half a second

            attach(exchange, self)
            self._ccxt = exchange

    @property
    def _takes_many(self) -> bool:
        return bool(self._ccxt.has.get("watchTradesForSymbols"))

    def _group(self, one: Subscription) -> tuple[Any, ...]:
        """What markets must have in common to share a message: ccxt takes the URL from the first one."""
        market = self._ccxt.market(one.market)
        one.names = {one.market, str(market["id"])}
        kind = market["type"], market.get("linear"), market.get("inverse"), market.get("linear") and market["settle"]
        return (*kind, one.market if one.alone else None)

    async def _ask(self, group: list[Subscription]) -> None:
        """Let ccxt subscribe; it returns with the first trade, which came to its sink before."""
        batch = [one for one in group if self._subscriptions.get(one.market) is one]
        if not batch:
            return
        for one in batch:
            one.batch = batch
        asking.set(batch)
        try:
            if self._takes_many:
                await self._ccxt.watch_trades_for_symbols([one.market for one in batch])
            else:
                await self._ccxt.watch_trades(batch[0].market)
        except Exception as error:
            # What became of those that sit on a socket was told by it.
            self._recovery.refuse([one for one in batch if one.batch is batch and not one.sockets], error)

    def place(self, kind: str) -> str | None:
        """Return the number of the socket that the markets of this task share."""
        markets = [one.market for one in asking.get()]
        return str(self._places.together(kind, markets)) if markets else None

    def linked(self, socket: Socket, hashes: Sequence[str], keys: Sequence[str], message: Any) -> None:
        """The markets of this task sit on a socket, once the message is sent that subscribes to them."""
        asked = asking.get()
        batch = [one for one in asked if one.batch is asked and self._subscriptions.get(one.market) is one]
        if not batch:
            if asked and not self._recovery.on(socket):
                self.start(self._hang_up(socket))  # they left while ccxt was asking
            return
        own = len(hashes) == len(asked) == len(batch)
        for at, one in enumerate(batch):
            one.sockets.add(socket)
            one.hashes.update(hashes[at : at + 1] if own else hashes)
            one.hashes.update(keys[at : at + 1] if own and len(keys) == len(batch) else keys)
            if isinstance(message, dict):  # some name the request that they refuse, not the market
                one.hashes.update(str(message[name]) for name in _REQUEST if name in message)
        if message is None and socket.is_open:
            self._go_live(batch)
        else:
            self._unsent.append((socket, message, batch))

    def connected(self, socket: Socket) -> None:
        self._recovery.connected(socket)
        self.sent(socket, None)

    def sent(self, socket: Socket, message: Any) -> None:
        """A message was sent, or the connection made that needs none."""
        for entry in [entry for entry in self._unsent if entry[0] is socket and entry[1] is message]:
            self._unsent.remove(entry)
            self._go_live(one for one in entry[2] if socket in one.sockets)

    def lost(self, socket: Socket, error: Exception) -> None:
        self._unsent = [entry for entry in self._unsent if entry[0] is not socket]
        self._recovery.lost(socket, error)

    def _go_live(self, subscriptions: Iterable[Subscription]) -> None:
        for one in subscriptions:
            if not one.live:
                one.go_live(self._loop.time())

    # Leaving

    async def _leave(self, stream: QueuedStream) -> None:
        one = self._subscriptions.get(stream.market)
        if one is None or stream not in one.streams:
            return
        one.streams.remove(stream)
        if one.streams:
            return
        del self._subscriptions[one.market]
        one.end()
        empty = [socket for socket in one.sockets if not self._recovery.on(socket)]
        if one.sockets and not empty:
            self._leaving.add(self._ccxt, one)
        else:
            self._places.leave(one.market)
        for socket in empty:
            await self._hang_up(socket)

    async def _hang_up(self, socket: Socket) -> None:
        self._unsent = [entry for entry in self._unsent if entry[0] is not socket]
        self._ccxt.clients.pop(socket.url, None)
        await socket.close()
