"""Bars in Redis: seven labelled time series of one-second bars beside each log of trades, written by `append.lua`.

qc:{KEY}:bars:open … :quote_volume   labels: series, kind, exchange, market, field

Sums over longer bars are made by Redis from floats, each the nearest to an exact number of known decimals: where the
sum can't be wrong by half of the last decimal, rounding to it gives the exact sum. Where that can't be proved, and
where no bars are kept, bars are made from the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from secrets import token_hex
from typing import cast

import msgspec
import redis
from redis.commands.core import Script

from collection.bars import SECOND, Bar
from collection.storage.base import BarsCheck
from collection.storage.days import DAY_MS, day_time
from collection.storage.redis_server import END, has_timeseries, send, series_name

FIELDS = {
    "open": "FIRST",
    "high": "MAX",
    "low": "MIN",
    "close": "LAST",
    "volume": "SUM",
    "count": "SUM",
    "quote_volume": "SUM",
}
"""The series, and how one longer bar is made of several."""
AT_ONCE = 20_000
"""Bars in one answer."""
REBUILT = 100
"""Bars in one script call."""
_UNMARK = """
if redis.call('HGET', KEYS[1], 'dirty') == ARGV[1] then return redis.call('HDEL', KEYS[1], 'dirty') end
"""
MOST_DECIMALS = 22
"""A float holds the powers of ten up to here exactly."""


def bar_names(key: str) -> list[str]:
    """Name the Redis keys of a series' bars."""
    return [series_name(key, f"bars:{field}") for field in FIELDS]


@cache
def labels(key: str) -> bytes:
    """The labels of a series' bars, as the script reads them: name, value, name, value, …"""
    parts = key.split(":", 2)
    whole = len(parts) == 3 and all(parts)
    named = [("series", key), *(zip(("kind", "exchange", "market"), parts, strict=True) if whole else ())]
    kept = [pair for pair in named if not set(pair[1]) & set("(),")]  # which labels can't hold
    encoded: bytes = msgspec.msgpack.encode([part for pair in kept for part in pair])
    return encoded


def register_with_bars(client: redis.Redis, name: str, *, keys_before: int) -> Script:
    """Register a script that writes bars: the keys of their series follow the script's own."""
    folder = files("collection.storage")
    parts = (f"local BARS = {keys_before}\n", *(folder.joinpath(part).read_text() for part in ("bars.lua", name)))
    return client.register_script("".join(parts))


