"""Ending the subscriptions to markets that nobody listens to any more, while others go on over the same socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from collection.clients.ccxt_subscription import TOGETHER, Places, Subscription, asking, batch_size

if TYPE_CHECKING:
    from collection.clients.ccxt_socket import Socket

log = logging.getLogger(__name__)

ANSWERED = 5.0
"""Seconds that an exchange may take to end a subscription."""


class Leaving:
    """Those that are to be left; what is ended together is sent together."""

    def __init__(
        self,
        exchange: str,
        subscriptions: Mapping[str, Subscription],
        places: Places,
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._exchange, self._subscriptions, self._places, self._start = exchange, subscriptions, places, start
        self._loop = asyncio.get_running_loop()
        self._left: list[Subscription] = []
        self._ending: dict[str, asyncio.Task[None]] = {}

    def add(self, ccxt: Any, one: Subscription) -> None:
        self._left.append(one)
        if len(self._left) == 1:
            self._loop.call_later(TOGETHER, self._end_together, ccxt)

    async def wait_for(self, subscriptions: Iterable[Subscription]) -> None:
        """Wait until those that come back have been left: ccxt would take them for subscribed."""
        ending = [self._ending[one.market] for one in subscriptions if one.market in self._ending]
        await asyncio.gather(*ending, return_exceptions=True)

    def _end_together(self, ccxt: Any) -> None:
        from ccxt.async_support import Exchange

        left, self._left = self._left, []
        groups: dict[frozenset[Socket], list[Subscription]] = {}
        for one in left:
            sockets = frozenset(socket for socket in one.sockets if socket.is_open)
            if sockets and one.market not in self._subscriptions:  # it may be back
                groups.setdefault(sockets, []).append(one)
        own, base = (kind.un_watch_trades_for_symbols for kind in (type(ccxt), Exchange))
        size = 1 if own is base else batch_size(self._exchange)
        for group in groups.values():
            for begin in range(0, len(group), size):
                batch = group[begin : begin + size]
                task = self._start(self._end(ccxt, batch))
                self._ending.update((one.market, task) for one in batch)

    async def _end(self, ccxt: Any, batch: list[Subscription]) -> None:
        from ccxt import NotSupported

        asking.set(batch)
        markets = [one.market for one in batch]
        try:
            async with asyncio.timeout(ANSWERED):
                if len(batch) > 1:
                    await ccxt.un_watch_trades_for_symbols(markets)
                else:
                    await ccxt.un_watch_trades(*markets)
        except NotSupported:
            return  # they go on coming, unheard
        except Exception as error:
            log.info("%s: ending the subscriptions to %s: %r", self._exchange, ", ".join(markets), error)
        finally:
            for market in markets:
                del self._ending[market]
                if market not in self._subscriptions:
                    self._places.leave(market)
        for one in batch:
            for socket in one.sockets:
                socket.forget(one.hashes)
