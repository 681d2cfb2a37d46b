"""What a storage must be, as plainly as Python says it: dictionaries, brute force and exact fractions.

Written from the storage's interface, and knowing nothing of how it is made: where the two differ, one is wrong.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from collection.bars import Bar
from collection.records import Trade
from collection.storage import Coverage, Covers, Floor, Interval

DAY = 86_400_000

Identity = tuple[int, object]
"""What makes a record the same one when it comes again: its timestamp, and its id or its content."""


class Arrival(NamedTuple):
    """Something that was stored and changed the series: what a tail has to tell."""

    identity: Identity
    value: Any


def record_id(text: str) -> int:
    """The number that a trade id stands for: itself where it is one below 2^64 written plainly, else a hash."""
    if text.isascii() and text.isdecimal() and str(int(text)) == text and int(text) < 2**64:
        return int(text)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def exactly(value: Any) -> object:
    """Something that is equal for two values only where not even a trailing zero or a type tells them apart."""
    if isinstance(value, Trade):
        return value.timestamp, value.id, value.side, str(value.price), str(value.amount), value.received
    if isinstance(value, dict):
        return "dict", tuple(sorted((name, exactly(part)) for name, part in value.items()))
    if isinstance(value, list | tuple):
        return "list", tuple(map(exactly, value))
    return type(value).__name__, repr(value)


def identity(timestamp: int, value: Any) -> Identity:
    """A trade is known by its id, a number by its time alone, another value by what it is."""
    if isinstance(value, Trade):
        return timestamp, record_id(value.id)
    return timestamp, None if is_number(value) else exactly(value)


def place(name: Identity) -> tuple[int, ...]:
    """Where an item stands in the order of its series, as far as that is promised."""
    timestamp, more = name
    return (timestamp, more) if isinstance(more, int) else (timestamp,)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def type_of(value: Any) -> str:
    return "trade" if isinstance(value, Trade) else "number" if is_number(value) else "value"


def bars(trades: Iterable[Trade], start: int | None, end: int | None, width: int) -> list[Bar]:
    """The bars that begin between two times, from all trades of the series in any order."""
    groups: dict[int, list[Trade]] = {}
    for trade in trades:
        begin = trade.timestamp // width * width
        if (start is None or begin >= start) and (end is None or begin <= end):
            groups.setdefault(begin, []).append(trade)
    return [bar(begin, groups[begin]) for begin in sorted(groups)]


def bar(begin: int, trades: Iterable[Trade]) -> Bar:
    ordered = sorted(trades, key=lambda trade: (trade.timestamp, record_id(trade.id)))
    prices = [Fraction(trade.price) for trade in ordered]
    amounts = [Fraction(trade.amount) for trade in ordered]
    return Bar(
        timestamp=begin,
        open=float(prices[0]),
        high=float(max(prices)),
        low=float(min(prices)),
        close=float(prices[-1]),
        volume=float(sum(amounts)),
        count=len(ordered),
        quote_volume=float(sum(price * amount for price, amount in zip(prices, amounts, strict=True))),
    )


def merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Join any two that touch, until none does."""
    left = [Interval(*interval) for interval in intervals]
    done: list[Interval] = []
    while left:
        one = left.pop()
        touching = [other for other in left + done if other.after <= one.upto and one.after <= other.upto]
        if not touching:
            done.append(one)
            continue
        left = [other for other in left if other not in touching]
        done = [other for other in done if other not in touching]
        joined = (one, *touching)
        left.append(Interval(min(part.after for part in joined), max(part.upto for part in joined)))
    return tuple(sorted(done))


