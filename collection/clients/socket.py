"""One WebSocket to an exchange: connected again when it breaks, with the markets that are listened to over it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
)

from collection.clients.budget import LocalBudget
from collection.clients.wire import Event, Leaving, Rejected, Subscribed, Trades, Unread
from collection.clock import now
from collection.errors import CollectionError, RetryLater

if TYPE_CHECKING:
    from collection.clients.sockets import Sockets

log = logging.getLogger(__name__)

KEEP_ALIVE = 15.0
"""Seconds between two messages of the exchange's own kind of ping."""
SETTLING = 0.05
"""Seconds that messages wait for more: read one after the other each costs a third of what it costs alone, with what
it needs not in the processor's caches."""
TOGETHER = 0.05
"""Seconds within which subscriptions that are asked for are sent as one."""
ANSWERED = 10.0
"""Seconds within which an exchange answers to a subscription."""
PATIENCE = 20.0
"""Seconds without a connection after which streams fail."""
_TEXT, _BINARY, _CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION


class Socket(WSListener):
    """The markets in `wanted`, by symbol, over one connection; lives as long as there are any."""

    def __init__(self, pool: Sockets) -> None:
        self.wanted: dict[str, None] = {}
        self._pool, self._wire = pool, pool.wire
        self._loop = asyncio.get_running_loop()
        self._transport: WSTransport | None = None
        self._ended = False
        self._live: set[str] = set()
        self._leaving: set[str] = set()  # subscribed still, but to be no more: also where it is wanted again
        self._asked: dict[int, list[str]] = {}  # what is not answered yet, by the request's number
        self._asked_at: dict[int, float] = {}
        self._alone: set[str] = set()  # not subscribed together with others any more, as something of that was refused
        self._ignored = 0  # connections in a row that nothing was subscribed over
        self._number = 0
        self._todo = asyncio.Event()
        self._parts: list[bytes] = []  # of a message in several frames
        self._came: list[tuple[bytes, int]] = []  # messages that are not read yet, with their times of receipt
        self._reading: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(self._run())

    def add(self, symbol: str) -> None:
        """Listen to a market as well."""
        self.wanted[symbol] = None
        self._todo.set()

    def remove(self, symbol: str) -> None:
        """Do not listen to it any more; ends with its last one."""
        self.wanted.pop(symbol, None)
        self._alone.discard(symbol)
        self._leave([symbol])
        self._todo.set()

    def brings(self, symbol: str) -> bool:
        """Whether a market is subscribed."""
        return symbol in self._live

    def _leave(self, symbols: Iterable[str]) -> None:
        leaving = self._live.intersection(symbols)
        self._live -= leaving
        self._leaving |= leaving

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        down_since = self._loop.time()
        try:
            while self.wanted:
                try:
                    transport = await self._pool.dialling.dial(self)
                except RetryLater as error:
                    if error.after or self._loop.time() - down_since > PATIENCE:
                        self._pool.fail(self.wanted, error)
                    continue
                connected = self._loop.time()
                await self._serve(transport)
                down_since = self._loop.time()
                if self.wanted:
                    self._pool.dialling.broke(down_since - connected)
        finally:
            self._ended = True
            if self._transport is not None:
                self._transport.disconnect(graceful=False)
            self._pool.forget(self)

    async def _serve(self, transport: WSTransport) -> None:
        """Keep the subscriptions what they should be until the connection ends."""
        self._transport = transport
        ended = asyncio.ensure_future(transport.wait_disconnected())
        keeping = asyncio.create_task(self._keep(transport))
        try:
            await asyncio.wait([ended, keeping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            transport.disconnect(graceful=False)
            keeping.cancel()
            await asyncio.gather(ended, keeping, return_exceptions=True)
            self._transport = None
            self._read()
            self._pool.lost(self.wanted)
            self._live, self._leaving, self._asked, self._asked_at, self._parts = set(), set(), {}, {}, []

    async def _keep(self, transport: WSTransport) -> None:
        messages = LocalBudget(self._wire.limits.messages)
        pinged = self._loop.time()
        self._todo.set()
        while self.wanted:
            if self._todo.is_set():
                self._todo.clear()
                await asyncio.sleep(TOGETHER)
                await self._unsubscribe(transport, messages)
                await self._subscribe(transport, messages)
            try:
                async with asyncio.timeout_at(min(pinged + KEEP_ALIVE, self._answer_due)):
                    await self._todo.wait()
            except TimeoutError:
                if self._loop.time() >= self._answer_due:
                    log.warning("%s: a request to subscribe is not answered", self._pool.exchange)
                    self._ignored += not self._live
                    if self._live or self._ignored > 1:
                        self._unanswered()
                    if not self._live:
                        return
                if self._loop.time() < pinged + KEEP_ALIVE:
                    continue
                pinged = self._loop.time()
                if self._wire.ping is not None:
                    transport.send(WSMsgType.TEXT, self._wire.ping)

    def _unanswered(self) -> None:
        """Let no other market suffer for one that the exchange says nothing of."""
        for number in [number for number in self._asked if self._asked_at[number] + ANSWERED <= self._loop.time()]:
            symbols = self._asked.pop(number)
            if len(symbols) == 1 or not self._live:
                self._pool.fail(symbols, RetryLater(f"{self._pool.exchange}: a request to subscribe is not answered"))
            self._alone.update(symbols)
            if len(symbols) > 1:
                self._todo.set()

    @property
    def _answer_due(self) -> float:
        """When the next answer should have come at the latest."""
        return min((self._asked_at[number] + ANSWERED for number in self._asked), default=math.inf)

    async def _subscribe(self, transport: WSTransport, messages: LocalBudget) -> None:
        done = self._live.union(self._leaving, *self._asked.values())
        new = [symbol for symbol in self.wanted if symbol not in done]
        together = [symbol for symbol in new if symbol not in self._alone]
        size = self._wire.limits.together
        batches = [together[at : at + size] for at in range(0, len(together), size)]
        for batch in batches + [[symbol] for symbol in new if symbol in self._alone]:
            await messages.take()
            self._number += 1
            self._asked[self._number], self._asked_at[self._number] = batch, self._loop.time()
            transport.send(WSMsgType.TEXT, self._wire.subscribe(batch, self._number))

    async def _unsubscribe(self, transport: WSTransport, messages: LocalBudget) -> None:
        old, size = list(self._leaving), self._wire.limits.together
        for batch in [old[at : at + size] for at in range(0, len(old), size)]:
            await messages.take()
            self._leaving.difference_update(batch)
            self._number += 1
            transport.send(WSMsgType.TEXT, self._wire.unsubscribe(batch, self._number))

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the connection, or hang up where nobody waits for it any more: called by picows."""
        self._transport = transport
        if self._ended:
            transport.disconnect(graceful=False)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Note a message, with the time: called by picows."""
        kind = frame.msg_type
        if kind != _TEXT and kind != _BINARY and kind != _CONTINUATION:
            return
        message = frame.get_payload_as_bytes()
        if not frame.fin or self._parts:
            self._parts.append(message)
            if not frame.fin:
                return
            message, self._parts = b"".join(self._parts), []
        if not self._came:
            self._reading = self._loop.call_later(SETTLING, self._read)
        self._came.append((message, now()))

    def _read(self) -> None:
        """Read what came."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        came, self._came = self._came, []
        hear, deliver = self._wire.hear, self._pool.deliver
        for message, received in came:
            event = hear(message, received)
            if type(event) is Trades:
                deliver(event)
            elif event is not None:
                self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case Subscribed():
                self._subscribed(self._answered(event.symbols, event.request))
            case Rejected():
                self._rejected(event.error, event.symbols, self._answered(event.symbols, event.request))
            case Unread():
                self._pool.unread(event, self.wanted)
            case Leaving():
                log.info("%s: connecting anew: %s", self._pool.exchange, event.reason)
                if self._transport is not None:
                    self._transport.disconnect()
            case Trades():
                self._pool.deliver(event)

    def _answered(self, symbols: Sequence[str], request: int | None) -> list[str]:
        """Return whose answer it is, and note that it is answered."""
        meant = list(symbols) or self._asked.get(request or -1, [])
        for number, asked in list(self._asked.items()):
            self._asked[number] = [symbol for symbol in asked if symbol not in meant]
            if not self._asked[number]:
                del self._asked[number]
        return meant

    def _subscribed(self, symbols: Sequence[str]) -> None:
        new = [symbol for symbol in symbols if symbol in self.wanted and symbol not in self._live]
        self._ignored = 0
        self._live.update(symbols)
        self._leaving.difference_update(symbols)
        self._alone.difference_update(symbols)
        self._leave([symbol for symbol in symbols if symbol not in self.wanted])
        self._pool.dialling.succeeded()
        self._pool.subscribed(new)
        if self._leaving:
            self._todo.set()

    def _rejected(self, error: CollectionError, named: Sequence[str], symbols: Sequence[str]) -> None:
        if named or len(symbols) == 1:
            self._pool.fail(symbols, error)
        elif symbols:  # one of several is wrong, and the others should not suffer
            self._alone.update(symbols)
            self._todo.set()
        else:
            log.warning("%s: %s", self._pool.exchange, error)
