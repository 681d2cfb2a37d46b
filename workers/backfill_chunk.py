"""Reading one chunk of history, page by page: what is there is skipped, and what can't be had is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from collection import clock
from collection.clients import Cursor, Page
from collection.clients.budget import background
from collection.data_collectors.trades_reader import TradesReader
from collection.gap_notes import FORGOTTEN, OUT_OF_REACH, note_gap
from collection.output import moment
from collection.retention import kept_since
from collection.storage import Coverage, DataCollectionStorage, Interval
from collection.storage.coverage import By, clip
from collection.storage.threads import in_thread
from collection.storage.values import integer_id
from workers.backfills import Begun, Outcome

log = logging.getLogger(__name__)

TRIES = 4
"""Times that the exchange is asked for what follows a trade before it is believed that it does not have it."""


class Turn(NamedTuple):
    """What became of a chunk in its turn."""

    state: Outcome
    pause: float = 0.0
    """Seconds until its next turn."""


class ChunkReader:
    """Reads one chunk; `chunk.progress` says at any time how far it has come. To be used in the event loop.

    Each page is durable, with what it covers, before the next one is asked for: whatever ends this loses nothing.
    """

    def __init__(
        self,
        reader: TradesReader,
        storage: DataCollectionStorage,
        kept: float,
        chunk: Begun,
        known: Mapping[int, int] | None = None,
    ) -> None:
        self._reader, self._storage, self._kept = reader, storage, kept
        self._chunk, self._progress = chunk, chunk.progress
        self._known = known or {}  # ids by times: to find one takes dozens of requests

    async def read(self, go_on: Callable[[], bool]) -> Turn:
        """Read until the end, or until `go_on` says no between two pages.

        Raises:
            RetryLater: The exchange or the storage is away.
            StorageRefused: The storage will never take some of it.
            ConfigurationError: Trying again will not help.
        """
        with background():
            if self._chunk.end <= kept_since(self._kept, clock.now() / 1000):
                return self._ends_without("it is older than what is kept")
            await self._find_bounds()
            while go_on():
                coverage = await self._reader.coverage(self._storage)
                position = self._progress.reached = reached(coverage, self._position)
                if await self._is_joined(position):
                    return self._ends()
                page = await self._reader.read(self._storage, await self._reader.after(self._storage, position))
                self._count(page)
                if turn := await self._step(page, position, coverage):
                    return turn
        return Turn("waiting")

    @property
    def _position(self) -> int:
        after, before = self._progress.after, self._progress.reached
        return max(-1 if after is None else after, -1 if before is None else before)

    @property
    def _upto(self) -> int:
        return -1 if self._progress.upto is None else self._progress.upto

    async def _find_bounds(self) -> None:
        """Find the positions between which the chunk lies, once for each end."""
        progress = self._progress
        coverage = await self._reader.coverage(self._storage)
        if progress.after is None:
            first = await self._first_since(self._chunk.start)
            by_id = self._reader.client.by == "id"
            progress.after = (await self._beginning(coverage, first) if by_id else first) - 1
        if progress.upto is None or progress.end != self._chunk.end:
            last = await self._first_since(self._chunk.end) - 1
            progress.upto, progress.end = max(last, progress.after), self._chunk.end

    async def _first_since(self, timestamp: int) -> int:
        if self._reader.client.by == "id" and timestamp in self._known:
            return self._known[timestamp]
        return await self._reader.client.first_since(self._reader.market, timestamp)

    async def _beginning(self, coverage: Coverage, first: int) -> int:
        """Return the first id that the exchange has from `first` on: it has all of them where it has the one before."""
        if any(one.after < first - 1 <= one.upto for one in coverage.intervals):
            return first
        page = await self._reader.client.fetch_trades(self._reader.market, Cursor(max(first - 2, -1)))
        oldest = min(page.trades, key=lambda trade: integer_id(trade.id) or 0, default=None)
        begins = first if oldest is None else integer_id(oldest.id) or 0
        if oldest is None or begins < first or begins <= 1:
            return first
        await self._lack(coverage, Interval(-1, begins - 1), f"the exchange has none before {moment(oldest.timestamp)}")
        return begins

    async def _is_joined(self, position: int) -> bool:
        """Whether all is covered, and what follows joins it.

        By time, whoever reads on from the end begins behind the first trade that comes then: it must be covered here.
        """
        if position < self._upto or self._reader.client.by == "id":
            return position >= self._upto
        return bool(await in_thread(self._first, self._chunk.end, position))

    def _first(self, start: int, end: int) -> list[tuple[int, object]]:
        return next(self._storage.pages(self._reader.key, start, end), []) if start <= end else []

    async def _step(self, page: Page, position: int, coverage: Coverage) -> Turn | None:
        """Go on behind what a page covers; returns how the turn ends where there is nothing to be had of it."""
        progress, by = self._progress, self._reader.client.by
        here = Coverage(by, (Interval(position, position),)).with_intervals(page.covers.intervals)
        progress.reached = reached(here, position)
        if progress.reached > position:
            progress.tries = 0
            return None
        behind = next((one for one in here.intervals if one.after > position), None)
        if by == "time" and behind is None:
            return self._ends()  # there is nothing newer
        if by == "time" and behind and not _covers(coverage, position):
            return self._begin_later(page, behind)
        progress.tries += 1
        if progress.tries < TRIES:
            return Turn("waiting", 0.5 * 2**progress.tries)
        progress.tries = 0
        progress.reached = min(behind.after, self._upto) if behind else self._upto
        gap = Interval(position, progress.reached)
        await self._lack(coverage, gap, f"the exchange does not have {_named(gap, by)} any more")
        return None

    def _begin_later(self, page: Page, behind: Interval) -> Turn | None:
        """Begin with the first trade that is given: what lies before is proven by whoever reads up to there."""
        if behind.after >= self._upto:
            first = min(trade.timestamp for trade in page.trades)
            return self._ends_without(f"the exchange gives none of that time: the oldest is of {moment(first)}")
        self._progress.after, self._progress.reached = behind.after, behind.upto
        return None

    async def _lack(self, coverage: Coverage, span: Interval, why: str) -> None:
        """Tell that something can't be had, beside the gap that it leaves."""
        self._progress.lacking = why
        key = self._reader.key
        log.warning("%s: backfill: %s", key, why)
        self._storage.count(key, "backfill:lacking")
        within = coverage.with_intervals([Interval(span.after, span.after), Interval(span.upto, span.upto)])
        for gap in clip(within.gaps, span) if coverage.intervals else []:
            reason = FORGOTTEN if coverage.by == "id" else OUT_OF_REACH
            await in_thread(note_gap, self._storage, key, coverage, gap, reason)

    def _ends(self) -> Turn:
        return Turn("partly" if self._progress.lacking else "done")

    def _ends_without(self, why: str) -> Turn:
        self._progress.lacking = why
        return self._ends()

    def _count(self, page: Page) -> None:
        number = sum(self._chunk.start <= trade.timestamp < self._chunk.end for trade in page.trades)
        self._progress.read += number
        self._storage.count(self._reader.key, "backfill:read", number)


def reached(coverage: Coverage, position: int) -> int:
    """Return up to where all is covered from a position on."""
    return next((one.upto for one in coverage.intervals if one.after <= position <= one.upto), position)


def _covers(coverage: Coverage, position: int) -> bool:
    return any(one.after < position <= one.upto for one in coverage.intervals)


def _named(gap: Interval, by: By) -> str:
    if by == "id":
        return f"trades {gap.after + 1} to {gap.upto}"
    return f"{moment(gap.after + 1)} to {moment(gap.upto)}"
