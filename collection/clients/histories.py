"""The histories of exchanges over REST, each paged the way that its exchange pages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from collection.clients.answers import in_short
from collection.clients.base import Cursor, Page, Refused, Start
from collection.clients.paging import covered_ids, covered_times
from collection.clients.wire import UNREADABLE, Request, Wire
from collection.clock import now
from collection.errors import RetryLater
from collection.records import Trade
from collection.storage import Covers
from collection.storage.values import integer_id

MOST_ANCHORS = 200
"""Trades of a market whose places in time are remembered."""
MOST_TRIES = 40
"""Requests to find a trade in time."""


class Rows(NamedTuple):
    """One answer, in the order of the ids."""

    trades: Sequence[Trade]
    refused: Sequence[Refused]

    @property
    def ids(self) -> list[int]:
        """What it holds. A refused record was read all the same, but one in the future may be right, our clock slow."""
        known = [record.id for record in self.refused if record.reason != "in_the_future"]
        texts = (*(trade.id for trade in self.trades), *known)
        return sorted({number for text in texts if (number := integer_id(text)) is not None})

    def since(self, id: int) -> Rows:
        """What of it has this id or a greater one; what has none goes along."""
        refused = [one for one in self.refused if (integer_id(one.id) or id) >= id]
        return Rows([trade for trade in self.trades if int(trade.id) >= id], refused)


class History(ABC):
    """What `CEXClient.fetch_trades` and `first_since` ask of one exchange, by symbol."""

    def __init__(self, wire: Wire, get: Callable[[Request], Awaitable[bytes]]) -> None:
        self._wire, self._get = wire, get
        self._size = wire.page_size

    @abstractmethod
    async def page(self, symbol: str, after: Cursor | Start) -> Page:
        """Return the page that follows a cursor, or the first one of an empty series."""

    @abstractmethod
    async def first_since(self, symbol: str, timestamp: int) -> int:
        """Return the position of the first trade at or after a time."""

    async def _ask(self, symbol: str, at: int | None, limit: int | None = None) -> Rows:
        body = await self._get(self._wire.ask(symbol, at, limit or self._size))
        try:
            return Rows(*self._wire.read_page(body, symbol, now()))
        except UNREADABLE as error:
            raise RetryLater(f"{self._wire.exchange}: an answer that can't be read: {in_short(error)}") from None


class NewestTrades(History):
    """An exchange that gives the newest trades alone: they join what is stored, or there is a gap."""

    async def page(self, symbol: str, after: Cursor | Start) -> Page:
        rows = await self._ask(symbol, None)
        # It ends anywhere: only what begins before a known trade joins, for of one time with it there may be others.
        known = Cursor(after.position) if isinstance(after, Cursor) else None
        intervals, _ = covered_times(rows.trades, known, now())
        return Page(rows.trades, rows.refused, Covers("time", intervals), more=False)

    async def first_since(self, symbol: str, timestamp: int) -> int:
        return timestamp


class NumberedTrades(History):
    """An exchange that numbers the trades of a market without a hole."""

    async def page(self, symbol: str, after: Cursor | Start) -> Page:
        if isinstance(after, Cursor):
            rows, more = await self._from_id(symbol, after.position + 1)
            return Page(rows.trades, rows.refused, Covers("id", covered_ids(rows.ids, after.position)), more)
        if after.at == "now":
            rows, more = await self._ask(symbol, None, 1), False
            rows = rows.since(max(rows.ids, default=0))
        else:
            first = 0 if after.at == "earliest" else await self.first_since(symbol, int(after.at))
            rows, more = await self._from_id(symbol, first)
        return Page(rows.trades, rows.refused, Covers("id", covered_ids(rows.ids, None)), more)

    @abstractmethod
    async def _from_id(self, symbol: str, id: int) -> tuple[Rows, bool]:
        """Return trades from an id on, the oldest that the exchange has of these, and whether there are more."""


class _FoundById(NumberedTrades):
    """One that can be asked for single trades by their ids: a time is found by halving."""

    async def first_since(self, symbol: str, timestamp: int) -> int:
        newest = await self._ask(symbol, None, 1)
        low, high = 0, max(newest.ids, default=-1)
        if newest.trades and newest.trades[-1].timestamp < timestamp:
            return high + 1
        found = max(high, 0)
        while low < high:
            middle = (low + high) // 2
            trade = await self._near(symbol, middle)
            if trade is None or trade.timestamp < timestamp:
                low = max(middle, int(trade.id) if trade else 0) + 1
            else:
                found = int(trade.id)
                high = min(middle, found)
        return found

    @abstractmethod
    async def _near(self, symbol: str, id: int) -> Trade | None:
        """Return the trade of an id, or one beside it; None where the history begins later."""

    async def _one(self, symbol: str, at: int) -> Trade | None:
        rows = await self._ask(symbol, at, 1)
        if rows.refused and not rows.trades:
            raise RetryLater(f"{self._wire.exchange}: where {symbol} stood can't be told: {rows.refused[0].source}")
        return rows.trades[0] if rows.trades else None


class TradesFromId(_FoundById):
    """Pages begin at an id."""

    async def _from_id(self, symbol: str, id: int) -> tuple[Rows, bool]:
        rows = await self._ask(symbol, id)
        return rows, len(rows.ids) >= self._size

    async def _near(self, symbol: str, id: int) -> Trade | None:
        return await self._one(symbol, id)


class TradesBeforeId(_FoundById):
    """Pages end before an id: ids have no holes, so it is known where a page that begins at another one ends."""

    async def _from_id(self, symbol: str, id: int) -> tuple[Rows, bool]:
        rows = (await self._ask(symbol, id + self._size)).since(id)
        if not rows.ids:
            newest = max((await self._ask(symbol, None, 1)).ids, default=-1)
            if newest < id:
                return rows, False
            id = await self._oldest(symbol, id, newest)
            rows = (await self._ask(symbol, id + self._size)).since(id)
            if not rows.ids:  # it forgot that one meanwhile
                rows = (await self._ask(symbol, None)).since(id)
        return rows, max(rows.ids, default=-1) >= id + self._size - 1

    async def _oldest(self, symbol: str, first: int, newest: int) -> int:
        """Return the first id from `first` on that the exchange still has."""
        low, high = first, newest
        while low < high:
            middle = (low + high) // 2
            trade = await self._one(symbol, middle + 1)
            if trade is None or int(trade.id) < first:
                low = middle + 1
            else:
                high = min(middle, int(trade.id))
        return low

    async def _near(self, symbol: str, id: int) -> Trade | None:
        return await self._one(symbol, id + 1)


class TradesSince(NumberedTrades):
    """Pages begin at a time: where an id stands in time is found between trades whose places are known."""

    def __init__(self, wire: Wire, get: Callable[[Request], Awaitable[bytes]]) -> None:
        super().__init__(wire, get)
        self._anchors: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)  # (id, time), in order

    async def first_since(self, symbol: str, timestamp: int) -> int:
        if ids := (await self._ask(symbol, timestamp)).ids:
            return ids[0]
        newest = (await self._ask(symbol, None)).ids
        return newest[-1] + 1 if newest else 0

    async def _ask(self, symbol: str, at: int | None, limit: int | None = None) -> Rows:
        rows = await super()._ask(symbol, at)
        if rows.trades:
            known = self._anchors[symbol]
            for trade in (rows.trades[0], rows.trades[-1]):
                if (anchor := (int(trade.id), trade.timestamp)) not in known:
                    insort(known, anchor)
            while len(known) > MOST_ANCHORS:
                del known[1::2]
        return rows

    async def _from_id(self, symbol: str, id: int) -> tuple[Rows, bool]:
        if not self._known_beyond(symbol, id):
            rows = await self._ask(symbol, None)
            if not rows.ids or rows.ids[-1] < id:
                return rows.since(id), False
            if rows.ids[0] <= id:
                return rows.since(id), False
        latest: int | None = None  # what begins there begins too late
        for _ in range(MOST_TRIES):
            at, surely = self._place(symbol, id, latest)
            rows = await self._ask(symbol, at)
            more = len(rows.ids) >= self._size
            if not rows.ids or (rows.ids[-1] < id and not more):
                return rows.since(id), False
            if rows.ids[0] > id and not surely:
                latest = at
            elif rows.ids[-1] >= id:
                return rows.since(id), more
            elif rows.trades and rows.trades[0].timestamp == rows.trades[-1].timestamp:
                # A full page of one millisecond: more can't be had of it, so go on behind it, which leaves a gap.
                rows = await self._ask(symbol, rows.trades[-1].timestamp + 1)
                return rows.since(id), len(rows.ids) >= self._size
        self._anchors.pop(symbol, None)  # the exchange may number its trades anew
        raise RetryLater(f"{self._wire.exchange}: where trade {id} of {symbol} stands in time is not found")

    def _known_beyond(self, symbol: str, id: int) -> bool:
        known = self._anchors[symbol]
        return bool(known) and known[-1][0] > id

    def _place(self, symbol: str, id: int, latest: int | None) -> tuple[int, bool]:
        """Return a time to ask from, and whether what comes surely begins before the id, or where the history does."""
        known = self._anchors[symbol]
        place = bisect_right(known, (id, 1 << 63))
        low, low_time = known[place - 1] if place else (0, 0)
        if place and id - low < self._size:
            return low_time, True
        if not place or place == len(known):
            return low_time, True
        high, high_time = known[place]
        share = (id - self._size // 2 - low) / (high - low)
        at = low_time + int((high_time - low_time) * max(share, 0.0))
        if latest is not None:
            at = min(at, (low_time + latest) // 2)
        return at, at <= low_time


def history_of(wire: Wire, get: Callable[[Request], Awaitable[bytes]]) -> History:
    """Return the history of an exchange, as its wire says that it pages."""
    kinds: dict[str, type[History]] = {
        "from_id": TradesFromId,
        "before_id": TradesBeforeId,
        "since": TradesSince,
        "newest": NewestTrades,
    }
    return kinds[wire.pages](wire, get)
