"""The live table of `collection up`: what each collector brought, how late, and what went wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from collection.errors import CollectionError
from collection.output import moment
from collection.records import Trade
from collection.storage import DataCollectionStorage


class Sample(NamedTuple):
    """What one collector's series showed at a moment (seconds of the monotonic clock)."""

    at: float
    records: int
    last: int | None
    lag: float | None
    counters: Mapping[str, int]


class Dashboard:
    """Samples the storage, and draws what it saw."""

    def __init__(self, storage: DataCollectionStorage, collectors: Sequence[str]) -> None:
        self._storage = storage
        self._collectors = collectors
        self._samples: dict[str, Sample] = {}
        self._rates: dict[str, float] = {}
        self.trouble = ""

    def sample(self) -> None:
        """Look at the storage once."""
        try:
            for key in self._collectors:
                self._take(key)
            self.trouble = ""
        except CollectionError as error:
            self.trouble = str(error)

    def _take(self, key: str) -> None:
        counters = self._storage.counters(key)
        newest = self._storage.latest(key)
        last = newest[-1][0] if newest else None
        value = newest[-1][1] if newest else None
        lag = (value.received - value.timestamp) / 1000 if isinstance(value, Trade) and value.received else None
        sample = Sample(time.monotonic(), counters.get("new", 0), last, lag, counters)
        before = self._samples.get(key)
        if before:
            self._rates[key] = (sample.records - before.records) / (sample.at - before.at)
        self._samples[key] = sample

    def table(self, title: str) -> Table:
        """Draw a row for each collector."""
        table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
        table.add_column("collector")
        for name in ("records", "records/s", "last record (UTC)", "lag", "repeated", "refused", "errors"):
            table.add_column(name, justify="right")
        for key in self._collectors:
            sample = self._samples.get(key)
            if sample is None:
                table.add_row(key, *["–"] * 7)
                continue
            refused, errors = (_sum(sample.counters, prefix) for prefix in ("refused:", "error:"))
            table.add_row(
                key,
                f"{sample.records:,}",
                f"{self._rates.get(key, 0):,.1f}",
                moment(sample.last),
                "–" if sample.lag is None else f"{sample.lag:,.1f} s",
                f"{sample.counters.get('duplicate', 0):,}",
                Text(f"{refused:,}", style="red" if refused else ""),
                Text(f"{errors:,}", style="red" if errors else ""),
            )
        return table

    def line(self) -> str:
        """Say the same in one line, for where no table can be drawn."""
        records = sum(sample.records for sample in self._samples.values())
        errors = sum(_sum(sample.counters, "error:") for sample in self._samples.values())
        return f"{records:,} records, {sum(self._rates.values()):,.1f} records/s, {errors:,} errors"


def _sum(counters: Mapping[str, int], prefix: str) -> int:
    return sum(number for name, number in counters.items() if name.startswith(prefix))
