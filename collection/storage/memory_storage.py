"""A storage in the memory of one process: for trials and tests; what it holds ends with the process."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from collection.errors import ConfigurationError, StorageRefused
from collection.storage.base import (
    BarsCheck,
    Covers,
    DataCollectionStorage,
    Floor,
    SeriesInfo,
    Tail,
    checked_covers,
    checked_key,
    checked_name,
)
from collection.storage.columns import number_columns, record_columns
from collection.storage.coverage import Coverage
from collection.storage.days import DAY_MS, day_start
from collection.storage.values import Entry, Number, Records, SeriesType, decode, encode, same

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Series:
    def __init__(self) -> None:
        self.type: SeriesType | None = None
        self.entries: list[Entry] = []
        self.numbers: dict[int, float] = {}
        self.coverage: Coverage | None = None
        self.counters: Counter[str] = Counter()
        self.floor = Floor()
        self.arrived: list[Any] = []  # entries or numbers, for tails

    def add_entry(self, entry: Entry) -> None:
        timestamp = entry[0]
        place = bisect_left(self.entries, entry)
        for other in self.entries[max(place - 1, 0) : place + 1]:
            if other[:2] == entry[:2]:
                self.counters["duplicate" if same(self.type or "", entry[2], other[2]) else "refused:conflict"] += 1
                return
        self.counters["new"] += 1
        if place < len(self.entries) and self.entries[place][0] < day_start(timestamp) + DAY_MS:
            self.counters["late"] += 1
        self.entries.insert(place, entry)
        self.arrived.append(entry)

    def add_number(self, number: Number) -> None:
        timestamp, value = number
        there = self.numbers.get(timestamp)
        name = "new" if there is None else "duplicate" if there == value else "replaced"
        self.counters[name] += 1
        self.numbers[timestamp] = value
        if name != "duplicate":
            self.arrived.append(number)

    def drop_before(self, floor: int) -> None:
        if floor > self.floor.timestamp:
            dropped = [entry[:2] for entry in self.entries if entry[0] < floor]
            dropped += sorted((ms, 0) for ms in self.numbers if ms < floor)
            self.floor = Floor(floor, dropped[-1] if dropped else self.floor.last)
        self.entries = [entry for entry in self.entries if entry[0] >= floor]
        self.numbers = {ms: value for ms, value in self.numbers.items() if ms >= floor}

    def between(self, start: int | None, end: int | None) -> list[Any]:
        items: list[Any] = sorted(self.numbers.items()) if self.type == "number" else self.entries
        first = 0 if start is None else bisect_left(items, start, key=lambda item: item[0])
        return items[first : None if end is None else bisect_right(items, end, key=lambda item: item[0])]

    def read(self, items: Sequence[Any]) -> list[tuple[int, Any]]:
        return list(items) if self.type == "number" else decode(self.type or "value", Records.of(items))

    def tail(self, position: str, limit: int) -> Tail:
        place = len(self.arrived) if position == "now" else int(position or 0)
        upto = min(place + limit, len(self.arrived))
        new = self.arrived[place:upto]
        kept = [item for item in new if item[0] >= self.floor.timestamp]
        last = list(dict(kept).items()) if self.type == "number" else kept
        return Tail(self.read(last), str(upto), upto < len(self.arrived), len(kept) == len(new))


class MemoryStorage(DataCollectionStorage):
    """The plain twin of the other storages: it says in a few lines what all of them do."""

    def __init__(self) -> None:
        self._series: dict[str, _Series] = {}
        self._sources: dict[str, str] = {}
        self._set_aside: dict[str, str] = {}
        self._lock = threading.Lock()

    def store_batch(self, key: str, values: Iterable[tuple[int, Any]], covers: Covers | None = None) -> None:
        checked_covers(key, covers)
        series_type, items = encode(values)
        with self._lock:
            series = self._series.setdefault(checked_key(key), _Series())
            if series_type and (series.type or series_type) != series_type:
                self._set_aside[key] = f"the series holds values of type {series.type}, not {series_type}"
                series.counters["refused:set_aside"] += len(items)
                return
            series.type = series.type or series_type
            add: Callable[[Any], None] = series.add_number if series_type == "number" else series.add_entry
            ordered: list[Any] = sorted(items, key=itemgetter(0) if series_type == "number" else itemgetter(0, 1))
            kept = [item for item in ordered if item[0] >= series.floor.timestamp]
            for item in kept:
                add(item)
            if refused := len(ordered) - len(kept):
                series.counters["refused:dropped_day"] += refused
            if covers and series.coverage and series.coverage.by != covers.by:
                self._set_aside[key] = f"the coverage of the series is by {series.coverage.by}, not by {covers.by}"
            elif covers and not refused:
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
            series = self._series.get(key, _Series())
            return series.read(series.between(start_time, end_time))

    def pages(
        self, key: str, start_time: int | None = None, end_time: int | None = None
    ) -> Iterator[list[tuple[int, Any]]]:
        yield self.fetch(key, start_time, end_time)

    def columns(self, key: str, start_time: int | None = None, end_time: int | None = None) -> dict[str, NDArray[Any]]:
        with self._lock:
            series = self._series.get(key, _Series())
            items = series.between(start_time, end_time)
        return number_columns(items) if series.type == "number" else record_columns(series.type, [Records.of(items)])

    def latest(self, key: str, n: int = 1) -> list[tuple[int, Any]]:
        return self.fetch(key)[-n:] if n > 0 else []

    def tail(self, positions: Mapping[str, str], limit: int = 10_000) -> dict[str, Tail]:
        if wrong := [place for place in positions.values() if place not in ("", "now") and not place.isdecimal()]:
            raise ConfigurationError(f"{wrong[0]!r} is no position of this storage")
        with self._lock:
            return {key: self._series.get(key, _Series()).tail(place, limit) for key, place in positions.items()}

    def check_bars(
        self, key: str, start_time: int | None = None, end_time: int | None = None, *, rebuild: bool = False
    ) -> BarsCheck:
        return BarsCheck(len(self.bars(key, start_time, end_time)), ())  # none is kept

    def coverage(self, key: str) -> Coverage:
        with self._lock:
            return self._series.get(key, _Series()).coverage or Coverage()

    def floor(self, key: str) -> Floor:
        with self._lock:
            return self._series.get(key, _Series()).floor

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
                size = sum(16 + len(payload) for _, _, payload in series.entries) + 16 * len(series.numbers)
            infos.append(SeriesInfo(key, series.type or "", len(values), first, last, size))
        return infos

    def drop_before(self, key: str, timestamp: int) -> None:
        with self._lock:
            series = self._series.setdefault(checked_key(key), _Series())
            series.drop_before(max(series.floor.timestamp, day_start(timestamp)))

    def close(self) -> None:
        """Nothing waits and nothing is held open."""
