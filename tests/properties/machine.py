"""What may happen to a storage, in any order: after each step it holds what the model holds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from collection.errors import RecordRefused, StorageRefused
from collection.records import Trade
from collection.storage import BarsCheck, Covers, DataCollectionStorage, Interval
from collection.storage.redis_server import call, connect
from tests.properties import strategies as some
from tests.properties.cutting import How
from tests.properties.model import SeriesModel, exactly, identity, nearest
from tests.properties.places import Place, Redis, settle
from tests.properties.reader import Reader

TRADES = ("trades:a:BTC/USDT", "trades:b:BTC/USDT")
PRICE, STATE = "price", "state"
KEYS = (*TRADES, PRICE, STATE)
BAR_FIELDS = ("open", "high", "low", "close", "volume", "count", "quote_volume")
Pairs = Sequence[tuple[int, Any]]

trade_keys = st.sampled_from(TRADES)
keys = st.sampled_from(KEYS)
which = st.integers(0, 1)
maybe_covers = st.one_of(st.none(), some.covers_by_id)


def pairs(trades: Sequence[Trade]) -> Pairs:
    return [(trade.timestamp, trade) for trade in trades]


class StorageMachine(RuleBasedStateMachine):
    def __init__(self, place: Place) -> None:
        super().__init__()
        place.empty()
        self.place = place
        self.storages = [place.open(), place.open()]
        self.models = {key: SeriesModel() for key in KEYS}
        self.known: set[str] = set()
        self.stored: list[tuple[str, Pairs]] = []
        self.touched: set[str] = set(KEYS)
        self.readers = [Reader(key, self.models[key], "") for key in KEYS]
        self.large = 0

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:  # else that is what to tell
                self.touched = set(KEYS)
                self.equals_the_model()
                for reader in self.readers:
                    self.drain(reader, 7 if len(reader.model.arrivals) < 300 else 333)
        finally:
            for storage in self.storages:
                storage.close()

    # Storing.

    def write(self, key: str, *batches: Pairs, covers: Covers | None = None, which: int = 0) -> None:
        for batch in batches:
            self.storages[which].store_batch(key, batch, covers)
        settle(self.storages[which])
        self.told(key, *batches, covers=covers)

    def told(self, key: str, *batches: Pairs, covers: Covers | None = None) -> None:
        """Tell the model what was stored; each batch makes complete what `covers` says."""
        model = self.models[key]
        model.store(*batches)
        if covers and any(all(timestamp >= model.floor for timestamp, _ in batch) for batch in batches):
            model.cover(covers)
        self.stored += [(key, batch) for batch in batches if batch]
        self.touched.add(key)
        self.known.add(key)

    @rule(key=trade_keys, batch=some.batches, covers=maybe_covers, which=which)
    def store_trades(self, key: str, batch: list[Trade], covers: Covers | None, which: int) -> None:
        self.write(key, pairs(batch), covers=covers, which=which)

    @rule(batch=some.samples, covers=st.one_of(st.none(), some.covers_by_time), which=which)
    def store_numbers(self, batch: list[tuple[int, float]], covers: Covers | None, which: int) -> None:
        self.write(PRICE, batch, covers=covers, which=which)

    @rule(batch=some.states, which=which)
    def store_values(self, batch: list[tuple[int, Any]], which: int) -> None:
        self.write(STATE, batch, which=which)

    @rule(key=trade_keys, batches=st.lists(some.batches, min_size=2, max_size=5), covers=maybe_covers, which=which)
    def store_without_waiting(self, key: str, batches: list[list[Trade]], covers: Covers | None, which: int) -> None:
        # Where some of a write is refused, what the rest of it covers is left open as well.
        dropped = any(trade.timestamp < self.models[key].floor for batch in batches for trade in batch)
        self.write(key, *map(pairs, batches), covers=None if dropped else covers, which=which)

    @precondition(lambda self: self.stored)
    @rule(number=st.integers(0, 99), part=st.slices(12), which=which)
    def store_again(self, number: int, part: slice, which: int) -> None:
        key, batch = self.stored[number % len(self.stored)]
        self.write(key, batch[part], which=which)

    @precondition(lambda self: self.stored)
    @rule(which=which)
    def replay_everything(self, which: int) -> None:
        for key in sorted({key for key, _ in self.stored}):
            self.write(key, *(batch for stored, batch in self.stored if stored == key), which=which)
        del self.stored[len(self.stored) // 2 :]  # else it doubles with each replay

    @rule(key=trade_keys, first=some.batches, second=some.batches)
    def store_together(self, key: str, first: list[Trade], second: list[Trade]) -> None:
        """Two writers at the same time, with one part in common; whose own version came first is not told apart."""
        mine = {identity(trade.timestamp, trade): trade for trade in first}
        others = [mine.get(identity(trade.timestamp, trade), trade) for trade in second]
        both = [pairs(list(mine.values())), pairs(others + first[::2])]
        both[1] = [(at, mine.get(identity(at, trade), trade)) for at, trade in both[1]]

        covers = Covers("id", [Interval(0, 4)])

        def store(which: int) -> None:
            self.storages[which].store_batch(key, both[which], covers)
            settle(self.storages[which])

        threads = [threading.Thread(target=store, args=(which,)) for which in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.models[key].order_known = False
        self.told(key, *both, covers=covers)

    @precondition(lambda self: self.large < 2)
    @rule(key=trade_keys, seed=st.integers(0, 9), count=st.integers(1_001, 2_200), covers=maybe_covers, which=which)
    def store_in_pieces(self, key: str, seed: int, count: int, covers: Covers | None, which: int) -> None:
        self.large += 1
        self.write(key, pairs(some.many(seed, count)), covers=covers, which=which)

    @rule(key=keys, which=which, number=st.integers(1, 3))
    def count(self, key: str, which: int, number: int) -> None:
        self.storages[which].count(key, "refused:no_price", number)
        settle(self.storages[which])
        self.models[key].counted["refused:no_price"] += number
        self.known.add(key)

    @rule(key=trade_keys, trade=some.trades(), batch=some.batches, which=which)
    def store_something_bad_in_between(self, key: str, trade: Trade, batch: list[Trade], which: int) -> None:
        with pytest.raises(RecordRefused):
            self.storages[which].store_batch(key, [*pairs(batch), (trade.timestamp + 1, trade)])
        self.touched.add(key)

    @precondition(lambda self: any(model.type for model in self.models.values()))
    @rule(key=keys, which=which)
    def store_another_type(self, key: str, which: int) -> None:
        if self.models[key].type is None:
            return
        other = "text" if self.models[key].type != "value" else 5
        self.storages[which].store_batch(key, [(some.FIRST_DAY, other)], None)
        with pytest.raises(StorageRefused, match=f"{key}: "):
            settle(self.storages[which])
        self.models[key].counted["refused:set_aside"] += 1
        self.touched.add(key)

    @rule(key=trade_keys, batch=some.batches, which=which)
    def cover_by_the_other_kind(self, key: str, batch: list[Trade], which: int) -> None:
        if self.models[key].by is None or any(trade.timestamp < self.models[key].floor for trade in batch):
            return
        self.storages[which].store_batch(key, pairs(batch), Covers("time", [Interval(1, 2)]))
        with pytest.raises(StorageRefused, match=f"{key}: "):
            settle(self.storages[which])
        self.models[key].exact = False  # it is written without what can't be
        self.told(key, pairs(batch))  # what it said is true nevertheless

    @rule(key=keys, timestamp=some.timestamps, which=which)
    def drop_before(self, key: str, timestamp: int, which: int) -> None:
        self.storages[which].drop_before(key, timestamp)
        self.models[key].drop_before(timestamp)
        self.touched.add(key)

    # Harm.

    @precondition(lambda self: isinstance(self.place, Redis))
    @rule()
    def kill_redis(self) -> None:
        assert isinstance(self.place, Redis)
        self.place.kill()
        self.touched = set(KEYS)

    @precondition(lambda self: isinstance(self.place, Redis))
    @rule()
    def open_anew(self) -> None:
        for storage in self.storages:
            storage.close()
        self.storages = [self.place.open(), self.place.open()]

    @precondition(lambda self: isinstance(self.place, Redis) and self.place.modules)
    @rule(key=trade_keys, number=st.integers(0, 99), field=st.sampled_from(BAR_FIELDS), write=st.booleans())
    def harm_a_bar(self, key: str, number: int, field: str, write: bool) -> None:
        """It is found, and mended."""
        assert isinstance(self.place, Redis)
        if not (bars := self.models[key].bars(None, None, 1_000)):
            return
        at = bars[number % len(bars)].timestamp
        with connect(self.place.url) as client:
            name = f"qc:{{{key}}}:bars:{field}"
            if write:
                call(client, "TS.ADD", name, at, 1.2345e-30)
            else:
                call(client, "TS.DEL", name, at, at)
        assert self.storages[0].check_bars(key) == BarsCheck(len(bars), (at,))
        assert self.storages[1].check_bars(key, rebuild=True) == BarsCheck(len(bars), (at,))
        self.touched.add(key)

    @precondition(lambda self: isinstance(self.place, Redis) and self.large < 2)
    @rule(
        key=trade_keys,
        seed=st.integers(0, 9),
        count=st.integers(500, 3_000),
        nth=st.integers(1, 5),
        how=st.sampled_from(("before", "within", "after", "kill")),
        refused=st.integers(0, 2),
        covers=maybe_covers,
    )
    def cut_the_wire(
        self, key: str, seed: int, count: int, nth: int, how: How, refused: int, covers: Covers | None
    ) -> None:
        assert isinstance(self.place, Redis)
        self.large += 1
        batch = pairs(some.many(seed, count))
        self.place.wire.cut(nth, how, refused)
        with self.place.open_wired() as storage:
            storage.store_batch(key, batch, covers)
            settle(storage)
        self.place.wire.cut(None)
        self.models[key].exact = False
        self.told(key, batch, covers=covers)

    # Following.

    @rule(key=keys, position=st.sampled_from(("", "now")))
    def follow(self, key: str, position: str) -> None:
        reader = Reader(key, self.models[key], position)
        self.readers.append(reader)
        if position == "now":
            self.read([reader], 1)

    @rule(number=st.integers(0, 99), limit=st.integers(1, 20))
    def follow_on(self, number: int, limit: int) -> None:
        """One reader of each series, together."""
        chosen = {reader.key: reader for reader in self.readers[number % len(self.readers) :] + self.readers}
        self.read(list(chosen.values()), limit)

    @rule(number=st.integers(0, 99), limit=st.integers(1, 50))
    def follow_to_the_end(self, number: int, limit: int) -> None:
        self.drain(self.readers[number % len(self.readers)], limit)

    @rule(number=st.integers(0, 99))
    def follow_twice(self, number: int) -> None:
        if len(self.readers) < 12:
            self.readers.append(self.readers[number % len(self.readers)].fork())

    @rule(number=st.integers(0, 99), limit=st.integers(1, 5), batches=st.lists(some.batches, min_size=1, max_size=4))
    def follow_while_something_is_stored(self, number: int, limit: int, batches: list[list[Trade]]) -> None:
        reader = self.readers[number % len(self.readers)]
        if reader.key not in TRADES:
            return

        def store() -> None:
            for batch in batches:
                self.storages[1].store_batch(reader.key, pairs(batch))
                settle(self.storages[1])

        tails = []
        position = reader.position
        writer = threading.Thread(target=store)
        writer.start()
        while writer.is_alive():
            tails.append(self.storages[0].tail({reader.key: position}, limit)[reader.key])
            position = tails[-1].position
        writer.join()
        for batch in batches:
            self.told(reader.key, pairs(batch))
        for tail in tails:
            reader.take(tail, limit)

    def read(self, readers: Sequence[Reader], limit: int) -> bool:
        tails = self.storages[0].tail({reader.key: reader.position for reader in readers}, limit)
        assert set(tails) == {reader.key for reader in readers}
        for reader in readers:
            reader.take(tails[reader.key], limit)
        return any(tail.more for tail in tails.values())

    def drain(self, reader: Reader, limit: int) -> None:
        steps = 5 + 2 * len(reader.model.arrivals) // limit
        while self.read([reader], limit):
            steps -= 1
            assert steps, "a tail without end"
        reader.check_drained()

    # What holds always.

    @invariant()
    def equals_the_model(self) -> None:
        storage = self.storages[len(self.stored) % 2]
        for key in sorted(self.touched):
            check(storage, key, self.models[key])
        self.touched.clear()
        assert self.known <= set(storage.series()) <= set(KEYS)

    @rule(key=keys, start=some.bounds, end=some.bounds, which=which)
    def read_a_range(self, key: str, start: int | None, end: int | None, which: int) -> None:
        storage, model = self.storages[which], self.models[key]
        same(model, storage.fetch(key, start, end), model.fetch(start, end))
        same(model, [one for page in storage.pages(key, start, end) for one in page], model.fetch(start, end))
        check_columns(storage.columns(key, start, end), storage.fetch(key, start, end), model)

    @rule(key=keys, start=some.bounds, end=some.bounds, width=some.widths, which=which)
    def read_bars(self, key: str, start: int | None, end: int | None, width: int, which: int) -> None:
        assert self.storages[which].bars(key, start, end, width) == self.models[key].bars(start, end, width)

    @rule(key=keys, n=st.integers(-1, 40), which=which)
    def read_the_latest(self, key: str, n: int, which: int) -> None:
        storage = self.storages[which]
        everything = storage.fetch(key)
        assert exactly(storage.latest(key, n)) == exactly(everything[-n:] if n > 0 else [])


def same(model: SeriesModel, found: Pairs, expected: Pairs) -> None:
    """Equal to the last digit; the order of values of one millisecond is the storage's own."""
    one, other = ([(at, exactly(value)) for at, value in values] for values in (found, expected))
    if model.type == "value":
        assert [at for at, _ in one] == [at for at, _ in other]
        one, other = sorted(one, key=repr), sorted(other, key=repr)
    elif model.type == "number":
        one, other = list(found), list(expected)  # -0.0 is 0.0
        assert all(type(value) is float for _, value in found)
    assert one == other


