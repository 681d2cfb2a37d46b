"""A storage in Redis: record logs are streams cut by day, numbers are RedisTimeSeries.

For each series there is a hash `qc:{KEY}` with its type, coverage, floor and counters (`n:NAME`); the key is listed in
the set `qc:series`. See `redis_log` and `redis_numbers` for the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from collection.bars import SECOND, Bar, bar_range
from collection.storage.base import (
    BarsCheck,
    Covers,
    DataCollectionStorage,
    Floor,
    SeriesInfo,
    State,
    Tail,
    checked_covers,
    checked_key,
    checked_name,
)
from collection.storage.columns import number_columns, record_columns
from collection.storage.coverage import Coverage
from collection.storage.days import day_start
from collection.storage.redis_append import REFUSED, RedisAppend
from collection.storage.redis_bars import RedisBars
from collection.storage.redis_log import RedisLog
from collection.storage.redis_numbers import RedisNumbers
from collection.storage.redis_scripts import Call, run_scripts
from collection.storage.redis_server import END, INDEX, connect, series_name, server_errors, stated
from collection.storage.redis_tail import RedisTail
from collection.storage.spool import LIMIT, Spool
from collection.storage.values import Entry, Number, Records, SeriesType, decode, encode
from collection.storage.writer import Batch, Writer

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RedisStorage(DataCollectionStorage):
    """Stores in the Redis at `url` (`redis://`, `rediss://`, `unix://`); connects with the first call.

    What Redis does not take waits in the folder `spool`, if one is given, `spool_limit` bytes of it.
    """

    def __init__(self, url: str, *, spool: Path | None = None, spool_limit: int = LIMIT) -> None:
        self._redis = connect(url)
        self._append = RedisAppend(self._redis)
        self._log = RedisLog(self._redis)
        self._numbers = RedisNumbers(self._redis)
        self._bars = RedisBars(self._redis)
        self._tail = RedisTail(self._redis)
        self._listed: set[str] = set()
        self._writer = Writer(self._write, spool=Spool(spool, url, limit=spool_limit) if spool else None)

    def __repr__(self) -> str:
        return "RedisStorage()"  # without the URL, which may hold a password

    def store_batch(self, key: str, values: Iterable[tuple[int, Any]], covers: Covers | None = None) -> None:
        checked_covers(key, covers)
        self._writer.put(checked_key(key), Batch(*encode(values), covers))

    def count(self, key: str, name: str, number: int = 1) -> None:
        self._writer.put(checked_key(key), Batch(None, counts=Counter({checked_name(name): number})))

    def flush(self, key: str | None = None, timeout: float = 10.0) -> None:
        self._writer.flush(key, timeout)

    def close(self) -> None:
        self._writer.close()
        self._redis.close()

    def _write(self, batches: Sequence[tuple[str, Batch]]) -> list[Exception | None]:
        with server_errors():
            if new := {key for key, _ in batches} - self._listed:
                self._redis.sadd(INDEX, *new)
                self._listed |= new
            owners: list[int] = []
            followers: list[tuple[int, Call]] = []
            answers = run_scripts(self._redis, self._calls(batches, owners, followers))
            found: list[list[Any]] = [[] for _ in batches]
            for place, answer in zip(owners, answers, strict=True):
                found[place].append(answer)
            failures = [next(map(stated, filter(_failed, own)), None) for own in found]
            refused = [any(one[REFUSED] for one in own if not _failed(one)) for own in found]
            followers = [
                (place, self._append.uncovered(call) if refused[place] else call)
                for place, call in followers
                if not failures[place]
            ]
            answers = run_scripts(self._redis, [call for _, call in followers]) if followers else []
            for (place, _), answer in zip(followers, answers, strict=True):
                found[place].append(answer)
                failures[place] = stated(answer) if _failed(answer) else None
            # Redis may have been emptied since the keys were listed.
            created = {
                key for (key, _), own in zip(batches, found, strict=True) for one in own if not _failed(one) and one[0]
            }
            if created - new:
                self._redis.sadd(INDEX, *created)
            return failures

    def _calls(
        self, batches: Sequence[tuple[str, Batch]], owners: list[int], followers: list[tuple[int, Call]]
    ) -> Iterator[Call]:
        """Yield the calls that write; note whose each is in `owners`, and in `followers` what is to come after them."""
        for place, (key, batch) in enumerate(batches):
            if batch.type == "number":
                calls = self._numbers.calls(key, cast("Sequence[Number]", batch.entries))
                _, follower = self._append.calls(key, "", (), batch.covers, batch.counts)
            else:
                entries = cast("Sequence[Entry]", batch.entries)
                calls, follower = self._append.calls(key, batch.type or "", entries, batch.covers, batch.counts)
            for call in calls:
                owners.append(place)
                yield call
            if follower:
                followers.append((place, follower))

    def fetch(self, key: str, start_time: int | None = None, end_time: int | None = None) -> list[tuple[int, Any]]:
        return [value for page in self.pages(key, start_time, end_time) for value in page]

    def pages(
        self, key: str, start_time: int | None = None, end_time: int | None = None
    ) -> Iterator[list[tuple[int, Any]]]:
        start, end = _range(start_time, end_time)
        with server_errors():
            series_type = self._type(key) if start <= end else None
            if series_type == "number":
                yield from self._numbers.read(key, start, end)
            elif series_type:
                for page in self._log.read(key, start, end):
                    yield decode(series_type, page)

    def columns(self, key: str, start_time: int | None = None, end_time: int | None = None) -> dict[str, NDArray[Any]]:
        start, end = _range(start_time, end_time)
        with server_errors():
            series_type = self._type(key)
            if series_type == "number":
                pages = self._numbers.read(key, start, end) if start <= end else ()
                return number_columns([sample for page in pages for sample in page])
            return record_columns(series_type, self._log.read(key, start, end) if series_type else [])

    def latest(self, key: str, n: int = 1) -> list[tuple[int, Any]]:
        with server_errors():
            series_type = self._type(key)
            if series_type is None or n <= 0:
                return []
            if series_type == "number":
                return list(self._numbers.latest(key, n))
            return decode(series_type, Records.of(self._log.latest(key, n)))

    def tail(self, positions: Mapping[str, str], limit: int = 10_000) -> dict[str, Tail]:
        with server_errors():
            return self._tail.read(positions, limit)

    def bars(
        self, key: str, start_time: int | None = None, end_time: int | None = None, width: int = SECOND
    ) -> list[Bar]:
        first, last = bar_range(start_time, end_time, width)
        with server_errors():
            if width % SECOND or not self._bars.are_kept(key):
                return super().bars(key, start_time, end_time, width)
            found: list[Bar] = []
            for proved, group in groupby(self._bars.read(key, first, last, width), itemgetter(1)):
                bars = [bar for bar, _ in group]
                found += bars if proved else super().bars(key, bars[0].timestamp, bars[-1].timestamp, width)
            return found

    def check_bars(
        self, key: str, start_time: int | None = None, end_time: int | None = None, *, rebuild: bool = False
    ) -> BarsCheck:
        first, last = bar_range(start_time, end_time, SECOND)
        with server_errors():
            return self._bars.check(key, *_range(first, last), super().bars, rebuild=rebuild)

    def coverage(self, key: str) -> Coverage:
        with server_errors():
            return self._log.coverage(key)

    def floor(self, key: str) -> Floor:
        with server_errors():
            return self._log.floor(key)

    def states(self, keys: Sequence[str]) -> dict[str, State]:
        with server_errors():
            return self._log.states(keys)

    def counters(self, key: str) -> Mapping[str, int]:
        with server_errors():
            fields = cast("dict[bytes, bytes]", self._redis.hgetall(series_name(key)))
        return {name[2:].decode(): int(number) for name, number in sorted(fields.items()) if name.startswith(b"n:")}

    def claim(self, key: str, source: str) -> str:
        with server_errors():
            self._redis.hsetnx(series_name(checked_key(key)), "source", source)
            return cast("bytes", self._redis.hget(series_name(key), "source")).decode()

    def series(self) -> list[str]:
        with server_errors():
            return sorted(key.decode() for key in cast("set[bytes]", self._redis.smembers(INDEX)))

    def info(self, keys: Sequence[str]) -> list[SeriesInfo]:
        with server_errors():
            return [self._info(key) for key in keys]

    def _info(self, key: str) -> SeriesInfo:
        series_type = self._type(key)
        if series_type is None:
            return SeriesInfo(key, "", 0, None, None, 0)
        layout = self._numbers if series_type == "number" else self._log
        last = layout.latest(key, 1)
        count, size = layout.size(key)
        return SeriesInfo(key, series_type, count, layout.first(key), last[-1][0] if last else None, size)

    def drop_before(self, key: str, timestamp: int) -> None:
        with server_errors():
            self._log.drop_before(key, day_start(timestamp))
            if self._type(key) == "number":
                self._numbers.drop_before(key, day_start(timestamp))

    def _type(self, key: str) -> SeriesType | None:
        found = cast("bytes | None", self._redis.hget(series_name(key), "type"))
        return cast("SeriesType", found.decode()) if found else None


def _failed(answer: object) -> bool:
    return isinstance(answer, Exception)


def _range(start: int | None, end: int | None) -> tuple[int, int]:
    """Return the ends of a range in times that Redis takes; the first is greater where nothing is in it."""
    first, last = max(start or 0, 0), END if end is None else min(end, END)
    return (first, last) if first <= last and last >= 0 else (1, 0)
