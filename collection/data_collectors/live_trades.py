"""One run of a trades stream: what comes live, held back until what was missed is read before it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from collection.backoff import Backoff
from collection.clients import Live, Start, TradeStream
from collection.clients.paging import covered_ids
from collection.clock import now
from collection.data_collectors.holes import Holes
from collection.data_collectors.lag import Lag
from collection.data_collectors.silence import Silence
from collection.data_collectors.trades_reader import TradesReader
from collection.errors import RetryLater, StorageRefused, failure_name
from collection.records import Trade
from collection.storage import Coverage, Covers, DataCollectionStorage, Interval
from collection.storage.values import integer_id

log = logging.getLogger(__name__)

HOLD = 10.0
"""Seconds that live trades wait, at the most, for what was missed to be read before them."""
HELD = 20_000
"""Trades that wait, at the most."""
SETTLING_MS = 1_000
"""Where positions are times, what is claimed as complete ends this much before the newest trade."""
REORDERED = 1.0
"""Seconds after which a hole is no matter of order any more."""
ARRIVING = 2.0
"""Seconds that a trade may be seen over REST before it comes live."""
COMPARED = 20.0
"""Seconds between two looks whether the storage still has what it was given."""


class LiveTrades:
    """What comes over `stream`, stored; `ready` is set once it is joined to what was stored before.

    By id, each trade covers its own id, so that any hole shows. By time, what comes over one connection is complete
    from its first message on.
    """

    def __init__(
        self,
        reader: TradesReader,
        storage: DataCollectionStorage,
        stream: TradeStream,
        ready: asyncio.Event,
        coverage: Coverage,
    ) -> None:
        self._reader, self._storage, self._stream, self._ready = reader, storage, stream, ready
        self._holes = Holes(reader, storage, coverage)
        self._silence = Silence()
        self._lag = Lag(reader.key, reader.client, storage)
        self._loop = asyncio.get_running_loop()
        self._held: list[Trade] = []
        self._held_covers: list[Interval] = []
        self._kept_back = Coverage(coverage.by)  # what is covered, but nothing before it was read yet
        self._holding: asyncio.TimerHandle | None = None
        self._claimed: int | None = None  # by time: up to where this connection has brought all
        self._look = asyncio.Event()  # there may be a hole
        self._looking: asyncio.TimerHandle | None = None
        self._not_before = 0.0  # what was tried and failed is not tried again earlier because more came

    async def listen(self) -> None:
        """Take what comes, for ever."""
        while True:
            try:
                async with asyncio.timeout(self._silence.limit):
                    live = await self._stream.next()
            except TimeoutError:
                if self._stream.live and not self._holes.catching_up:  # else REST is ahead of what is known
                    await self._ask_whether_it_lives()
            else:
                self._take(live)

    def _take(self, live: Live) -> None:
        if live.fresh:
            self._silence.begin()
            self._lag.connected()
            self._holes.fall_behind()
            self._claimed = None
            self._storage.count(self._reader.key, "stream:connected")
            if self._holding is None:
                self._holding = self._loop.call_later(HOLD, self.release)
            self._look.set()
        if live.refused:  # it covers nothing, and by time nothing reaches over it: REST may have it whole
            self._claimed = None
            self._reader.store(self._storage, (), live.refused, Covers(self._holes.by, ()))
        if live.trades:
            self._silence.heard()
            self._lag.add(live.trades)
            self._held += live.trades
            self._held_covers += self._claims(live.trades, whole=not live.refused)
            if self._holding is None or len(self._held) >= HELD:
                self.release()

    def _claims(self, trades: Sequence[Trade], *, whole: bool) -> Sequence[Interval]:
        if self._holes.by == "id":
            return covered_ids([n for trade in trades if (n := integer_id(trade.id)) is not None], None)
        newest = max(trade.timestamp for trade in trades)
        before, upto = self._claimed, min(newest, now()) - SETTLING_MS
        if not whole:  # what is refused may be of any time up to what comes next
            self._claimed = None
            return ()
        if before is None:  # the first message may repeat trades of before, and not all of them
            self._claimed = newest  # by the exchange's clock: by ours, which may be slow, it would reach back
            self._holes.seam = next(trade for trade in reversed(trades) if trade.timestamp == newest)
            self._holes.fall_behind()  # what is read from now on reaches over it; later a short history may not
            self._look.set()
            return ()
        if upto <= before:
            return ()
        seam, self._claimed = self._holes.seam, upto
        if seam is not None and seam is self._holes.met and before == seam.timestamp:
            before -= 1
        return (Interval(before, upto),)

    def release(self, joined: bool = True) -> None:
        """Store what is held; `joined` where it is all that can be had of what was missed."""
        if self._holding:
            self._holding.cancel()
            self._holding = None
        if self._held:
            trades, covers = self._held, self._held_covers
            self._held, self._held_covers = [], []
            if self._holes.unstarted:  # an end of coverage would be where the next run reads on: from there alone
                self._kept_back = self._kept_back.with_intervals(covers)
                covers = []
            self._reader.store(self._storage, trades, (), Covers(self._holes.by, covers))
            self._holes.add(trades, covers)
        if self._kept_back.intervals and not self._holes.unstarted:
            self._reader.store(self._storage, (), (), Covers(self._holes.by, self._kept_back.intervals))
            self._holes.add((), self._kept_back.intervals)
            self._kept_back = Coverage(self._holes.by)
        if joined:
            self._ready.set()
        else:
            self._lag.store()
        if self._holes.open:
            self._look_in(REORDERED)

    def _look_in(self, seconds: float) -> None:
        if self._looking is None:
            due = max(self._loop.time() + seconds, self._not_before)
            self._looking = self._loop.call_at(due, self._look_now)

    def _look_now(self) -> None:
        self._looking = None
        self._look.set()

    async def close_holes(self) -> None:
        """Read what is missing as soon as that shows, for ever."""
        backoff = Backoff()
        while True:
            await self._look.wait()
            self._look.clear()
            try:
                await self._read_what_was_missed()
                again = await self._holes.close()
                backoff.reset()
            except (RetryLater, StorageRefused) as error:
                again = max(backoff.next(), getattr(error, "after", None) or 0.0)
                log.warning("%s: a hole can't be closed now: %s", self._reader.key, error)
                self._storage.count(self._reader.key, f"error:{failure_name(error)}")
            self._not_before = self._loop.time() + (again or 0.0)
            if again is not None:
                if self._looking:  # by what came meanwhile
                    self._looking.cancel()
                    self._looking = None
                self._look_in(again)

    async def _read_what_was_missed(self) -> None:
        if self._holes.behind:
            await self._holes.catch_up()
            if not self._holes.behind:  # else it connected again meanwhile
                self.release()

    async def compare(self) -> None:
        """Look now and then whether the storage still has what it was given, for ever."""
        while True:
            await asyncio.sleep(COMPARED * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                lost = await self._holes.compare()
            except RetryLater:
                continue
            if lost:
                self._look.set()

    async def _ask_whether_it_lives(self) -> None:
        """Ask for the last trade: one that is known means a quiet market, another one a dead subscription."""
        try:
            page = await self._reader.client.fetch_trades(self._reader.market, Start("now"))
        except RetryLater as error:
            log.info("%s: is it quiet or dead? %s", self._reader.key, error)
            return
        if all(self._holes.position(trade) <= self._newest for trade in page.trades):
            self._silence.quiet()
            return
        try:
            async with asyncio.timeout(ARRIVING):
                self._take(await self._stream.next())
        except TimeoutError:
            log.warning("%s: its subscription is dead; subscribing anew", self._reader.key)
            self._storage.count(self._reader.key, "stream:dead")
            self._stream.renew()
            self._claimed = None  # what it brings yet does not follow what it brought
            self._holes.fall_behind()
            self._look.set()

    @property
    def _newest(self) -> int:
        return max([self._holes.newest, *(self._holes.position(trade) for trade in self._held)])