def check(storage: DataCollectionStorage, key: str, model: SeriesModel) -> None:
    """All that can be asked of a series is as the model has it."""
    same(model, storage.fetch(key), model.fetch())
    bars = model.bars(None, None, 1_000)
    assert storage.bars(key) == bars
    assert storage.check_bars(key) == BarsCheck(len(bars), ())
    assert storage.coverage(key) == model.coverage
    assert storage.gaps(key) == model.gaps
    assert model.is_floor(storage.floor(key)), f"{storage.floor(key)}, not {model.floor}, {model.newest_dropped}"
    [info] = storage.info([key])
    assert info[:5] == (key, model.type or "", *model.size)
    assert info.bytes >= 0
    check_counters(dict(storage.counters(key)), model)


def check_counters(found: dict[str, int], model: SeriesModel) -> None:
    late = found.pop("late", 0)
    assert model.counted["late"] <= late <= model.counted["late"] + model.late_at_most, f"{late} late"
    expected = {name: number for name, number in model.counted.items() if number and name != "late"}
    if model.unclear:
        names = ("duplicate", "refused:conflict", "refused:dropped_day")
        assert not model.exact or all(
            abs(found.get(name, 0) - expected.get(name, 0)) <= model.unclear for name in names
        )
        for counted in (found, expected):
            counted["duplicate"] = sum(counted.pop(name, 0) for name in names)
    if model.exact:
        assert found == expected
        return
    assert found.get("new", 0) == expected.get("new", 0)
    assert all(found.get(name, 0) >= number for name, number in expected.items()), f"{found}, not {expected}"


def check_columns(columns: dict[str, Any], values: Pairs, model: SeriesModel) -> None:
    """Columns are what `fetch` returned."""
    stored = [value for _, value in values]
    expected: dict[str, list[Any]] = {"timestamp": [at for at, _ in values]}
    if model.type == "trade":
        side = {"buy": 1, "sell": -1, None: 0}
        expected |= {name: [getattr(trade, name) for trade in stored] for name in ("id", "received")}
        expected |= {name: [nearest(getattr(trade, name)) for trade in stored] for name in ("price", "amount")}
        expected["side"] = [side[trade.side] for trade in stored]
    else:
        expected["value"] = stored
    types: dict[str, type] = {"id": object, "side": np.int8, "price": np.float64, "amount": np.float64}
    types["value"] = np.float64 if model.type == "number" else object
    assert set(columns) == set(expected)
    for name, column in columns.items():
        assert column.dtype == types.get(name, np.int64)
        found = column.tolist()
        assert found == expected[name] if column.dtype == np.float64 else exactly(found) == exactly(expected[name])
