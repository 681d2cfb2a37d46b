"""What came over the sockets, message by message: trades to the streams of their market, and a note of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from collection.clients.base import Refused
from collection.clients.ccxt_exchange import read_trades
from collection.clients.ccxt_subscription import Subscription
from collection.clock import now
from collection.errors import ConfigurationError
from collection.records import Trade

if TYPE_CHECKING:
    from collection.clients.ccxt_socket import Socket

SHOWN = 500
"""Characters that are kept of a message that can't be read."""


class Delivery:
    """Keeps the trades of one message together, as their ids are made of them where they have none."""

    def __init__(
        self,
        subscriptions: Mapping[str, Subscription],
        numbered: bool,
        live: Callable[[list[Subscription]], None],
        is_like_rest: Callable[[Trade], bool],
        unread: Callable[[str, Exception], None],
    ) -> None:
        self._subscriptions, self._numbered = subscriptions, numbered
        self._live, self._is_like_rest, self._unread = live, is_like_rest, unread
        self._loop = asyncio.get_running_loop()
        self._rows: dict[str, list[Any]] = {}
        self._in_message = False

    def begin_message(self) -> None:
        self._in_message = True

    def take(self, market: str, row: Any) -> None:
        """Take a row as ccxt read it, to be delivered at the end of the message."""
        rows = self._rows.get(market)
        if rows is not None:
            rows.append(row)
            return
        if not self._rows and not self._in_message:  # of a task that ccxt left the message to
            self._loop.call_soon(self._deliver)
        self._rows[market] = [row]

    def end_message(self) -> None:
        self._in_message = False
        if self._rows:
            self._deliver()

    def _deliver(self) -> None:
        by_market, self._rows = self._rows, {}
        received = now()
        for market, rows in by_market.items():
            one = self._subscriptions.get(market)
            if one is None:
                continue
            if not one.live:  # the answer was faster than the note that the question was sent
                self._live([one])
            one.heard = True
            trades, refused = read_trades(rows, market, received, self._numbered)
            if trades and not self._is_like_rest(trades[0]):
                one.fail(ConfigurationError(f"{market}: live trades and those of REST have different ids; poll it"))
                continue
            for stream in one.streams:
                stream.put(trades, refused)

    def unreadable(self, socket: Socket, text: str, error: Exception) -> None:
        """Note a message that can't be read; where trades are not numbered, any market of its socket may miss some.

        It is counted at the first of these, for somewhere it must be seen.
        """
        on_it = [one for one in self._subscriptions.values() if socket in one.sockets]
        whose = "" if len(on_it) == 1 else f", of one of {len(on_it)} markets"
        for one in on_it[:1]:
            for stream in one.streams:
                stream.put((), [Refused("unreadable", f"{text[:SHOWN]} ({error!r}){whose}", "")])
        if len(on_it) != 1:
            self._unread(text[:SHOWN], error)
        for one in on_it:
            if one.live and not self._numbered:
                one.mark_fresh()
