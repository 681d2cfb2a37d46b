"""Somebody who follows a series by `tail`, and checks that each record is told once."""

from __future__ import annotations

from collections import Counter
from copy import copy

from collection.storage import Tail
from tests.properties.model import Identity, SeriesModel, exactly, identity, place


class Reader:
    """Reads from `position` on: `""`, the beginning, or `"now"`."""

    def __init__(self, key: str, model: SeriesModel, position: str) -> None:
        self.key = key
        self.model = model
        self.position = position
        self.since = len(model.arrivals) if position == "now" else 0
        self.arrived: Counter[Identity] = Counter()
        self.told: Counter[Identity] = Counter()
        self.newest: dict[Identity, object] = {}
        self.incomplete = False

    def fork(self) -> Reader:
        """Another reader who goes on from the same position."""
        other = copy(self)
        other.arrived, other.told, other.newest = self.arrived.copy(), self.told.copy(), self.newest.copy()
        return other

    def take(self, tail: Tail, limit: int) -> None:
        """Check one answer, and keep its position."""
        if self.position == "now":
            assert not tail.values
        assert len(tail.values) < 2 * limit + 1_000  # what was stored in one piece may be told in one
        self.position = tail.position
        self.arrived.update(arrival.identity for arrival in self.model.arrivals[self.since + self.arrived.total() :])
        for timestamp, value in tail.values:
            name = identity(timestamp, value)
            self.told[name] += 1
            self.newest[name] = exactly(value)
            assert self.told[name] <= self.arrived[name], f"told once too often: {timestamp}, {value}"
        if self.model.type != "number":
            self._check_order(tail)
        if not tail.complete:
            replaced = self.model.type == "number" and self.model.dropped  # what it lacks may be a later value
            assert replaced or self._missing() & self.model.dropped, "nothing that it lacks was dropped"
            self.incomplete = True

    def _check_order(self, tail: Tail) -> None:
        """Only what came late may follow what is newer."""
        if not self.model.order_known:
            return
        before: tuple[int, ...] = ()
        for name in (identity(*pair) for pair in tail.values):
            assert name in self.model.older or place(name) >= before, f"out of order: {name}"
            before = max(before, place(name))

    def check_drained(self) -> None:
        """Nothing is left to be told: all that is stored was, and where something was dropped unread, that was said."""
        missing = self._missing()
        assert missing <= self.model.dropped, f"never told: {missing - self.model.dropped}"
        assert self.incomplete or not missing, f"dropped before it was read, which was not said: {missing}"
        for arrival in self.model.arrivals[self.since :]:
            if arrival.identity in self.model.items:
                assert self.newest[arrival.identity] == exactly(self.model.items[arrival.identity])

    def _missing(self) -> set[Identity]:
        return {arrival.identity for arrival in self.model.arrivals[self.since :]} - set(self.told)