class RedisBars:
    """Reads and repairs the bars of one server."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._rebuild = register_with_bars(client, "rebuild.lua", keys_before=3)
        self._unmark = client.register_script(_UNMARK)

    def are_kept(self, key: str) -> bool:
        """Tell whether the bars of a series are written, and sound."""
        kept, dirty = self._redis.hmget(series_name(key), ["bars", "dirty"])
        return kept is not None and dirty is None

    def read(self, key: str, first: int | None, last: int | None, width: int) -> Iterator[tuple[Bar, bool]]:
        """Yield the bars of whole seconds' width between two times, and whether each is proved to be exact."""
        start, end = max(first or 0, 0), "+" if last is None else min(max(last, 0), END)
        row: Sequence[tuple[int, float]] = ()
        more = start <= END and (last is None or last >= start)
        while more:
            pipe = self._redis.pipeline(transaction=True)
            pipe.hmget(series_name(key), ["price_decimals", "amount_decimals"])  # as they are at this moment
            for name, way in zip(bar_names(key), FIELDS.values(), strict=True):
                how = () if width == SECOND else ("AGGREGATION", way, width)
                send(pipe, "TS.RANGE", name, start, end, "COUNT", AT_ONCE, *how)
            known, *answers = pipe.execute()
            of_price, of_amount = (int(number or 0) for number in known)
            columns = [[(int(at), float(value)) for at, value in column] for column in answers]
            for row in zip(*columns, strict=True):
                yield _bar(row, width, (of_amount, of_price + of_amount))
            more = len(columns[0]) == AT_ONCE
            start = row[0][0] + width if row else start

    def check(
        self, key: str, start: int, end: int, make: Callable[[str, int, int], list[Bar]], *, rebuild: bool
    ) -> BarsCheck:
        """Compare the kept bars with those that `make` makes of the records, day by day."""
        kept = self._redis.hget(series_name(key), "bars") is not None
        mark = f"being rebuilt {token_hex(4)}"
        if rebuild and not kept and has_timeseries(self._redis):
            # From here on they are written; until all of them are, the mark keeps readers away.
            self._redis.hset(series_name(key), mapping={"dirty": mark, "bars": "1"})
            kept, start, end = True, 0, END
        if rebuild and kept:
            if start == 0 and end == END:  # whatever fails from here on writes its own mark
                self._redis.hset(series_name(key), "dirty", mark)
            self._rebuild_day(key, 0, [])  # which makes those series that are not there
        bars, wrong = 0, list[int]()
        for day in cast("list[bytes]", self._redis.zrange(series_name(key, "days"), 0, -1)):
            midnight = day_time(int(day))
            first, last = max(start, midnight), min(end, midnight + DAY_MS - 1)
            found, differing = self._compared(key, first, last, make) if kept else (make(key, first, last), [])
            bars += len(found)
            wrong += differing
            if rebuild:
                self._rebuild_day(key, int(day), differing)
        if rebuild and start == 0 and end == END:
            self._unmark(keys=[series_name(key)], args=[mark])
        return BarsCheck(bars, tuple(wrong))

    def _compared(
        self, key: str, first: int, last: int, make: Callable[[str, int, int], list[Bar]]
    ) -> tuple[list[Bar], list[int]]:
        """Return the bars as they should be, and the times of those that are kept otherwise.

        What seems to differ is looked at again until it stands still: records arrive meanwhile.
        """
        should, kept = make(key, first, last), self._kept(key, first, last)
        made = {bar.timestamp: msgspec.structs.astuple(bar)[1:] for bar in should}
        wrong = []
        for at in sorted({*made, *kept}):
            before, after = made.get(at), kept.get(at)
            while before != after:
                again = [msgspec.structs.astuple(bar)[1:] for bar in make(key, at, at)]
                seen, after = after, self._kept(key, at, at).get(at)
                before = again[0] if again else None
                if seen == after and before != after:
                    wrong.append(at)
                    break
        return should, wrong

    def _kept(self, key: str, first: int, last: int) -> dict[int, tuple[float | None, ...]]:
        """Return what is in the seven series, whole or not, for a comparison."""
        found: dict[int, list[float | None]] = {}
        pipe = self._redis.pipeline(transaction=True)
        for name in bar_names(key):
            send(pipe, "TS.RANGE", name, first, last)
        for place, column in enumerate(pipe.execute(raise_on_error=False)):
            if isinstance(column, redis.ResponseError):  # none of it can be read: all of it is missing
                continue
            for at, value in column:
                found.setdefault(int(at), [None] * len(FIELDS))[place] = float(value)
        return {at: tuple(values) for at, values in found.items()}

    def _rebuild_day(self, key: str, day: int, times: Sequence[int]) -> None:
        """Make some bars of a day anew, each in one piece with whatever else is being appended."""
        names = [series_name(key), series_name(key, str(day)), series_name(key, f"{day}:late"), *bar_names(key)]
        for start in range(0, max(len(times), 1), REBUILT):
            seconds = [time // SECOND for time in times[start : start + REBUILT]]
            self._rebuild(keys=names, args=[labels(key), *seconds])


def _bar(row: Sequence[tuple[int, float]], width: int, decimals: Sequence[int]) -> tuple[Bar, bool]:
    at = row[0][0]
    first, high, low, last, volume, count, quote_volume = (value for _, value in row)
    if width == SECOND:
        return Bar(at, first, high, low, last, volume, int(count), quote_volume), True
    exact = [_exact(total, places, width) for total, places in zip((volume, quote_volume), decimals, strict=True)]
    whole, whole_quote = (total or 0.0 for total in exact)
    return Bar(at, first, high, low, last, whole, int(count), whole_quote), None not in exact


def _exact(total: float, decimals: int, width: int) -> float | None:
    """Return the float nearest to the exact sum of a bar's seconds, or None where it can't be proved."""
    scaled = total * 10.0**decimals
    error = abs(scaled) * (width // SECOND + 4) * 2.0**-53
    if decimals > MOST_DECIMALS or error > 0.25:
        return None
    sum_: float = round(scaled) / 10**decimals
    return sum_
