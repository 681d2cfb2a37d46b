"""A storage in the memory of one process: for trials and tests; what it holds ends with the process."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collection.errors import StorageRefused
from collection.storage.base import Covers, DataCollectionStorage, SeriesInfo, checked_covers, checked_key, checked_name
from collection.storage.coverage import Coverage
from collection.storage.days import DAY_MS, day_start
from collection.storage.values import Columns, Entry, Number, SeriesType, decode, encode


class _Series:
    def __init__(self) -> None:
        self.type: SeriesType | None = None
        self.entries: list[Entry] = []
        self.numbers: dict[int, float] = {}
        self.coverage: Coverage | None = None
        self.counters: Counter[str] = Counter()
        self.floor = 0

    def add_entry(self, entry: Entry) -> None:
        place = bisect_left(self.entries, entry[:2], key=lambda other: other[:2])
        if place < len(self.entries) and self.entries[place][:2] == entry[:2]:
            self.counters["duplicate"] += 1
            return
        self.counters["new"] += 1
        if place < len(self.entries) and self.entries[place].timestamp < day_start(entry.timestamp) + DAY_MS:
            self.counters["late"] += 1
        insort(self.entries, entry)

    def add_number(self, number: Number) -> None:
        there = self.numbers.get(number.timestamp)
        name = "new" if there is None else "duplicate" if there == number.value else "replaced"
        self.counters[name] += 1
        self.numbers[number.timestamp] = number.value

    def values(self) -> list[tuple[int, Any]]:
        if self.type == "number":
            return sorted(self.numbers.items())
        return decode(self.type or "value", Columns.of(self.entries))


class MemoryStorage(DataCollectionStorage):
    """The plain twin of the other storages: it says in a few lines what all of them do."""

    def __init__(self) -> None:
        self._series: dict[str, _Series] = {}
        self._sources: dict[str, str] = {}
        self._set_aside: dict[str, str] = {}
        self._lock = threading.Lock()

    def store_batch(self, key: str, values: Iterable[tuple[int, Any]], covers: Covers | None = None) -> None:
        checked_covers(key, covers)
        encoded = [encode(value, timestamp) for timestamp, value in values]
        with self._lock:
            series = self._series.setdefault(checked_key(key), _Series())
            for series_type, item in sorted(encoded, key=lambda pair: pair[1][0]):
                if (series.type or series_type) != series_type:
                    reason = f"the series holds values of type {series.type}, not {series_type}"
                    self._set_aside[key] = reason
                    return
                series.type = series_type
                if item.timestamp < series.floor:
                    series.counters["refused:dropped_day"] += 1
                elif isinstance(item, Entry):
                    series.add_entry(item)
                else:
                    series.add_number(item)
            if covers and series.coverage and series.coverage.by != covers.by:
                self._set_aside[key] = f"the coverage of the series is by {series.coverage.by}, not by {covers.by}"
            elif covers:
                series.coverage = (series.coverage or Coverage(covers.by)).with_intervals(covers.intervals)

    def count(self, key: str, name: str, number: int = 1) -> None:
        with self._lock:
            self._series.setdefault(checked_key(key), _Series()).counters[checked_name(name)] += number

    def flush(self, key: str | None = None, timeout: float = 10.0) -> None:
        with self._lock:
            reasons = {k: self._set_aside.pop(k) for k in list(self._set_aside) if key in (None, k)}
        if reasons:
            raise StorageRefused(reasons)

    def fetch(self, key: str, start_time: int | None = None, end_time: int | None = None) -> list[tuple[int, Any]]:
        with self._lock:
            values = self._series.get(key, _Series()).values()
        first = 0 if start_time is None else bisect_left(values, start_time, key=lambda value: value[0])
        last = len(values) if end_time is None else bisect_right(values, end_time, key=lambda value: value[0])
        return values[first:last]

    def latest(self, key: str, n: int = 1) -> list[tuple[int, Any]]:
        return self.fetch(key)[-n:] if n > 0 else []

    def coverage(self, key: str) -> Coverage:
        with self._lock:
            return self._series.get(key, _Series()).coverage or Coverage()

    def counters(self, key: str) -> Mapping[str, int]:
        with self._lock:
            return dict(+self._series.get(key, _Series()).counters)

    def claim(self, key: str, source: str) -> str:
        with self._lock:
            return self._sources.setdefault(checked_key(key), source)

    def series(self) -> list[str]:
        with self._lock:
            return sorted(self._series)

    def info(self, keys: Sequence[str]) -> list[SeriesInfo]:
        infos = []
        for key in keys:
            values = self.fetch(key)
            first, last = (values[0][0], values[-1][0]) if values else (None, None)
            with self._lock:
                series = self._series.get(key, _Series())
                size = sum(16 + len(entry.payload) for entry in series.entries) + 16 * len(series.numbers)
            infos.append(SeriesInfo(key, series.type or "", len(values), first, last, size))
        return infos

    def drop_before(self, key: str, timestamp: int) -> None:
        with self._lock:
            series = self._series.setdefault(checked_key(key), _Series())
            series.floor = max(series.floor, day_start(timestamp))
            series.entries = [entry for entry in series.entries if entry.timestamp >= series.floor]
            series.numbers = {ms: value for ms, value in series.numbers.items() if ms >= series.floor}

    def close(self) -> None:
        """Nothing waits and nothing is held open."""
