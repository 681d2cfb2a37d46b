"""The interface between those who collect and those who read: time series under keys, stored once however often."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from string import ascii_letters, digits
from typing import Any, NamedTuple, Self

from collection.errors import ConfigurationError
from collection.storage.coverage import By, Coverage, Interval

_NAME = set(ascii_letters + digits + "_:.-")


class Covers(NamedTuple):
    """What a batch makes complete, told by whoever read it in one uninterrupted piece."""

    by: By
    intervals: Sequence[Interval]


class SeriesInfo(NamedTuple):
    """What a series holds at a glance; times in Unix milliseconds, None where it is empty."""

    key: str
    type: str
    records: int
    first: int | None
    last: int | None
    bytes: int


class DataCollectionStorage(ABC):
    """Time series under keys such as `trades:binance:BTC/USDT`.

    Timestamps are Unix milliseconds, ranges include both ends, results are ordered by (timestamp, record id).
    Which values are kept, and how they come back, is in `collection.storage.values`. Methods are synchronous and
    thread-safe: asynchronous code calls what can block through `asyncio.to_thread`. Storing again what is stored
    changes nothing, so retries, overlaps and replays are free.
    """

    def store(self, key: str, value: Any, timestamp: int) -> None:
        """Enqueue one value: never blocks, never raises for a server that is away.

        Raises:
            RecordRefused: The value can't be kept, whatever the server.
        """
        self.store_batch(key, [(timestamp, value)])

    @abstractmethod
    def store_batch(self, key: str, values: Iterable[tuple[int, Any]], covers: Covers | None = None) -> None:
        """Enqueue (timestamp, value) pairs, and what they make complete once all of them are stored.

        Raises:
            RecordRefused: A value can't be kept; then none of the batch is enqueued.
        """

    @abstractmethod
    def count(self, key: str, name: str, number: int = 1) -> None:
        """Enqueue an addition to a counter of the series (`refused:no_price`, …)."""

    @abstractmethod
    def flush(self, key: str | None = None, timeout: float = 10.0) -> None:
        """Return once all that was stored before (of one key, or of all) is durable.

        Raises:
            StorageUnavailable: It is not within `timeout` seconds; what waits goes on waiting.
            StorageRefused: The storage will never take some of it; the message says key by key what and why.
        """

    @abstractmethod
    def fetch(self, key: str, start_time: int | None = None, end_time: int | None = None) -> list[tuple[int, Any]]:
        """Return what is stored between two times, both included; None leaves that end open."""

    @abstractmethod
    def latest(self, key: str, n: int = 1) -> list[tuple[int, Any]]:
        """Return the newest `n` values, oldest first."""

    @abstractmethod
    def coverage(self, key: str) -> Coverage:
        """Return which stretches of the series are known to be complete."""

    @abstractmethod
    def counters(self, key: str) -> Mapping[str, int]:
        """Return what was counted: `new`, `duplicate`, `late`, `replaced`, `refused:…` and others."""

    @abstractmethod
    def claim(self, key: str, source: str) -> str:
        """Note, in words, where the data of a series come from; returns what was noted first."""

    @abstractmethod
    def series(self) -> list[str]:
        """Return the keys of all series, sorted."""

    @abstractmethod
    def info(self, keys: Sequence[str]) -> list[SeriesInfo]:
        """Return what each of the series holds."""

    @abstractmethod
    def drop_before(self, key: str, timestamp: int) -> None:
        """Forget the days that ended before `timestamp`, and refuse from now on what is of those days."""

    @abstractmethod
    def close(self) -> None:
        """Write what waits, as far as the server takes it within a moment, and let go of connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def checked_covers(key: str, covers: Covers | None) -> None:
    """Raise ValueError for intervals that can't be: positions go from -1, before the first id, to 2^64 - 1."""
    for after, upto in covers.intervals if covers else ():
        if not -1 <= after <= upto < 2**64:
            raise ValueError(f"{key}: no interval of positions: ({after}, {upto}]")


def checked_name(name: str) -> str:
    """Return the name of a counter, or raise ValueError where it can't be one."""
    if not name or not set(name) <= _NAME:
        raise ValueError(f"counter {name!r}: letters, digits, '_', ':', '.' and '-' only")
    return name


def checked_key(key: str) -> str:
    """Return the key, or raise ConfigurationError where it can't name a series."""
    if not (0 < len(key) <= 200 and key.isprintable()) or set(key) & set("{} \"'\\"):
        raise ConfigurationError(
            f"series key {key[:60]!r}: 1 to 200 printable characters without spaces, quotes, backslashes or braces"
        )
    return key
