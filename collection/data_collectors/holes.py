"""What of a series is missing between what was stored, and reading it while the exchange still has it."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Sequence

from collection.clients import Page
from collection.clients.budget import background
from collection.data_collectors.trades_reader import TradesReader
from collection.errors import StorageRefused
from collection.gap_notes import FORGOTTEN, OUT_OF_REACH, note_gap, noted_gaps
from collection.records import Trade
from collection.storage import Coverage, DataCollectionStorage, Interval
from collection.storage.coverage import By, clip, without
from collection.storage.threads import in_thread
from collection.storage.values import integer_id

log = logging.getLogger(__name__)

GONE = 4
"""Times that the exchange tells what came after a hole, but not what is in it, before that is believed."""


class Holes:
    """The coverage of one series as far as it was handed to the storage, and its gaps."""

    def __init__(self, reader: TradesReader, storage: DataCollectionStorage, coverage: Coverage) -> None:
        self.newest = -1 if coverage.end is None else coverage.end
        """The last position that was seen, covered or not."""
        self._began = self.newest
        self._reader, self._storage = reader, storage
        self._seen = coverage
        self._stored = coverage
        self._given_up: list[Interval] = []
        self._open: list[Interval] | None = None  # kept, as each live trade asks for it: None where it may be another
        self._noted = False
        self._tries: Counter[int] = Counter()  # by where the hole ends, for it is closed from its beginning
        self._lost_before: list[Interval] = []
        self.behind = False
        """Whether the exchange may have more than what was seen."""
        self.seam: Trade | None = None
        """By time: a trade after which all comes live. A page whose newest trade it is leaves no millisecond out."""
        self.met: Trade | None = None
        """The seam that a page has met."""
        self._tails: list[int | None] = []  # where to read on to catch up, None at the start; empty when that is done

    @property
    def by(self) -> By:
        """What positions are."""
        return self._seen.by

    def position(self, trade: Trade) -> int:
        """Return where a trade stands."""
        return trade.timestamp if self.by == "time" else integer_id(trade.id) or -1

    def add(self, trades: Sequence[Trade], intervals: Iterable[Interval]) -> None:
        """Note what was handed to the storage."""
        self.newest = max([self.newest, *(self.position(trade) for trade in trades)])
        before, added = self._seen.intervals, list(intervals)
        self._seen = self._seen.with_intervals(added)
        grown = len(self._seen.intervals) == len(before) and all(one.after >= before[-1].after for one in added)
        if not grown:  # more than the last interval
            self._open = None

    @property
    def unstarted(self) -> bool:
        """Whether the series is empty, and its first page is still to be read."""
        return self._seen.end is None and self._tails == [None] and self._reader.has_past

    @property
    def catching_up(self) -> bool:
        """Whether what came before the live trades is still being read."""
        return bool(self._tails)

    @property
    def open(self) -> list[Interval]:
        """The gaps that may still be closed."""
        if self._open is None:
            self._open = self._still_open()
        return self._open

    def _still_open(self) -> list[Interval]:
        if not self._given_up:
            return self._seen.gaps
        known = set(self._given_up)  # most are whole: hundreds of them must not cost a search each
        return [gap for gap in self._seen.gaps if gap not in known and not any(_within(gap, one) for one in known)]

    def fall_behind(self) -> None:
        """Note that what comes after the end of what was seen until now is to be read."""
        self.behind = True
        if not self._tails:
            self._tails = [self._seen.end]

    async def catch_up(self) -> None:
        """Read on until the exchange has no more; `behind` is set again where that fails, or is not enough."""
        self.behind = False
        more = True
        while more:
            [position] = self._tails
            try:
                page = await self._read(position)
            except StorageRefused as refused:  # what is live goes on behind it, so that it shows as a gap
                log.warning("%s: %s", self._reader.key, refused)
                break
            except Exception:
                self.behind = True
                raise
            reached = [one.upto for one in page.covers.intervals] + ([] if position is None else [position])
            self._tails = [max(reached, default=None)]
            more = page.more and self._tails != [position]
        if not self.behind:
            self._tails = []

    async def close(self) -> float | None:
        """Try to close each open gap once; returns after how many seconds to try again, None where none is left.

        Those that are newer than this run go first: those of before it may be days long.
        """
        if not self._noted and self.open:  # those that were given up before are tried once more, not four times
            noted = await in_thread(noted_gaps, self._storage, self._reader.key)
            self._tries.update({gap.upto: GONE - 1 for gap in self.open if any(_within(gap, one) for one in noted)})
        self._noted = True
        for gap in sorted(await self._kept(self.open), key=lambda gap: (gap.upto <= self._began, gap)):
            with background() if gap.upto <= self._began else contextlib.nullcontext():
                if not await self._close(gap):
                    return 0.0
        left = self.open
        return min(2.0 ** self._tries[gap.upto] for gap in left) if left else None

    async def _close(self, gap: Interval) -> bool:
        """Read what is in a gap; returns False where a newer one shows meanwhile, which goes first."""
        position, beyond = self._reached(gap.after), False
        while position < gap.upto:
            try:
                page = await self._read(position)
            except StorageRefused as refused:
                await self._try(Interval(position, gap.upto), f"the storage refuses what is in it: {refused}")
                return True
            beyond = any(self.position(trade) > gap.upto for trade in page.trades)
            reached = self._reached(position)
            if reached == position:
                break
            position = reached
            if self.by == "id" and position < gap.upto <= self._began < self.open[-1].upto:
                return False
        if position < gap.upto and beyond:
            await self._try(Interval(position, gap.upto), FORGOTTEN if self.by == "id" else OUT_OF_REACH)
        elif position < gap.upto:
            self._tries[gap.upto] = min(self._tries[gap.upto] + 1, GONE)
        return True

    def _reached(self, position: int) -> int:
        """Return up to where all is covered from a position on."""
        return next((one.upto for one in self._seen.intervals if one.after <= position <= one.upto), position)

    async def _try(self, gap: Interval, reason: str) -> None:
        self._tries[gap.upto] += 1
        if self._tries[gap.upto] >= GONE:
            await self._give_up(gap, reason)

    async def _give_up(self, gap: Interval, reason: str) -> None:
        self._given_up.append(gap)
        self._open = None
        key = self._reader.key
        log.warning("%s: %d to %d (%s) stays a gap: %s", key, gap.after + 1, gap.upto, self.by, reason)
        await in_thread(note_gap, self._storage, key, self._seen, gap, reason)
        self._storage.count(key, "gap:given_up")

    async def _read(self, position: int | None) -> Page:
        seam = self.seam
        page = await self._reader.read(self._storage, await self._reader.after(self._storage, position))
        self.add(page.trades, page.covers.intervals)
        if seam and _meets(page, seam):
            self.met = seam  # its millisecond is complete once what comes live has passed it: no sooner
        return page

    async def _kept(self, gaps: list[Interval]) -> list[Interval]:
        """Return what of the gaps lies within what is kept."""
        if not gaps:
            return gaps
        floor = await in_thread(self._storage.floor, self._reader.key)
        return clip(gaps, floor.left_of(self._seen))

    async def compare(self) -> bool:
        """Look whether the storage still has all that it was given; returns whether some of it is to be read again.

        A Redis that was killed, or whose replica took over, may have forgotten what it had taken.
        """
        key, seen = self._reader.key, self._seen
        await in_thread(self._storage.flush, key)
        stored = await self._reader.coverage(self._storage)
        floor = await in_thread(self._storage.floor, key)
        # What waits in the spool is not there yet: but it goes before what came later, and what was there stays there.
        later = stored.end is not None and seen.end is not None and stored.end >= seen.end
        should = seen.intervals if later else self._stored.intervals
        lost = clip(without(should, stored.intervals), floor.left_of(seen))
        self._stored = stored
        again = [one for one in lost if one not in self._lost_before]
        for one in lost:
            if one in self._lost_before and not any(_within(one, other) for other in self._given_up):
                await self._give_up(one, "the storage does not keep it")
        self._lost_before = lost
        if again:
            log.warning("%s: the storage lost what it had: reading it again", key)
            self._storage.count(key, "gap:lost")
            first = clip(seen.intervals, floor.left_of(seen))[0].after
            self._seen = stored.with_intervals([Interval(first, first), *self._since(seen)])
            self._open = None
            self.fall_behind()  # a market where nothing comes shows no gap at its end
        return bool(again)

    def _since(self, before: Coverage) -> list[Interval]:
        """What was covered while the storage was asked."""
        return without(self._seen.intervals, before.intervals)


def _meets(page: Page, seam: Trade) -> bool:
    """Whether a page ends within the millisecond of a trade that is in it: what it may lack of that comes live."""
    times = [trade.timestamp for trade in page.trades]
    return seam.id in {one.id for one in page.trades} and min(times) < max(times) == seam.timestamp


def _within(inner: Interval, outer: Interval) -> bool:
    return outer.after <= inner.after and inner.upto <= outer.upto
