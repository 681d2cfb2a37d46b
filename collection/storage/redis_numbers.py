"""Number series in Redis: `qc:{KEY}:ts`, a RedisTimeSeries, or without that module `qc:{KEY}:z`, a sorted set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.resources import files
from typing import cast

import redis

from collection.storage.redis_scripts import Call
from collection.storage.redis_server import END, call, has_timeseries, series_name
from collection.storage.values import Number

PIECE = 1_000
PAGE = 10_000


class RedisNumbers:
    """Writes and reads the number series of one server."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._layouts: dict[str, str] = {}
        self._script = client.register_script(files("collection.storage").joinpath("numbers.lua").read_bytes())

    @cached_property
    def _module(self) -> bool:
        return has_timeseries(self._redis)

    def _layout(self, key: str) -> str:
        """`ts` or `z`: that of the series, which stays when the server gains the module; else what the server has."""
        if key not in self._layouts:
            noted = cast("bytes | None", self._redis.hget(series_name(key), "layout"))
            if noted is None:
                return "ts" if self._module else "z"
            self._layouts[key] = noted.decode()
        return self._layouts[key]

    def calls(self, key: str, numbers: Sequence[Number]) -> Iterator[Call]:
        """Yield the calls that write samples, in pieces."""
        layout = self._layout(key)
        names = [series_name(key), series_name(key, layout), series_name(key, "notes")]
        for start in range(0, len(numbers), PIECE):
            samples = [part for ms, value in numbers[start : start + PIECE] for part in (ms, repr(value))]
            yield Call(self._script, names, (int(layout == "ts"), key, *samples))

    def read(self, key: str, start: int = 0, end: int = END) -> Iterator[list[Number]]:
        """Yield the samples of a range in order, page by page."""
        layout = self._layout(key)
        while True:
            if layout == "ts":
                page = self._samples("TS.RANGE", key, start, end, "COUNT", PAGE)
            else:
                found = self._redis.zrange(series_name(key, "z"), start, end, byscore=True, offset=0, num=PAGE)
                page = [sample(member) for member in cast("list[bytes]", found)]
            yield page
            if len(page) < PAGE:
                return
            start = page[-1][0] + 1

    def latest(self, key: str, n: int) -> list[Number]:
        """Return the newest n samples, oldest first."""
        if self._layout(key) == "ts":
            return self._samples("TS.REVRANGE", key, "-", "+", "COUNT", n)[::-1]
        return [sample(member) for member in cast("list[bytes]", self._redis.zrange(series_name(key, "z"), -n, -1))]

    def first(self, key: str) -> int | None:
        """Return the time of the oldest sample."""
        if self._layout(key) == "ts":
            samples = self._samples("TS.RANGE", key, "-", "+", "COUNT", 1)
        else:
            samples = [
                sample(member) for member in cast("list[bytes]", self._redis.zrange(series_name(key, "z"), 0, 0))
            ]
        return samples[0][0] if samples else None

    def size(self, key: str) -> tuple[int, int]:
        """Return the number of samples and of bytes."""
        if self._layout(key) == "ts":
            answer = call(self._redis, "TS.INFO", series_name(key, "ts"))
            told = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
            told = {name.decode() if isinstance(name, bytes) else name: value for name, value in told.items()}
            return int(told["totalSamples"]), int(told["memoryUsage"])
        return self._redis.zcard(series_name(key, "z")), self._redis.memory_usage(series_name(key, "z")) or 0

    def drop_before(self, key: str, floor: int) -> None:
        """Delete the samples before `floor`; what is older is refused already."""
        if self._layout(key) == "ts":
            last = self._samples("TS.REVRANGE", key, "-", max(floor - 1, 0), "COUNT", 1)
        else:
            found = self._redis.zrange(
                series_name(key, "z"), f"({floor}", "-inf", byscore=True, desc=True, offset=0, num=1
            )
            last = [sample(member) for member in cast("list[bytes]", found)]
        if not last:
            return
        self._redis.hset(series_name(key), "dropped", f"{last[0][0]}-0")
        if self._layout(key) == "ts":
            call(self._redis, "TS.DEL", series_name(key, "ts"), 0, max(floor - 1, 0))
        else:
            self._redis.zremrangebyscore(series_name(key, "z"), "-inf", f"({floor}")

    def _samples(self, command: str, key: str, *args: object) -> list[Number]:
        answer = call(self._redis, command, series_name(key, "ts"), *args)
        return [(int(ms), float(value)) for ms, value in answer]


def sample(member: bytes) -> Number:
    """Read a member of the sorted set."""
    ms, value = member.split(b" ")
    return (int(ms), float(value))
