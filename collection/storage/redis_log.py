"""Record logs in Redis: one stream a day, and beside it a sorted set of what came late.

qc:{KEY}:days           zset    the days that have a segment
qc:{KEY}:20191011       stream  the records of a day: id <ms>-<seq>, one field `r` that holds the payload
qc:{KEY}:20191011:late  zset    those that came after a newer one: score <ms>, member "<ms>-<seq> payload"
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from importlib.resources import files
from itertools import groupby
from typing import Any, cast

import redis

from collection.storage.base import Covers
from collection.storage.days import day_name
from collection.storage.redis_server import END, series_name
from collection.storage.values import LAST_TIMESTAMP, Entry

PIECE = 1_000
"""Records in one script call: Redis serves nobody else meanwhile."""
PAGE = 10_000
"""Records in one answer."""


class RedisLog:
    """Appends to and reads the record logs of one server."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._append = client.register_script(files("collection.storage").joinpath("append.lua").read_bytes())

    def append(
        self, key: str, series_type: str, entries: Sequence[Entry], covers: Covers | None, counts: Mapping[str, int]
    ) -> bool:
        """Append, and return whether that created the series.

        In pieces, coverage and counts with the last one: should a piece fail, all of it is written again.
        """
        by, intervals = (covers.by, " ".join(f"{a} {b}" for a, b in covers.intervals)) if covers else ("", "")
        counted = " ".join(f"{name} {number}" for name, number in counts.items())
        pieces = list(_pieces(sorted(entries))) or [(0, [])]
        created = False
        for day, piece in pieces[:-1]:
            created |= self._call(key, day, series_type, piece, "", "", "")
        return self._call(key, pieces[-1][0], series_type, pieces[-1][1], by, intervals, counted) or created

    def _call(
        self, key: str, day: int, series_type: str, piece: Sequence[Entry], by: str, intervals: str, counts: str
    ) -> bool:
        names = [series_name(key), series_name(key, "days"), _segment(key, day), _late(key, day)]
        blob = b"".join(map(_packed, piece))
        answer = self._append(keys=names, args=[series_type, day, blob, by, intervals, counts])
        return bool(cast("list[int]", answer)[0])

    def read(self, key: str, start: int = 0, end: int = END) -> Iterator[list[Entry]]:
        """Yield the records of a range in order, page by page."""
        for day in self._days(key, start, end):
            late = sorted(_late_entry(m) for m in self._late_members(key, day, start, end))
            position = str(start)
            while items := self._items(_segment(key, day), position, str(end), PAGE):
                page = [_entry(item) for item in items]
                due = sum(entry < page[-1] for entry in late)
                yield list(merge(page, late[:due]))
                late, position = late[due:], f"({items[-1][0].decode()}"
                if len(items) < PAGE:
                    break
            if late:
                yield late

    def latest(self, key: str, n: int) -> list[Entry]:
        """Return the newest n records, oldest first."""
        found: list[Entry] = []
        for day in reversed(self._days(key, 0, END)):
            lacking = n - len(found)
            if lacking <= 0:
                break
            items = cast("list[Any]", self._redis.xrevrange(_segment(key, day), count=lacking))
            late = cast("list[bytes]", self._redis.zrevrange(_late(key, day), 0, -1))
            found = sorted([*map(_entry, _flat(items)), *map(_late_entry, late)])[-lacking:] + found
        return found

    def first(self, key: str) -> int | None:
        """Return the time of the oldest record."""
        for day in self._days(key, 0, END):
            late = cast("list[tuple[bytes, float]]", self._redis.zrange(_late(key, day), 0, 0, withscores=True))
            times = [_entry(item).timestamp for item in self._items(_segment(key, day), "-", "+", 1)]
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

    def _items(self, segment: str, start: str, end: str, count: int) -> list[tuple[bytes, list[bytes]]]:
        return _flat(cast("list[Any]", self._redis.xrange(segment, start, end, count=count)))

    def _late_members(self, key: str, day: int, start: int, end: int) -> list[bytes]:
        return cast("list[bytes]", self._redis.zrange(_late(key, day), start, end, byscore=True))


def _segment(key: str, day: int) -> str:
    return series_name(key, str(day))


def _late(key: str, day: int) -> str:
    return series_name(key, f"{day}:late")


def _pieces(entries: list[Entry]) -> Iterator[tuple[int, list[Entry]]]:
    for day, group in groupby(entries, lambda entry: day_name(entry.timestamp)):
        of_day = list(group)
        for start in range(0, len(of_day), PIECE):
            yield day, of_day[start : start + PIECE]


def _packed(entry: Entry) -> bytes:
    name = b"%d-%d" % entry[:2]
    return bytes((len(name),)) + name + struct.pack(">I", len(entry.payload)) + entry.payload


def _flat(items: list[Any]) -> list[tuple[bytes, list[bytes]]]:
    return [(name, list(fields.values()) if isinstance(fields, dict) else fields) for name, fields in items]


def _entry(item: tuple[bytes, list[bytes]]) -> Entry:
    ms, seq = item[0].split(b"-")
    return Entry(int(ms), int(seq), item[1][-1])


def _late_entry(member: bytes) -> Entry:
    name, payload = member.split(b" ", 1)
    ms, seq = name.split(b"-")
    return Entry(int(ms), int(seq), payload)
