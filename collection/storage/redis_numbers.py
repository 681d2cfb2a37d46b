"""Number series in Redis: `qc:{KEY}:ts`, a RedisTimeSeries, or without that module `qc:{KEY}:z`, a sorted set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.resources import files
from typing import cast

import redis

from collection.storage.redis_server import END, call, has_timeseries, series_name
from collection.storage.values import Number

PIECE = 1_000
PAGE = 10_000


class RedisNumbers:
    """Writes and reads the number series of one server."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._script = client.register_script(files("collection.storage").joinpath("numbers.lua").read_bytes())

    @cached_property
    def _module(self) -> bool:
        return has_timeseries(self._redis)

    def _name(self, key: str) -> str:
        return series_name(key, "ts" if self._module else "z")

    def append(self, key: str, numbers: Sequence[Number]) -> bool:
        """Write samples, and return whether that created the series."""
        created = False
        for start in range(0, len(numbers), PIECE):
            samples = [part for ms, value in numbers[start : start + PIECE] for part in (ms, repr(value))]
            answer = self._script(keys=[series_name(key), self._name(key)], args=[int(self._module), key, *samples])
            created |= bool(cast("list[int]", answer)[0])
        return created

    def read(self, key: str, start: int = 0, end: int = END) -> Iterator[list[Number]]:
        """Yield the samples of a range in order, page by page."""
        while True:
            if self._module:
                page = self._samples("TS.RANGE", key, start, end, "COUNT", PAGE)
            else:
                found = self._redis.zrange(self._name(key), start, end, byscore=True, offset=0, num=PAGE)
                page = [_sample(member) for member in cast("list[bytes]", found)]
            yield page
            if len(page) < PAGE:
                return
            start = page[-1].timestamp + 1

    def latest(self, key: str, n: int) -> list[Number]:
        """Return the newest n samples, oldest first."""
        if self._module:
            return self._samples("TS.REVRANGE", key, "-", "+", "COUNT", n)[::-1]
        return [_sample(member) for member in cast("list[bytes]", self._redis.zrange(self._name(key), -n, -1))]

    def first(self, key: str) -> int | None:
        """Return the time of the oldest sample."""
        if self._module:
            samples = self._samples("TS.RANGE", key, "-", "+", "COUNT", 1)
        else:
            samples = [_sample(member) for member in cast("list[bytes]", self._redis.zrange(self._name(key), 0, 0))]
        return samples[0].timestamp if samples else None

    def size(self, key: str) -> tuple[int, int]:
        """Return the number of samples and of bytes."""
        if self._module:
            answer = call(self._redis, "TS.INFO", self._name(key))
            told = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
            told = {name.decode() if isinstance(name, bytes) else name: value for name, value in told.items()}
            return int(told["totalSamples"]), int(told["memoryUsage"])
        return self._redis.zcard(self._name(key)), self._redis.memory_usage(self._name(key)) or 0

    def drop_before(self, key: str, floor: int) -> None:
        """Delete the samples before `floor`."""
        if self._module:
            call(self._redis, "TS.DEL", self._name(key), 0, max(floor - 1, 0))
        else:
            self._redis.zremrangebyscore(self._name(key), "-inf", f"({floor}")

    def _samples(self, command: str, key: str, *args: object) -> list[Number]:
        answer = call(self._redis, command, self._name(key), *args)
        return [Number(int(ms), float(value)) for ms, value in answer]


def _sample(member: bytes) -> Number:
    ms, value = member.split(b" ")
    return Number(int(ms), float(value))
