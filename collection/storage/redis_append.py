"""Appending to record logs in Redis: a batch becomes calls of `append.lua`."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from operator import itemgetter

import redis

from collection.storage.base import Covers
from collection.storage.coverage import Interval
from collection.storage.days import DAY_MS, day_name, day_start
from collection.storage.redis_bars import bar_names, labels, register_with_bars
from collection.storage.redis_scripts import Call
from collection.storage.redis_server import has_timeseries, series_name
from collection.storage.values import Entry, same

PIECE = 1_000
"""Records in one script call: Redis serves nobody else meanwhile."""

PIECE_BYTES = 8_000_000
"""Their payloads, unless one alone is larger: Redis takes no argument of 512 MB."""

REFUSED = 4
"""The place in a script's answer that says how many records were refused, for their day was dropped."""

_identity = itemgetter(0, 1)
_size = lru_cache(partial(int.to_bytes, length=4, byteorder="big"))


class RedisAppend:
    """Makes the calls for one server."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._append = register_with_bars(client, "append.lua", keys_before=6)

    @cached_property
    def _module(self) -> bool:
        return has_timeseries(self._redis)

    def calls(
        self, key: str, series_type: str, entries: Sequence[Entry], covers: Covers | None, counts: Mapping[str, int]
    ) -> tuple[Iterator[Call], Call | None]:
        """Return the calls that append records, in pieces, and the one that follows once all of these are done.

        That one extends the coverage, and counts; a single piece does it itself. Should a piece fail, all of it is
        written again.
        """
        once = sorted(entries)
        if len(entries) > len(set(map(_identity, entries))):
            first = {_identity(entry): entry for entry in reversed(entries)}
            once = sorted(first.values())
            counts = Counter(counts) + _repeated(series_type, entries, first)
        by, intervals = (covers.by, " ".join(map(_member, covers.intervals))) if covers else ("", "")
        last = (by, intervals, " ".join(f"{name} {number}" for name, number in counts.items()))
        pieces = list(_pieces(once))
        if len(pieces) == 1:
            return (self._call(key, day, series_type, piece, *last) for day, piece in pieces), None
        calls = (self._call(key, day, series_type, piece, "", "", "") for day, piece in pieces)
        return calls, self._call(key, 0, series_type if once else "", (), *last) if covers or counts else None

    def uncovered(self, call: Call) -> Call:
        """Return the call that follows as it is where some records were refused: it covers nothing."""
        return call._replace(args=(*call.args[:2], "", "", *call.args[4:]))

    def _call(
        self, key: str, day: int, series_type: str, piece: Sequence[Entry], by: str, intervals: str, counts: str
    ) -> Call:
        parts = ("days", str(day), f"{day}:late", "coverage", "notes")
        names = [series_name(key), *(series_name(key, part) for part in parts), *bar_names(key)]
        records = b"".join([b"%d-%d\0%b%b" % (ms, seq, _size(len(data)), data) for ms, seq, data in piece])
        labelled = labels(key) if self._module else b""
        return Call(self._append, names, (series_type, day, by, intervals, counts, labelled, len(piece), records))


def _repeated(series_type: str, entries: Sequence[Entry], first: Mapping[tuple[int, int], Entry]) -> Counter[str]:
    """Count the entries of a batch that are not the first of their identity."""
    others = [(entry, first[_identity(entry)]) for entry in entries if entry is not first[_identity(entry)]]
    alike = sum(same(series_type, entry[2], other[2]) for entry, other in others)
    return Counter({"duplicate": alike, "refused:conflict": len(others) - alike})


def _pieces(entries: list[Entry]) -> Iterator[tuple[int, list[Entry]]]:
    start = 0
    while start < len(entries):
        midnight = day_start(entries[start][0]) + DAY_MS
        end = bisect_left(entries, (midnight,), start, min(start + PIECE, len(entries)))
        while end - start > 1 and sum(len(data) for _, _, data in entries[start:end]) > PIECE_BYTES:
            end = start + (end - start) // 2
        yield day_name(midnight - DAY_MS), entries[start:end]
        start = end


def _member(interval: Interval) -> str:
    return f"{interval.after + 1:020}:{interval.upto + 1:020}"
