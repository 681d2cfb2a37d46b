"""Record logs in Redis: one stream a day, and beside it a sorted set of what came late.

qc:{KEY}:days           zset    the days that have a segment
qc:{KEY}:20191011       stream  the records of a day: id <ms>-<seq>, one field `r` that holds the payload
qc:{KEY}:20191011:late  zset    those that came after a newer one: score <ms>, member "<ms>-<seq> payload"
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from importlib.resources import files
from itertools import groupby
from typing import Any, cast

import msgspec
import redis

from collection.storage.base import Covers
from collection.storage.days import DAY_MS, day_name
from collection.storage.redis_server import END, call, series_name
from collection.storage.values import LAST_TIMESTAMP, Columns, Entry

PIECE = 1_000
"""Records in one script call: Redis serves nobody else meanwhile."""
PAGE = 10_000
"""Records in one answer."""


_Item = tuple[bytes, list[bytes]]
"""A record as Redis answers it: id, [field, payload]."""
_decode_numbers = msgspec.json.Decoder(list[int]).decode


class RedisLog:
    """Appends to and reads the record logs of one server."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        for command in ("XRANGE", "XREVRANGE"):  # redis-py's own parser costs more than decoding
            client.set_response_callback(command, _as_it_is)
        self._append = client.register_script(files("collection.storage").joinpath("append.lua").read_bytes())

    def append(
        self, key: str, series_type: str, entries: Sequence[Entry], covers: Covers | None, counts: Mapping[str, int]
    ) -> bool:
        """Append, and return whether that created the series.

        In pieces, coverage and counts with the last one: should a piece fail, all of it is written again.
        """
        by, intervals = (covers.by, " ".join(f"{a} {b}" for a, b in covers.intervals)) if covers else ("", "")
        ordered = sorted(entries)
        once = [
            entry
            for entry, before in zip(ordered, [None, *ordered], strict=False)
            if not before or entry[:2] != before[:2]
        ]
        if len(once) < len(ordered):
            counts = Counter(counts) + Counter({"duplicate": len(ordered) - len(once)})
        counted = " ".join(f"{name} {number}" for name, number in counts.items())
        pieces = list(_pieces(once)) or [(0, [])]
        created = False
        for day, piece in pieces[:-1]:
            created |= self._call(key, day, series_type, piece, "", "", "")
        return self._call(key, pieces[-1][0], series_type, pieces[-1][1], by, intervals, counted) or created

    def _call(
        self, key: str, day: int, series_type: str, piece: Sequence[Entry], by: str, intervals: str, counts: str
    ) -> bool:
        names = [series_name(key), series_name(key, "days"), _segment(key, day), _late(key, day)]
        records = [part for ms, seq, payload in piece for part in (f"{ms}-{seq}", payload)]
        answer = self._append(keys=names, args=[series_type, day, by, intervals, counts, *records])
        return bool(cast("list[int]", answer)[0])

    def read(self, key: str, start: int = 0, end: int = END) -> Iterator[Columns]:
        """Yield the records of a range in order, page by page."""
        for day in self._days(key, start, end):
            late = sorted(_late_entry(m) for m in self._late_members(key, day, start, end))
            position = str(start)
            while items := self._items(_segment(key, day), position, str(end), PAGE):
                page = _columns(items)
                due = bisect(late, (page.timestamps[-1], page.seqs[-1]))
                yield Columns.of(list(merge(map(Entry, *page), late[:due]))) if due else page
                late, position = late[due:], f"({items[-1][0].decode()}"
                if len(items) < PAGE:
                    break
            if late:
                yield Columns.of(late)

    def latest(self, key: str, n: int) -> list[Entry]:
        """Return the newest n records, oldest first."""
        found: list[Entry] = []
        for day in reversed(self._days(key, 0, END)):
            lacking = n - len(found)
            if lacking <= 0:
                break
            items = call(self._redis, "XREVRANGE", _segment(key, day), "+", "-", "COUNT", lacking)
            late = cast("list[bytes]", self._redis.zrevrange(_late(key, day), 0, -1))
            found = sorted([*map(Entry, *_columns(items)), *map(_late_entry, late)])[-lacking:] + found
        return found

    def first(self, key: str) -> int | None:
        """Return the time of the oldest record."""
        for day in self._days(key, 0, END):
            late = cast("list[tuple[bytes, float]]", self._redis.zrange(_late(key, day), 0, 0, withscores=True))
            times = _columns(self._items(_segment(key, day), "-", "+", 1)).timestamps
            return min([*times, *(int(score) for _, score in late)])
        return None

    def size(self, key: str) -> tuple[int, int]:
        """Return the number of records and of bytes."""
        pipe = self._redis.pipeline(transaction=False)
        days = self._days(key, 0, END)
        for day in days:
            pipe.xlen(_segment(key, day))
            pipe.zcard(_late(key, day))
        for day in days:
            pipe.memory_usage(_segment(key, day))
            pipe.memory_usage(_late(key, day))
        sizes = [number or 0 for number in pipe.execute()]
        return sum(sizes[: len(sizes) // 2]), sum(sizes[len(sizes) // 2 :])

    def drop_before(self, key: str, floor: int) -> None:
        """Delete the segments of the days before `floor`, the start of a day."""
        for day in self._days(key, 0, floor - 1) if floor else []:
            self._redis.unlink(_segment(key, day), _late(key, day))
            self._redis.zrem(series_name(key, "days"), str(day))

    def _days(self, key: str, start: int, end: int) -> list[int]:
        first, last = (day_name(min(max(time, 0), LAST_TIMESTAMP)) for time in (start, end))
        found = self._redis.zrange(series_name(key, "days"), first, last, byscore=True)
        return [int(day) for day in cast("list[bytes]", found)]

    def _items(self, segment: str, start: str, end: str, count: int) -> list[_Item]:
        found: list[_Item] = call(self._redis, "XRANGE", segment, start, end, "COUNT", count)
        return found

    def _late_members(self, key: str, day: int, start: int, end: int) -> list[bytes]:
        return cast("list[bytes]", self._redis.zrange(_late(key, day), start, end, byscore=True))


def _as_it_is(answer: Any, **_: Any) -> Any:
    return answer


def _segment(key: str, day: int) -> str:
    return series_name(key, str(day))


def _late(key: str, day: int) -> str:
    return series_name(key, f"{day}:late")


def _pieces(entries: list[Entry]) -> Iterator[tuple[int, list[Entry]]]:
    for day, group in groupby(entries, lambda entry: entry[0] // DAY_MS):
        of_day = list(group)
        for start in range(0, len(of_day), PIECE):
            yield day_name(day * DAY_MS), of_day[start : start + PIECE]


def _columns(items: list[_Item]) -> Columns:
    """Read ids and payloads; all ids in one call: `1-2`, `3-4` → [1,2,3,4]."""
    numbers = _decode_numbers(b"[" + b",".join([name for name, _ in items]).replace(b"-", b",") + b"]")
    return Columns(numbers[::2], numbers[1::2], [fields[1] for _, fields in items])


def _late_entry(member: bytes) -> Entry:
    name, payload = member.split(b" ", 1)
    ms, seq = name.split(b"-")
    return Entry(int(ms), int(seq), payload)
