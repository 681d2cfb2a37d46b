"""A client for any exchange that ccxt reaches, with its exact digits and ids."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

from collection.clients.base import CEXClient, Cursor, Page, Refused, Start, TradeStream
from collection.clients.budget import Budget, LocalBudget, Rate
from collection.clients.ccxt_errors import sorted_error
from collection.clients.ccxt_exchange import make_exchange, read_trades, wait_for
from collection.clients.ccxt_subscriptions import Subscriptions
from collection.clients.paging import covered_ids, covered_times
from collection.clock import now
from collection.errors import ConfigurationError, RetryLater
from collection.names import streams_trades
from collection.records import Trade, has_made_id
from collection.setting_groups import ExchangeSettings
from collection.storage import Covers
from collection.storage.values import integer_id

log = logging.getLogger(__name__)

QUIET_MS = 600_000
"""Silence after which the newest trades are asked for as well."""
EARLIEST = 1_230_768_000_000
"""2009-01-01, before the first exchange of any kind."""
RELOAD = 600.0
"""Seconds after which an unknown market may be a new one."""
SHOWN, NOW_AND_THEN = 3, 1000
"""Of messages that can't be read, the first few are logged, then every so many."""


class IdPaging(NamedTuple):
    """How an exchange pages by contiguous ids: the parameter of its trades endpoint, and how many it gives."""

    parameter: str
    limit: int


ID_PAGING = {
    # aggTrades: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
    "binance": IdPaging("fromId", 1000),
    "binanceus": IdPaging("fromId", 1000),
    "binanceusdm": IdPaging("fromId", 1000),
    "binancecoinm": IdPaging("fromId", 1000),
}


