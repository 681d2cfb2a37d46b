"""Reading a stretch of a series' history again: as much of it as the exchange has."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from collection.clients.paging import covered_ids
from collection.data_collectors.trades_reader import TradesReader
from collection.errors import StorageRefused
from collection.gap_notes import FORGOTTEN, OUT_OF_REACH
from collection.records import Trade
from collection.storage import Coverage, DataCollectionStorage, Interval
from collection.storage.coverage import clip, without
from collection.storage.values import integer_id


class Left(NamedTuple):
    """What of a stretch was not read."""

    stretch: Interval
    reason: str
    """Why the exchange does not have it, as it seems; empty where that can't be told."""


async def read_over(
    reader: TradesReader, storage: DataCollectionStorage, stretch: Interval, until: float, *, covered: bool = False
) -> list[Left]:
    """Read a stretch, page by page, and return what is left of it; no page is asked for after `until` (monotonic).

    Of what is `covered` already, ids count as read where their records came: those that are refused are left.

    Raises:
        RetryLater: The exchange or the storage is away.
        ConfigurationError: Trying again will not help.
    """
    position, left, came = stretch.after, list[Left](), Coverage()
    while position < stretch.upto and time.monotonic() < until:
        try:
            page = await reader.read(storage, await reader.after(storage, position))
        except StorageRefused as refused:
            left.append(Left(Interval(position, stretch.upto), f"the storage refuses what is in it: {refused}"))
            position = stretch.upto
            break
        by = page.covers.by
        came = came.with_intervals(covered_ids(_ids(page.trades), None))
        here = Coverage(by, (Interval(position, position),)).with_intervals(page.covers.intervals)
        reached = next(one.upto for one in here.intervals if one.after <= position <= one.upto)
        if reached > position:
            position = reached
            continue
        behind = next((one for one in here.intervals if one.after > position), None)
        if behind is None:
            break
        upto = min(behind.after, stretch.upto)
        left.append(Left(Interval(position, upto), FORGOTTEN if by == "id" else OUT_OF_REACH))
        position = upto
    if position < stretch.upto:
        left.append(Left(Interval(position, stretch.upto), ""))
    if covered and came.intervals:
        known = [one.stretch for one in left]
        read = without([stretch], known)
        refused_ids = without(clip(read, stretch), came.intervals)
        left += [Left(one, "what the exchange has of it is refused") for one in refused_ids]
    return sorted(left)


def _ids(trades: Sequence[Trade]) -> list[int]:
    return [number for trade in trades if (number := integer_id(trade.id)) is not None]
