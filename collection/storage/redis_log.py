"""Record logs in Redis: one stream a day, and beside it a sorted set of what came late.

qc:{KEY}:days           zset    the days that have a segment
qc:{KEY}:20191011       stream  the records of a day: id <ms>-<seq>, one field `r` that holds the payload
qc:{KEY}:20191011:late  zset    those that came after a newer one: score <ms>, member "<ms>-<seq> payload"
qc:{KEY}:coverage       zset    intervals, each a member "<after>:<upto>" in 20 digits, where 0 is the position -1
qc:{KEY}:notes          stream  what was stored behind the newest, for tails (see `redis_tail`)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from heapq import merge
from operator import itemgetter
from typing import Any, cast

import msgspec
import redis

from collection.storage.base import Floor, State
from collection.storage.bulk import bulk
from collection.storage.coverage import By, Coverage, Interval
from collection.storage.days import day_name
from collection.storage.redis_bars import bar_names, register_with_bars
from collection.storage.redis_server import END, call, send, series_name
from collection.storage.values import LAST_TIMESTAMP, Entry, Records

PIECE = 1_000
"""Records in one script call: Redis serves nobody else meanwhile."""
PAGE = 10_000
"""Records in one answer."""

_Item = tuple[bytes, list[bytes]]
"""A record as Redis answers it: id, [field, payload]."""
_identity = itemgetter(0, 1)
_decode_numbers = msgspec.json.Decoder(list[int]).decode
_size = lru_cache(partial(int.to_bytes, length=4, byteorder="big"))


class RedisLog:
    """Reads the record logs of one server, and drops days of them."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        for command in ("XRANGE", "XREVRANGE"):  # redis-py's own parser costs more than decoding
            client.set_response_callback(command, _as_it_is)
        self._drop = register_with_bars(client, "drop.lua", keys_before=4)

    def coverage(self, key: str) -> Coverage:
        """Return the covered intervals."""
        return self.states([key])[key].coverage

    def states(self, keys: Sequence[str]) -> dict[str, State]:
        """Return coverage, floor and count of series, in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for key in keys:
            send(pipe, "HMGET", series_name(key), "by", "floor", "dropped", "n:new")
            send(pipe, "ZRANGE", series_name(key, "coverage"), 0, -1)
        answers = iter(pipe.execute() if keys else ())
        states = {}
        for key in keys:
            by, floor, dropped, stored = next(answers)
            by_name: By = "time" if by == b"time" else "id"
            coverage = Coverage(by_name, tuple(_interval(member) for member in next(answers)))
            states[key] = State(coverage, _floor(floor, dropped), int(stored or 0))
        return states

    def read(self, key: str, start: int = 0, end: int = END) -> Iterator[Records]:
        """Yield the records of a range in order, page by page."""
        for day in self.days(key, start, end):
            position, before, more = str(start), (start, -1), True
            while more:
                items = self._items(_segment(key, day), position, str(end), PAGE)
                page, more = _columns(items), len(items) == PAGE
                upto = (page.timestamps[-1], page.seqs[-1]) if more else (end, 2**64)
                # Late ones after the others: of what is shown, no record is missing that was stored before another.
                members = self._late_members(key, day, before[0], upto[0])
                late = sorted(entry for entry in map(_late_entry, members) if before < entry[:2] <= upto)
                if late:
                    yield Records.of(list(merge(zip(*page, strict=True), late)))
                elif items:
                    yield page
                before = upto
                position = f"({items[-1][0].decode()}" if items else position

    def latest(self, key: str, n: int) -> list[Entry]:
        """Return the newest n records, oldest first."""
        found: list[Entry] = []
        for day in reversed(self.days(key, 0, END)):
            lacking = n - len(found)
            if lacking <= 0:
                break
            items = entries(call(self._redis, "XREVRANGE", _segment(key, day), "+", "-", "COUNT", lacking))
            oldest = items[-1][0] if len(items) == lacking else 0
            late = map(_late_entry, self._late_members(key, day, oldest, END))
            found = sorted([*items, *late])[-lacking:] + found
        return found

    def first(self, key: str) -> int | None:
        """Return the time of the oldest record."""
        for day in self.days(key, 0, END):
            late = cast("list[tuple[bytes, float]]", self._redis.zrange(_late(key, day), 0, 0, withscores=True))
            times = _columns(self._items(_segment(key, day), "-", "+", 1)).timestamps
            if times:  # or else it was dropped meanwhile
                return min([*times, *(int(score) for _, score in late)])
        return None

    def size(self, key: str) -> tuple[int, int]:
        """Return the number of records and of bytes."""
        pipe = self._redis.pipeline(transaction=False)
        days = self.days(key, 0, END)
        for day in days:
            pipe.xlen(_segment(key, day))
            pipe.zcard(_late(key, day))
        for day in days:
            pipe.memory_usage(_segment(key, day))
            pipe.memory_usage(_late(key, day))
        sizes = [number or 0 for number in pipe.execute()]
        return sum(sizes[: len(sizes) // 2]), sum(sizes[len(sizes) // 2 :])

    def floor(self, key: str) -> Floor:
        """Return where the log begins."""
        return _floor(*cast("list[bytes | None]", self._redis.hmget(series_name(key), ["floor", "dropped"])))

    def drop_before(self, key: str, floor: int) -> None:
        """Delete the segments of the days before `floor`, the start of a day, and the notes of their records."""
        if floor:
            self._drop_day(key, floor, "")  # first: from here on no day before it begins
            for day in self.days(key, 0, floor - 1):
                self._drop_day(key, floor, str(day))
        notes, position = series_name(key, "notes"), "-"
        while page := call(self._redis, "XRANGE", notes, position, "+", "COUNT", PAGE):
            if old := [name for name, note in page if note_time(note) < floor]:
                self._redis.hset(series_name(key), "unnoted", old[-1])
                self._redis.xdel(notes, *old)
            position = f"({page[-1][0].decode()}"

    def _drop_day(self, key: str, floor: int, day: str) -> None:
        names = [series_name(key, part) for part in ("days", day, f"{day}:late")]
        self._drop(keys=[series_name(key), *names, *bar_names(key)], args=[floor, day])

    def days(self, key: str, start: int, end: int) -> list[int]:
        """Return the days that have a segment, such as 20191011."""
        first, last = (day_name(min(max(time, 0), LAST_TIMESTAMP)) for time in (start, end))
        found = self._redis.zrange(series_name(key, "days"), first, last, byscore=True)
        return [int(day) for day in cast("list[bytes]", found)]

    @bulk
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


def entries(items: list[_Item]) -> list[Entry]:
    """Read records as Redis answers them."""
    return list(zip(*_columns(items), strict=True))


@bulk
def _columns(items: list[_Item]) -> Records:
    """Read ids and payloads; all ids in one call: `1-2`, `3-4` → [1,2,3,4]."""
    numbers = _decode_numbers(b"[" + b",".join([name for name, _ in items]).replace(b"-", b",") + b"]")
    return Records(numbers[::2], numbers[1::2], [fields[1] for _, fields in items])


def note_time(note: Sequence[bytes]) -> int:
    """Return the time of the record, or of the last of those, that a note in the stream of notes is about."""
    return int(note[-1 if note[0] == b"d" else 1].split(b"-")[0])


def _floor(floor: bytes | None, last: bytes | None) -> Floor:
    if last is None:
        return Floor(int(floor or 0))
    ms, seq = last.split(b"-")
    return Floor(int(floor or 0), (int(ms), int(seq)))


def _interval(member: bytes) -> Interval:
    return Interval(int(member[:20]) - 1, int(member[21:]) - 1)


def _late_entry(member: bytes) -> Entry:
    name, payload = member.split(b" ", 1)
    ms, seq = name.split(b"-")
    return int(ms), int(seq), payload