class CCXTClient(CEXClient):
    """One exchange through ccxt; connects with its first call."""

    def __init__(
        self, exchange: str, settings: ExchangeSettings, budgets: Callable[[str, Rate], Budget] | None = None
    ) -> None:
        self.exchange = exchange
        self._paging = ID_PAGING.get(exchange)
        self.by = "id" if self._paging else "time"
        self._settings = settings
        self._budgets = budgets or (lambda _, rate: LocalBudget(rate))
        self._ccxt: Any = None
        self._loaded = 0.0
        self._loading = asyncio.Lock()
        self._silent_until = 0.0
        self._makes_ids: bool | None = None  # over REST; None while that is not known
        self._subscriptions: Subscriptions | None = None
        self.unreadable: deque[str] = deque(maxlen=10)
        """The last messages over WebSockets that could not be read, and of which no market is known."""
        self.unreadable_count = 0

    def __repr__(self) -> str:
        return f"CCXTClient({self.exchange!r})"

    async def fetch_trades(self, market: str, after: Cursor | Start) -> Page:
        await self._load(market)
        if self._paging:
            return await self._page_by_id(self._paging, market, after)
        return await self._page_by_time(market, after)

    async def first_since(self, market: str, timestamp: int) -> int:
        await self._load(market)
        return await self._first_id_since(self._paging, market, timestamp) if self._paging else timestamp

    def stream_trades(self, market: str) -> TradeStream:
        if self._subscriptions is None:
            self._subscriptions = Subscriptions(
                self.exchange,
                self._paging is not None,
                self._load_for_streams,
                self._is_like_rest,
                self._be_silent,
                self._unread,
            )
        return self._subscriptions.open(market)

    async def close(self) -> None:
        if self._subscriptions is not None:
            await self._subscriptions.close()
            self._subscriptions = None
        if self._ccxt is not None:
            await self._ccxt.close()
            self._ccxt, self._loaded = None, 0.0

    async def _page_by_id(self, paging: IdPaging, market: str, after: Cursor | Start) -> Page:
        position: int | None = None
        if isinstance(after, Cursor):
            position = after.position
            params, limit = {paging.parameter: position + 1}, paging.limit
        elif after.at == "now":
            params, limit = {}, 1
        else:
            first = 0 if after.at == "earliest" else await self._first_id_since(paging, market, int(after.at))
            params, limit = {paging.parameter: first}, paging.limit
        trades, refused = await self._fetch(market, None, limit, params)
        # A refused record was read all the same: its id is no hole. One in the future may be right, and our clock slow.
        refused_ids = [record.id for record in refused if record.reason != "in_the_future"]
        ids = [number for text in (*(t.id for t in trades), *refused_ids) if (number := integer_id(text)) is not None]
        return Page(trades, refused, Covers("id", covered_ids(ids, position)), len(set(ids)) >= limit > 1)

    async def _page_by_time(self, market: str, after: Cursor | Start) -> Page:
        cursor = after if isinstance(after, Cursor) else None
        since = cursor.position + 1 if cursor else _since(cast("Start", after))
        trades, refused = await self._fetch(market, since, 1000, {})
        quiet = cursor is not None and max((t.timestamp for t in trades), default=0) <= cursor.position + 1
        if cursor and quiet and cursor.position < now() - QUIET_MS:
            # Some exchanges look only so far from `since`: what came after a long silence shows in the newest page.
            newest, newest_refused = await self._fetch(market, None, 1000, {})
            intervals, more = covered_times(newest or trades, cursor, now())
            return Page([*trades, *newest], [*refused, *newest_refused], Covers("time", intervals), more)
        intervals, more = covered_times(trades, cursor, now())
        return Page(trades, refused, Covers("time", intervals), more)

    async def _first_id_since(self, paging: IdPaging, market: str, start: int) -> int:
        """Find the first trade at or after a time by halving: asking by time reaches an hour only."""
        newest, refused = await self._fetch(market, None, 1, {})
        ids = [integer_id(text) for text in (*(trade.id for trade in newest), *(record.id for record in refused))]
        low, high = 0, max((number for number in ids if number is not None), default=0)
        if newest and newest[0].timestamp < start:
            return high + 1
        first = high
        while low < high:
            middle = (low + high) // 2
            found, refused = await self._fetch(market, None, 1, {paging.parameter: middle})
            if refused and not found:
                raise RetryLater(
                    f"{self.exchange}: where {market} had got to at {start} can't be told: {refused[0].reason}"
                )
            if found and found[0].timestamp < start:
                low = max(middle, int(found[0].id)) + 1
            else:
                first = int(found[0].id) if found else high
                high = middle
        return first

    async def _fetch(
        self, market: str, since: int | None, limit: int, params: dict[str, Any]
    ) -> tuple[list[Trade], list[Refused]]:
        sent = now()
        async with self._errors():
            rows = await self._ccxt.fetch_trades(market, since, limit, params)
        headers = {name.lower(): value for name, value in (self._ccxt.last_response_headers or {}).items()}
        if "age" not in headers:  # else it is a cache's
            self.skew.saw(headers.get("date"), sent, now())
        trades, refused = read_trades(rows, market, now(), self._paging is not None)
        if trades:
            self._makes_ids = has_made_id(trades[0])
        return trades, refused

    async def _load(self, market: str) -> None:
        """Load the exchange's markets once, and again when a market is unknown that may be a new one."""
        async with self._loading, self._errors():
            if self._ccxt is None:
                self._ccxt = await asyncio.to_thread(make_exchange, self.exchange, self._settings)
                wait_for(self._budgets, self._ccxt)
            known = self._ccxt.markets and market in self._ccxt.markets
            if not known and (not self._loaded or time.monotonic() > self._loaded + RELOAD):
                await self._ccxt.load_markets(bool(self._loaded))
                self._loaded = time.monotonic()
                self._ccxt.number = str  # exact digits
            self._ccxt.market(market)

    async def _load_for_streams(self, market: str) -> Any:
        if not streams_trades(self.exchange):
            raise ConfigurationError(f"{self.exchange}: ccxt can't stream its trades; poll them")
        await self._load(market)
        return self._ccxt

    def _is_like_rest(self, trade: Trade) -> bool:
        return self._makes_ids is None or has_made_id(trade) == self._makes_ids

    def _be_silent(self, seconds: float) -> None:
        self._silent_until = max(self._silent_until, time.monotonic() + seconds)

    def _unread(self, text: str, error: Exception) -> None:
        self.unreadable_count += 1
        self.unreadable.append(text)
        if self.unreadable_count <= SHOWN or self.unreadable_count % NOW_AND_THEN == 0:
            log.warning("%s: message %d that can't be read (%r): %s", self.exchange, self.unreadable_count, error, text)

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        """Sort errors by what to do about them, and ask nothing while the exchange wants to be left alone."""
        silent = self._silent_until - time.monotonic()
        if silent > 0:
            raise RetryLater(f"{self.exchange} asked to wait another {silent:.0f} s", silent)
        try:
            yield
        except (RetryLater, ConfigurationError):
            raise
        except Exception as error:
            headers = (self._ccxt and self._ccxt.last_response_headers) or {}
            kind = sorted_error(self.exchange, error, headers)
            if isinstance(kind, RetryLater) and kind.after:
                self._be_silent(kind.after)
            raise kind from error


def _since(start: Start) -> int | None:
    return None if start.at == "now" else EARLIEST if start.at == "earliest" else int(start.at)
