"""ccxt's WebSocket client and its cache of trades, replaced where they lose messages, digits or dead connections."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Any, Protocol

import ccxt
from aiohttp import WSMsgType
from ccxt.async_support.base.ws.client import Client
from ccxt.async_support.base.ws.functions import is_json_encoded_object

log = logging.getLogger(__name__)

PING = 10.0
"""Seconds between two pings, at the most."""
UNHEARD = 2
"""Pings after which a connection that brought nothing, not even a pong, is dead."""
CONNECT = 10.0
"""Seconds that a connection may take."""
FAREWELL = 0.5
"""Seconds that the other side has to answer a closing handshake."""
SENDS = {"binance": 4.0, "binanceus": 4.0, "binanceusdm": 4.0, "binancecoinm": 4.0}
"""Messages a second that may be sent over one socket (Binance cuts after 5, of which one is left to pings)."""
OTHERS_SEND = 10.0
_decode = json.JSONDecoder(parse_float=str).decode


class Owner(Protocol):
    """Who is told what happens to a socket."""

    def connected(self, socket: Socket) -> None: ...
    def sent(self, socket: Socket, message: Any) -> None: ...
    def lost(self, socket: Socket, error: Exception) -> None: ...
    def rejected(self, socket: Socket, error: Exception, message_hash: str | None) -> None: ...
    def begin_message(self) -> None: ...
    def end_message(self) -> None: ...
    def unreadable(self, socket: Socket, text: str, error: Exception) -> None: ...
    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]: ...


class Socket(Client):  # type: ignore[misc]
    """ccxt's client of one WebSocket, which reads on whatever comes and notices when nothing comes."""

    owner: Owner
    ended: bool
    """Whether it is broken or closed: what still comes of it is not read."""
    silent_deaths: dict[str, int]
    """How often in a row connections to a URL died without one answer to a ping, by URL; shared by an exchange."""
    connecting: bool
    _heard: bool
    _ponged: bool
    _rejecting: bool
    _pace: float
    _outgoing: deque[Any]
    _dialing: asyncio.Task[Any] | None
    _reading: asyncio.Task[None] | None
    _writing: asyncio.Task[None] | None

    @classmethod
    def adopt(cls, client: Any, owner: Owner, exchange: str, silent_deaths: dict[str, int]) -> Socket:
        """Turn ccxt's client object, which has not connected yet, into one of these."""
        client.__class__ = cls
        socket: Socket = client
        socket.owner, socket.silent_deaths = owner, silent_deaths
        socket.ended = socket._heard = socket._ponged = socket._rejecting = False
        socket._dialing = socket._reading = socket._writing = None
        socket._outgoing = deque()
        socket._pace = 1 / SENDS.get(exchange, OTHERS_SEND)
        socket.connectionTimeout = CONNECT * 1000
        socket.throttle = _at_once
        return socket

    @property
    def is_open(self) -> bool:
        return bool(self.isConnected) and not self.ended

    def forget(self, hashes: Iterable[str]) -> None:
        """Let ccxt subscribe again to what it takes for subscribed."""
        for name in hashes:
            self.subscriptions.pop(name, None)

    def connect(self, session: Any, backoff_delay: float = 0) -> Any:
        if not self.connection and not self.connecting:
            self.connecting = True
            self._dialing = self.owner.start(self.open(session))
        return self.connected

    def receive_loop(self) -> None:
        if not self.ended:
            self._reading = self.owner.start(self._read())

    async def _read(self) -> None:
        try:
            while not self.ended:
                self._take(await self.connection.receive())
        except Exception as error:
            self.on_error(error)

    def _take(self, message: Any) -> None:
        self._heard = True
        if message.type in (WSMsgType.CLOSED, WSMsgType.CLOSING):
            self.on_close(1006)
            return
        if message.type == WSMsgType.PONG:
            self._ponged = True
            self.silent_deaths.pop(self.url, None)
        self.owner.begin_message()
        try:
            self.handle_message(message)
        except Exception as error:  # in ccxt, it ends the reading, and the connection stays open and silent
            self.owner.unreadable(self, _text(message.data), error)
        finally:
            self.owner.end_message()

    def handle_text_or_binary_message(self, data: str | bytes) -> None:
        if self.decompressBinary and isinstance(data, bytes):
            data = data.decode()
        # ccxt's parser makes floats of numbers: digits are lost, and ids of more than 64 bits become one another.
        read = _decode(data) if isinstance(data, str) and is_json_encoded_object(data) else data
        self.on_message_callback(self, read)

    async def ping_loop(self) -> None:
        # Counted, not timed: a clock that jumps or a process that was stopped must not look like a dead connection.
        interval = min(PING, (self.keepAlive or PING * 1000) / 1000)
        # A server that never answered a ping may not do so at all: then the connection is given more and more time.
        most, unheard = UNHEARD << min(self.silent_deaths.get(self.url, 0), 6), 0
        while not self.ended:
            await asyncio.sleep(interval)
            unheard = 0 if self._heard else unheard + 1
            if unheard >= most:
                if not self._ponged:
                    self.silent_deaths[self.url] = self.silent_deaths.get(self.url, 0) + 1
                self.on_error(ccxt.RequestTimeout(f"{self.url}: nothing came for {unheard * interval:g} s"))
                return
            self._heard = False
            try:
                async with asyncio.timeout(interval):
                    await (self.send(self.ping(self)) if self.ping else self.connection.ping())
            except TimeoutError:
                continue  # its buffer is full
            except Exception as error:
                self.on_error(error)
                return

    async def send(self, message: Any) -> None:
        self._outgoing.append(message)
        if not self._writing:
            self._writing = self.owner.start(self._write())

    async def _write(self) -> None:
        try:
            while self._outgoing and not self.ended:
                message = self._outgoing.popleft()
                await super().send(message)
                self.owner.sent(self, message)
                await asyncio.sleep(self._pace)
        except Exception as error:
            self.on_error(error)
        finally:
            self._writing = None

    def reject(self, result: Any, message_hash: str | None = None) -> Any:
        if self.ended or self._rejecting:
            return super().reject(result, message_hash)
        self.owner.rejected(self, result, message_hash)
        self._rejecting = message_hash is None  # then ccxt rejects all that it waits for, one by one
        try:
            return super().reject(result, message_hash)
        finally:
            self._rejecting = False

    def reset(self, error: Any) -> None:
        self.on_error(error if isinstance(error, Exception) else ccxt.NetworkError(str(error)))

    def on_error(self, error: Exception) -> None:
        self._end(error)

    def on_close(self, code: int) -> None:
        self._end(ccxt.NetworkError(f"the other side closed the connection ({code})"))

    def _end(self, error: Exception) -> None:
        if self.ended:
            return
        self.ended = True
        self.error = error
        self.on_error_callback(self, error)
        self.owner.lost(self, error)
        super().reject(error)
        self.owner.start(self.aiohttp_close())

    async def close(self, code: int = 1000) -> None:
        self.ended = True
        for future in self.futures.values():
            future.cancel()
        await self.aiohttp_close()

    async def aiohttp_close(self) -> None:
        for task in (self._dialing, self.ping_looper, self._reading, self._writing):
            if task and task is not asyncio.current_task():
                task.cancel()
        if not self.closed():
            try:
                async with asyncio.timeout(FAREWELL):
                    await self.connection.close()
            except TimeoutError:
                pass  # aiohttp has dropped the connection
            except Exception as error:
                log.debug("closing a socket: %r", error)


async def _at_once(cost: float = 1) -> None:
    """Instead of ccxt's throttle, which goes by the limits of REST."""


def _text(data: Any) -> str:
    return data if isinstance(data, str) else repr(data)