class SeriesModel:
    """One series; batches are told to it in the order in which the storage took them."""

    def __init__(self) -> None:
        self.type: str | None = None
        self.items: dict[Identity, Any] = {}
        self.dropped: set[Identity] = set()
        self.arrivals: list[Arrival] = []
        self.older: set[Identity] = set()
        """What arrived after something newer, of whatever day."""
        self._newest: tuple[int, ...] = ()
        self.by: str | None = None
        self.intervals: tuple[Interval, ...] = ()
        self.floor = 0
        self.newest_dropped: Identity | None = None
        self.counted: Counter[str] = Counter()
        self.late_at_most = 0
        """How many more records may be called late, where the order in which batches were written is open."""
        self.unclear = 0
        """How many were repeated in what may have been one write, but are refused or differ: by what name is open."""
        self.order_known = True
        """Whether batches were told in the very order in which the storage took them."""
        self.exact = True
        """Whether each batch was written once: what a cut made the writer repeat may be counted twice."""

    def store(self, *batches: Sequence[tuple[int, Any]]) -> None:
        """Take batches that follow each other; several at once may be written as one, or one by one."""
        before = dict(self.items)
        new: list[Identity] = []
        told: dict[Identity, list[Any]] = {}
        for batch in batches:
            for timestamp, value in sorted(batch, key=lambda pair: pair[0]):
                self.type = self.type or type_of(value)
                known = identity(timestamp, value)
                name = self._put(known, value)
                self.counted[name] += 1
                told.setdefault(known, []).append(value)
                if name == "new":
                    new.append(known)
        if self.type != "number":
            self.unclear += sum(
                len(values) - 1
                for (timestamp, _), values in told.items()
                if timestamp < self.floor or any(value != values[0] for value in values)
            )
            at_least = self._late(new, before)
            self.counted["late"] += at_least
            self.late_at_most += self._late(new, before if len(batches) == 1 else self.items, ties=True) - at_least

    def _put(self, name: Identity, value: Any) -> str:
        if name[0] < self.floor:
            return "refused:dropped_day"
        there = name in self.items
        if there and self.items[name] == value:
            return "duplicate"
        if there and self.type != "number":
            return "refused:conflict"
        if place(name) <= self._newest:
            self.older.add(name)
        self._newest = max(self._newest, place(name))
        self.items[name] = float(value) if self.type == "number" else value
        self.arrivals.append(Arrival(name, self.items[name]))
        return "replaced" if there else "new"

    def _late(self, new: Sequence[Identity], among: Iterable[Identity], *, ties: bool = False) -> int:
        """How many of the new ones are older than another one of their day, with `ties` or maybe are."""
        newest: dict[int, tuple[int, ...]] = {}
        for name in among:
            newest[name[0] // DAY] = max(newest.get(name[0] // DAY, ()), place(name))
        ties = ties and self.type == "value"
        return sum(
            place(name) < last or (ties and last == place(name))
            for name, last in ((name, newest.get(name[0] // DAY, ())) for name in new)
        )

    def cover(self, covers: Covers) -> None:
        self.by = self.by or covers.by
        self.intervals = merged([*self.intervals, *covers.intervals])

    def drop_before(self, timestamp: int) -> None:
        self.floor = max(self.floor, timestamp // DAY * DAY)
        gone = {name for name in self.items if name[0] < self.floor}
        for name in gone:
            del self.items[name]
        self.dropped |= gone
        if gone:
            self.newest_dropped = max(gone, key=place)

    # What can be asked.

    def fetch(self, start: int | None = None, end: int | None = None) -> list[tuple[int, Any]]:
        return [
            (name[0], self.items[name])
            for name in sorted(self.items, key=place)
            if (start is None or name[0] >= start) and (end is None or name[0] <= end)
        ]

    def bars(self, start: int | None, end: int | None, width: int) -> list[Bar]:
        return bars(self.items.values(), start, end, width) if self.type == "trade" else []

    @property
    def coverage(self) -> Coverage:
        return Coverage("time" if self.by == "time" else "id", self.intervals)

    @property
    def gaps(self) -> list[Interval]:
        return [Interval(a.upto, b.after) for a, b in zip(self.intervals, self.intervals[1:], strict=False)]

    def is_floor(self, floor: Floor) -> bool:
        """Whether that is where the series begins; ids that only a storage knows are left open."""
        last = self.newest_dropped
        if last is None or floor.last is None or self.type == "value":
            return (floor.timestamp, floor.last and floor.last[0]) == (self.floor, last and last[0])
        return floor == Floor(self.floor, (last[0], 0) if self.type == "number" else last)  # type: ignore[arg-type]

    @property
    def size(self) -> tuple[int, int | None, int | None]:
        times = [name[0] for name in self.items]
        return len(times), min(times, default=None), max(times, default=None)


def nearest(number: Decimal) -> float:
    """The 64-bit float nearest to a decimal."""
    return float(Fraction(number))
