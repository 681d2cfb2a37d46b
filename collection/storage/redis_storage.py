"""A storage in Redis: record logs are streams cut by day, numbers are RedisTimeSeries.

For each series there is a hash `qc:{KEY}` with its type, coverage, floor and counters (`n:NAME`); the key is listed in
the set `qc:series`. See `redis_log` and `redis_numbers` for the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from collection.errors import RecordRefused
from collection.storage.base import Covers, DataCollectionStorage, SeriesInfo, checked_covers, checked_key, checked_name
from collection.storage.coverage import Coverage
from collection.storage.days import day_start
from collection.storage.redis_log import RedisLog
from collection.storage.redis_numbers import RedisNumbers
from collection.storage.redis_server import END, INDEX, connect, series_name, server_errors
from collection.storage.values import Columns, Entry, Number, SeriesType, decode, encode
from collection.storage.writer import Batch, Writer


class RedisStorage(DataCollectionStorage):
    """Stores in the Redis at `url` (`redis://`, `rediss://`, `unix://`); connects with the first call."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)
        self._log = RedisLog(self._redis)
        self._numbers = RedisNumbers(self._redis)
        self._listed: set[str] = set()
        self._writer = Writer(self._write)

    def __repr__(self) -> str:
        return "RedisStorage()"  # without the URL, which may hold a password

    def store_batch(self, key: str, values: Iterable[tuple[int, Any]], covers: Covers | None = None) -> None:
        checked_covers(key, covers)
        encoded = [encode(value, timestamp) for timestamp, value in values]
        types = {series_type for series_type, _ in encoded}
        if len(types) > 1:
            raise RecordRefused("mixed_types", f"{key}: a batch of the types {', '.join(sorted(types))}")
        batch = Batch(types.pop() if types else None, [item for _, item in encoded], covers)
        self._writer.put(checked_key(key), batch)

    def count(self, key: str, name: str, number: int = 1) -> None:
        self._writer.put(checked_key(key), Batch(None, counts=Counter({checked_name(name): number})))

    def flush(self, key: str | None = None, timeout: float = 10.0) -> None:
        self._writer.flush(key, timeout)

    def close(self) -> None:
        self._writer.close()
        self._redis.close()

    def _write(self, key: str, batch: Batch) -> None:
        with server_errors():
            if key not in self._listed:
                self._redis.sadd(INDEX, key)
                self._listed.add(key)
            created = False
            if batch.type == "number":
                created = self._numbers.append(key, cast("Sequence[Number]", batch.entries))
                batch = Batch(None, covers=batch.covers, counts=batch.counts)
            if batch.entries or batch.covers or batch.counts:
                entries = cast("Sequence[Entry]", batch.entries)
                created |= self._log.append(key, batch.type or "", entries, batch.covers, batch.counts)
            if created:  # Redis may have been emptied since the key was listed
                self._redis.sadd(INDEX, key)

    def fetch(self, key: str, start_time: int | None = None, end_time: int | None = None) -> list[tuple[int, Any]]:
        start, end = max(start_time or 0, 0), END if end_time is None else min(end_time, END)
        with server_errors():
            series_type = self._type(key)
            if series_type is None or end < start:
                return []
            if series_type == "number":
                return [sample for page in self._numbers.read(key, start, end) for sample in page]
            return [value for page in self._log.read(key, start, end) for value in decode(series_type, page)]

    def latest(self, key: str, n: int = 1) -> list[tuple[int, Any]]:
        with server_errors():
            series_type = self._type(key)
            if series_type is None or n <= 0:
                return []
            if series_type == "number":
                return list(self._numbers.latest(key, n))
            return decode(series_type, Columns.of(self._log.latest(key, n)))

    def coverage(self, key: str) -> Coverage:
        with server_errors():
            by, text = cast("list[bytes | None]", self._redis.hmget(series_name(key), ["by", "coverage"]))
        return Coverage.loads("time" if by == b"time" else "id", (text or b"").decode())

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
        return SeriesInfo(key, series_type, count, layout.first(key), last[-1].timestamp if last else None, size)

    def drop_before(self, key: str, timestamp: int) -> None:
        with server_errors():
            # The floor comes first: once a day is gone, nothing of it is taken any more.
            floor = max(day_start(timestamp), int(cast("bytes", self._redis.hget(series_name(key), "floor")) or 0))
            self._redis.hset(series_name(key), "floor", str(floor))
            layout = self._numbers if self._type(key) == "number" else self._log
            layout.drop_before(key, floor)

    def _type(self, key: str) -> SeriesType | None:
        found = cast("bytes | None", self._redis.hget(series_name(key), "type"))
        return cast("SeriesType", found.decode()) if found else None
