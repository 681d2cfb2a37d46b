"""What a page of trades makes complete: by ids where the exchange numbers its trades, else by time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from collection.clients.base import Cursor
from collection.records import Trade
from collection.storage.coverage import Interval

FULL = 50
"""New trades in a page from which on another one is asked for, where the exchange's page size is not known."""
SETTLED_MS = 60_000
"""After this time no more trades are expected in a millisecond."""


def covered_ids(ids: Iterable[int], after: int | None) -> list[Interval]:
    """Join contiguous ids to intervals, the first one to position `after`: an id that is missing stays a gap."""
    intervals = [] if after is None else [Interval(after, after)]
    for number in sorted(set(ids)):
        if intervals and number <= intervals[-1].upto:
            continue
        if intervals and number == intervals[-1].upto + 1:
            intervals[-1] = Interval(intervals[-1].after, number)
        else:
            intervals.append(Interval(number - 1, number))
    return intervals


def covered_times(trades: Sequence[Trade], after: Cursor | None, now: int) -> tuple[list[Interval], bool]:
    """Return what a page covers, and whether another one is to be asked for.

    The last millisecond of a page may be cut, so it is not covered but read again with the next page. Whether a
    page joins what is stored shows in the page itself, for not every exchange heeds `since`: it begins before the
    cursor, or among the trades that are known to follow it. A page that does not join opens a new interval, after
    its first millisecond, which may be cut as well.
    """
    if not trades:
        return [], False
    times = [trade.timestamp for trade in trades]
    first, last = min(times), min(max(times), now)  # what is yet to come is not complete, whatever one trade says
    first = min(first, last)
    if after is None:
        return [Interval(min(first, last - 1), last - 1)], len(trades) >= FULL
    edge = after.position + 1
    joins = first < edge or any(trade.timestamp == edge and trade.id in after.edge for trade in trades)
    added = sum(time > edge for time in times)
    if last <= edge:
        # A full page within one millisecond that is long over: more can't be had of it, so go on behind it.
        stuck = first == last == edge and len(trades) >= FULL and last < now - SETTLED_MS
        return ([Interval(last, last)], True) if stuck else ([], False)
    begin = after.position if joins else min(first, last - 1)
    return [Interval(begin, last - 1)], added >= FULL
