"""One client of the streams: what waits to be sent to it, and what goes wrong with it on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque

from aiohttp import web

from collection.simulator.faults import Faults

_MOST_WAITING = 50_000
"""Messages. The exchange, too, cuts clients that don't read."""
_LATE = 0.1
"""Seconds after which a message that waits for its successor is sent without one."""


class Connection:
    """A WebSocket that never makes the publisher wait: messages queue up, a task of its own writes them."""

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, path: str, faults: Faults
    ) -> None:
        self.socket, self.path = socket, path
        self.id = uuid.uuid4().hex
        self.combined = False
        """Whether messages are wrapped as `{"stream":…,"data":…}`."""
        self.warned = False
        """Whether its end was announced."""
        self.asked = False
        """Whether the client ever asked for a stream."""
        self.silent = False
        """Whether it plays dead: half-open, no data and no answers any more."""
        self.streams: dict[str, None] = {}
        self._deaf: set[str] = set()
        self._transport, self._faults = transport, faults
        self._loop = asyncio.get_running_loop()
        self._opened = self._active = self._loop.time()
        self._waiting: deque[str] = deque()
        self._wake = asyncio.Event()
        self._held: list[str] = []

    @property
    def age(self) -> float:
        """Seconds since it was opened."""
        return self._loop.time() - self._opened

    @property
    def idle(self) -> float:
        """Seconds since anything was sent or heard."""
        return self._loop.time() - self._active

    def hear(self) -> None:
        """Note that the client said something."""
        self._active = self._loop.time()

    def publish(self, stream: str, text: str) -> None:
        """Send a message of a stream, with whatever the faults make of it."""
        if self.silent or self._faults.happens("halfopen"):
            self.silent = True
            return
        if stream in self._deaf or self._faults.happens("deaf"):
            self._deaf.add(stream)
            return
        if self._faults.happens("lose"):
            return
        if self._faults.happens("malform"):
            text = self._faults.malformed(text)
        message = f'{{"stream":"{stream}","data":{text}}}' if self.combined else text
        if self._faults.happens("cut"):
            message = message[: len(message) // 2]
        if not self._held and self._faults.happens("reorder", "stream_reorder"):
            self._held.append(message)
            self._loop.call_later(_LATE, self._release)
            return
        self.send(message)
        if self._faults.happens("repeat", "stream_repeat"):
            self.send(message)
        self._release()

    def _release(self) -> None:
        while self._held:
            self.send(self._held.pop())

    def send(self, message: str) -> None:
        """Queue a message as it is."""
        if self.silent:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._faults.counts["slow_client_cut"] += 1
            self.silent = True
            self.cut()
            return
        self._waiting.append(message)
        self._wake.set()

    async def write(self) -> None:
        """Send what is queued, until the connection ends."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._active = self._loop.time()
                while self._waiting and not self.silent:
                    await self.socket.send_str(self._waiting.popleft())
                    self._faults.counts["messages"] += 1

    def cut(self) -> None:
        """End it as a broken line does: without a closing handshake."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self, code: int = 1001, reason: bytes = b"the simulator stops") -> None:
        """Say goodbye where the client listens, and hang up."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            if not self.silent:
                await self.socket.close(code=code, message=reason)
        self.cut()
