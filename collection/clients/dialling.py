"""How connections to one exchange are made: not too many, and none for a while where that would not help."""

from __future__ import annotations

import asyncio
import logging

from picows import WSAutoPingStrategy, WSHandshakeError, WSListener, WSTransport, ws_connect

from collection.backoff import HEALTHY, LONGEST, Backoff
from collection.clients.answers import in_short, status_error
from collection.clients.budget import Budget
from collection.errors import RetryLater

log = logging.getLogger(__name__)
_every_connection = logging.getLogger(f"{__name__}.picows")
_every_connection.setLevel(logging.WARNING)

CONNECTING = 10.0
"""Seconds for a connection and its handshake."""
IDLE, ANSWER = 10.0, 5.0
"""Seconds without a byte after which a ping is sent, and those that its answer may take."""
LARGEST = 64 * 1024 * 1024
"""Bytes of one message."""
LIVED = 2.0
"""Seconds after which a connection that breaks shows that others can be had: the next is tried within as long."""


class Dialling:
    """One budget for all sockets of an exchange, and pauses that grow: with failures to connect, and with breaks."""

    def __init__(self, exchange: str, address: str, proxy: str | None, budget: Budget) -> None:
        self._exchange, self._address, self._proxy, self._budget = exchange, address, proxy, budget
        self._failures, self._breaks = Backoff(), Backoff()
        self._not_before = self._banned_until = 0.0

    async def dial(self, listener: WSListener) -> WSTransport:
        """Connect, as soon as that may be tried; raises RetryLater."""
        while True:
            left = max(self._not_before, self._banned_until) - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await asyncio.sleep(left)
        try:
            await self._budget.take()
            return await self._connect(listener)
        except RetryLater as error:
            self._pause(max(self._failures.next(), error.after or 0.0), str(error))
            if error.after:
                self._banned_until = self._not_before
            raise

    async def _connect(self, listener: WSListener) -> WSTransport:
        exchange = self._exchange
        try:
            async with asyncio.timeout(2 * CONNECTING):  # each of its parts ends itself before
                transport, _ = await ws_connect(
                    lambda: listener,
                    self._address,
                    websocket_handshake_timeout=CONNECTING,
                    enable_auto_ping=True,
                    auto_ping_idle_timeout=IDLE,
                    auto_ping_reply_timeout=ANSWER,
                    auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
                    max_frame_size=LARGEST,
                    logger_name=_every_connection,
                    proxy=self._proxy,
                )
                return transport
        except WSHandshakeError as error:
            if error.response is None:
                raise RetryLater(f"{exchange}: {in_short(error)}") from None
            status, headers = int(error.response.status), dict(error.response.headers.items())
            raise status_error(exchange, status, headers, " to a WebSocket's handshake") from None
        except TimeoutError:
            raise RetryLater(f"{exchange}: no connection within {CONNECTING:g} s") from None
        except Exception as error:  # of a proxy, too: what is not foreseen here must not be tried again without a pause
            raise RetryLater(f"{exchange}: no connection: {in_short(error)}") from None

    def broke(self, lived: float) -> None:
        """One ended after so many seconds."""
        if lived >= HEALTHY:
            self._breaks.reset()
        self._pause(min(self._breaks.next(), LONGEST if lived < LIVED else lived), "the connection broke")

    def succeeded(self) -> None:
        """One brings what it should."""
        self._not_before = 0.0
        self._failures.reset()

    def _pause(self, seconds: float, why: str) -> None:
        log.warning("%s: %s; connecting in %.1f s", self._exchange, why, seconds)
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + seconds)
