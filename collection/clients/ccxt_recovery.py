"""What becomes of subscriptions whose connection breaks, or that an exchange refuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from collection.backoff import HEALTHY, LONGEST, Backoff
from collection.clients.ccxt_errors import dial_error, is_network_error, sorted_error
from collection.clients.ccxt_subscription import Subscription
from collection.clients.queued_stream import QueuedStream
from collection.errors import CollectionError, RetryLater

if TYPE_CHECKING:
    from collection.clients.ccxt_socket import Socket

log = logging.getLogger(__name__)

PATIENCE = 20.0
"""Seconds without a connection after which a stream fails."""
LIVED = 2.0
"""Seconds after which a connection that breaks shows that others can be had: the next is tried within as long."""
ANSWERED = 10.0
"""Seconds within which an exchange refuses a subscription, if it does."""
RENEWING = 30.0
"""Seconds between two renewals of one socket, at the least."""
WHOLE = ""
"""The exchange, where something failed before any socket."""


class Recovery:
    """Lets what broke be asked for again, by `ask_for`, later and later; tells streams when that takes too long."""

    def __init__(
        self,
        exchange: str,
        subscriptions: Mapping[str, Subscription],
        ask_for: Callable[[Iterable[Subscription]], None],
        silence: Callable[[float], None],
    ) -> None:
        self._exchange, self._subscriptions = exchange, subscriptions
        self._ask_for, self._silence = ask_for, silence
        self._loop = asyncio.get_running_loop()
        self._backoffs: dict[str, Backoff] = {}
        self._connected_at: dict[str, float] = {}
        self._renewed_at: dict[str, float] = {}
        self._renewing: set[Socket] = set()

    def connected(self, socket: Socket) -> None:
        self._connected_at[socket.url] = self._loop.time()
        self._backoffs.pop(WHOLE, None)

    def lost(self, socket: Socket, error: Exception) -> None:
        """A connection broke, or could not be made."""
        kind = dial_error(self._exchange, error, socket.last_retry_after)
        connected = self._connected_at.pop(socket.url, None)
        lived = 0.0 if connected is None else self._loop.time() - connected
        if lived >= HEALTHY:
            self._backoffs.pop(socket.url, None)
        if kind.limited and kind.after:
            self._silence(kind.after)
        if on_it := self.on(socket):
            pause = max(min(self._backoff(socket.url), LONGEST if lived < LIVED else lived), kind.after or 0.0)
            log.warning("%s: no connection for %d markets; trying in %.1f s: %s",
                        self._exchange, len(on_it), pause, kind)  # fmt: skip
            self._again(on_it, kind, pause)

    def rejected(self, socket: Socket, error: Exception, message_hash: str | None) -> None:
        """The exchange refused something, of which it named what ccxt knows it by, or nothing."""
        from ccxt import UnsubscribeError

        if isinstance(error, UnsubscribeError):
            return
        on_it = self.on(socket)
        if message_hash is not None:
            meant = [one for one in on_it if message_hash in one.hashes]
        else:
            since = self._loop.time() - ANSWERED
            meant = [one for one in on_it if not one.heard and one.asked_at >= since]
        meant = [one for one in meant if any(name in str(error) for name in one.names)] or meant
        for one in meant:
            socket.forget(one.hashes)
        self.refuse(meant, error)

    def refuse(self, meant: Sequence[Subscription], error: Exception) -> None:
        """Subscriptions failed, for a reason of their own or of the exchange."""
        if not meant:
            return
        kind = error if isinstance(error, CollectionError) else sorted_error(self._exchange, error, {})
        if isinstance(error, RetryLater) or is_network_error(error):
            self._again(meant, kind, self._backoff(WHOLE))
            return
        if len(meant) > 1:
            kind = RetryLater(str(kind))  # which of them is meant can't be told
            if not all(one.alone for one in meant):  # one bad market must not take the others with it
                for one in meant:
                    one.alone = True
                self._again(meant, kind, 0.0)
                return
        if isinstance(kind, RetryLater):
            self._again(meant, kind, self._backoff(WHOLE))
        for one in meant:
            one.fail(kind)

    def _again(self, subscriptions: Sequence[Subscription], kind: CollectionError, pause: float) -> None:
        after = (isinstance(kind, RetryLater) and kind.after) or 0.0
        for one in subscriptions:
            one.reset(kind)
            self.have_patience(one)
            if after:
                one.fail(kind)
        self._loop.call_later(max(pause, after), self._ask_again, subscriptions)

    def _ask_again(self, subscriptions: Sequence[Subscription]) -> None:
        self._ask_for([one for one in subscriptions if self._subscriptions.get(one.market) is one])

    def have_patience(self, one: Subscription) -> None:
        """Let a subscription fail that has no connection for too long."""
        if one.timer is None:
            one.timer = self._loop.call_later(PATIENCE, self._give_up, one)

    def _give_up(self, one: Subscription) -> None:
        one.timer = None
        if self._subscriptions.get(one.market) is not one or one.live:
            return
        if not any(socket.is_open for socket in one.sockets):
            why = one.error or "no answer"
            one.fail(RetryLater(f"{self._exchange}: {one.market}: no connection for {PATIENCE:g} s: {why}"))
        self.have_patience(one)

    def renew(self, stream: QueuedStream) -> None:
        """Let all markets of the stream's socket connect anew: ccxt would not subscribe again over the same one."""
        one = self._subscriptions.get(stream.market)
        for socket in one.sockets - self._renewing if one else ():
            self._renewing.add(socket)
            at = self._renewed_at.get(socket.url, -RENEWING) + RENEWING
            self._loop.call_later(max(0.0, at - self._loop.time()), self._renew, socket)

    def _renew(self, socket: Socket) -> None:
        self._renewing.discard(socket)
        if not socket.ended and (on_it := self.on(socket)):
            self._renewed_at[socket.url] = self._loop.time()
            error = RetryLater(f"{self._exchange}: connecting anew")
            self._again(on_it, error, 0.0)
            socket.on_error(error)

    def on(self, socket: Socket) -> list[Subscription]:
        """All that is subscribed over a socket."""
        return [one for one in self._subscriptions.values() if socket in one.sockets]

    def _backoff(self, url: str) -> float:
        return self._backoffs.setdefault(url, Backoff()).next()
