"""Repair: what is stored of a series is held against what is covered, and what is missing is read again.

Streams and polls close what they see to be missing. This finds what nobody saw: gaps that were left, ids that are
covered but no longer stored, and ids that are stored but no longer covered (a Redis that lost part of its memory).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from collection import clock
from collection.clients.budget import background
from collection.data_collectors.stored_ids import Audit, Look, audit_ids, look, lost_seconds
from collection.data_collectors.stretches import Left, read_over
from collection.data_collectors.trades_reader import TradesReader
from collection.gap_notes import note_gap, noted_gaps
from collection.storage import Covers, DataCollectionStorage, Interval
from collection.storage.coverage import By, size
from collection.storage.days import DAY_MS
from collection.storage.threads import in_thread

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds between two looks: what changes meanwhile is somebody else's work in progress."""
TRIES = 3
"""Times that the exchange is asked before it is believed that it does not have something."""
LONGEST = 45.0
"""Seconds after which no further page is asked for: the next turn goes on."""
WINDOW_MS = DAY_MS
"""How far back a thorough turn reads what is stored, whatever the counts say: a day of a busy market takes seconds."""


class Repaired(NamedTuple):
    """What became of a series."""

    closed: int = 0
    """Stretches that were missing and are there now."""
    left: int = 0
    """Stretches that are still missing."""
    covered: int = 0
    """Ids that were stored, and are covered again."""


class Repair:
    """Repairs one series, now and again; what it knows of the series from before makes the next turn cheaper."""

    def __init__(self, reader: TradesReader, storage: DataCollectionStorage) -> None:
        self._reader, self._storage = reader, storage
        self._key = reader.key
        self._surplus = 0  # by how many the stored outnumber the covered, for reasons that are known
        self._unexplained = False  # whether the last audit left it unexplained: something may have been lost meanwhile

    async def turn(self, *, thorough: bool = False) -> Repaired:
        """Look, and repair what is missing. A thorough turn reads the last day, and tries again what was given up.

        Raises:
            RetryLater: The exchange or the storage is away.
            ConfigurationError: Trying again will not help.
        """
        with background():
            if (coverage := await self._reader.coverage(self._storage)).end is None:
                return Repaired()  # nothing was collected yet
            first = await in_thread(look, self._storage, self._key)
            await asyncio.sleep(PATIENCE)
            second = await in_thread(look, self._storage, self._key)
            lost: list[Interval] = []
            covered = 0
            if coverage.by == "time" and thorough:
                now = clock.now()
                lost = await in_thread(lost_seconds, self._storage, self._key, max(now - WINDOW_MS, first.first), now)
            differs = not (first.fits(self._surplus) or second.fits(self._surplus))
            if coverage.by == "id" and (thorough or differs):
                found = await in_thread(self._audit, second, thorough)
                lost, covered = found.lost, await self._cover(found.outside)
                self._surplus = found.doubled if differs else self._surplus
            gaps = [gap for gap in first.gaps if gap in second.gaps]
            closed, left = await self._mend(coverage.by, gaps, lost, thorough=thorough)
            if coverage.by == "id" and (thorough or differs):
                self._explain(await in_thread(look, self._storage, self._key))
            return Repaired(closed, left, covered)

    def _explain(self, third: Look) -> None:
        """Take what an audit does not explain, twice in a row, for known: else it would be read in each turn."""
        fits = third.fits(self._surplus)
        if not fits and self._unexplained:
            self._surplus = min(max(self._surplus, third.low), third.high)
        self._unexplained = not fits

    def _audit(self, seen: Look, thorough: bool) -> Audit:
        now = clock.now()
        return audit_ids(
            self._storage,
            self._key,
            seen,
            now - WINDOW_MS if thorough else now,
            now,
            self._surplus if thorough else None,
        )

    async def _cover(self, outside: Sequence[Interval]) -> int:
        """Cover ids that are stored: each is all that has its number."""
        if outside:
            self._storage.store_batch(self._key, [], Covers("id", outside))
            self._storage.count(self._key, "repair:covered", size(outside))
            await in_thread(self._storage.flush, self._key)
            log.warning("%s: %d ids were stored, but not covered: they are now", self._key, size(outside))
        return size(outside)

    async def _mend(
        self, by: By, gaps: Sequence[Interval], lost: Sequence[Interval], *, thorough: bool
    ) -> tuple[int, int]:
        """Read what is missing; returns how many stretches are closed, and how many are not."""
        if lost:
            self._storage.count(self._key, "repair:lost", size(lost))
            log.warning("%s: %d %s are covered, but not stored", self._key, size(lost), _unit(by))
        known = await in_thread(noted_gaps, self._storage, self._key) if gaps or lost else []
        todo = [(one, kind) for kind, some in ((False, gaps), (True, lost)) for one in some]
        tried = [one for one in todo if thorough or not any(_within(one[0], noted) for noted in known)]
        left = await self._read(tried)
        closed = len(tried) - len({one for one in tried if any(_within(rest.stretch, one[0]) for rest, _ in left)})
        if closed:
            self._storage.count(self._key, "repair:closed", closed)
            log.info("%s: %d of %d stretches that were missing are read", self._key, closed, len(tried))
        for rest, _ in left:
            await self._give_up(rest, known)
        skipped = [one for one in todo if one not in tried]
        self._surplus -= size([rest.stretch for rest, was_covered in left if was_covered])
        self._surplus -= size([one for one, was_covered in skipped if was_covered])
        return closed, len(todo) - closed

    async def _read(self, stretches: Sequence[tuple[Interval, bool]]) -> list[tuple[Left, bool]]:
        """Read stretches, some of which are covered already; returns what is left of them."""
        until, left = time.monotonic() + LONGEST, [(Left(one, ""), covered) for one, covered in stretches]
        for attempt in range(TRIES):
            if not left or time.monotonic() > until:
                break
            if attempt:
                await asyncio.sleep(PATIENCE * 2 ** (attempt - 1))
            before, left = left, []
            for (stretch, _), covered in before:
                rest = await read_over(self._reader, self._storage, stretch, until, covered=covered)
                left += [(one, covered) for one in rest]
        return left

    async def _give_up(self, rest: Left, known: Sequence[Interval]) -> None:
        if not rest.reason or any(_within(rest.stretch, noted) for noted in known):
            return
        self._storage.count(self._key, "repair:given_up")
        log.warning("%s: %d to %d stays missing: %s", self._key, rest.stretch.after + 1, rest.stretch.upto, rest.reason)
        coverage = await self._reader.coverage(self._storage)
        await in_thread(note_gap, self._storage, self._key, coverage, rest.stretch, rest.reason)


def _within(inner: Interval, outer: Interval) -> bool:
    return outer.after <= inner.after and inner.upto <= outer.upto


def _unit(by: By) -> str:
    return "ids" if by == "id" else "milliseconds"
