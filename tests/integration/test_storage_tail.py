"""Reading on: whoever keeps positions gets each record once, late ones included."""

from __future__ import annotations

import random

import pytest

from collection.errors import ConfigurationError
from collection.records import Trade
from collection.storage import DataCollectionStorage
from collection.storage.days import DAY_MS
from tests.conftest import trade

KEY, OTHER = "trades:binance:BTC/USDT", "trades:kraken:ETH/EUR"
NOON = 1_767_268_800_000


def put(storage: DataCollectionStorage, *trades: Trade, key: str = KEY) -> None:
    storage.store_batch(key, [(one.timestamp, one) for one in trades])
    storage.flush(key)


class Reader:
    """Keeps its positions, and all that it read."""

    def __init__(self, storage: DataCollectionStorage, *keys: str, since: str = "") -> None:
        self._storage = storage
        self.positions = dict.fromkeys(keys, since)
        self.read: dict[str, list[object]] = {key: [] for key in keys}
        self.complete = True

    def round(self, limit: int = 10_000) -> bool:
        tails = self._storage.tail(self.positions, limit)
        for key, tail in tails.items():
            self.read[key] += [value for _, value in tail.values]
            self.positions[key] = tail.position
            self.complete &= tail.complete
        return any(tail.more for tail in tails.values())

    def all(self, limit: int = 10_000) -> None:
        while self.round(limit):
            pass


def test_each_record_comes_once_in_order(storage: DataCollectionStorage) -> None:
    trades = [trade(number, NOON + number * 7_000_000) for number in range(60)]  # over five days
    reader = Reader(storage, KEY, OTHER)
    for start in range(0, 60, 20):
        put(storage, *trades[start : start + 20])
        put(storage, *trades[start : start + 5], key=OTHER)
        reader.all(limit=7)
    assert reader.read == {KEY: trades, OTHER: [*trades[:5], *trades[20:25], *trades[40:45]]}
    assert reader.complete


def test_late_records_come_after_the_others_and_repeated_ones_not_at_all(storage: DataCollectionStorage) -> None:
    trades = [trade(number) for number in range(10)]
    reader = Reader(storage, KEY)
    put(storage, *trades[5:])
    reader.all()
    put(storage, *trades[:8])
    reader.all()
    assert reader.read[KEY] == [*trades[5:], *trades[:5]]


def test_what_fills_an_older_day_comes_too(storage: DataCollectionStorage) -> None:
    old, new = ([trade(n, day + n * 1000) for n in range(50)] for day in (NOON - 2 * DAY_MS, NOON))
    reader = Reader(storage, KEY)
    put(storage, *new)
    reader.all()
    for start in (30, 0):  # the second half, and then the first, which is late
        put(storage, *old[start : start + (20 if start else 30)])
    reader.all(limit=3)
    assert len(reader.read[KEY]) == 100
    assert set(reader.read[KEY][50:]) == set(old)


def test_now_is_the_end(storage: DataCollectionStorage) -> None:
    trades = [trade(number, NOON + number * 40_000_000) for number in range(6)]
    put(storage, *trades[1:5])
    put(storage, trades[0])
    reader = Reader(storage, KEY, OTHER, since="now")
    reader.all()
    assert reader.read == {KEY: [], OTHER: []}
    put(storage, trades[5])
    put(storage, trades[0], key=OTHER)
    reader.all()
    assert reader.read == {KEY: [trades[5]], OTHER: [trades[0]]}


def test_numbers_come_with_what_replaced_them(storage: DataCollectionStorage) -> None:
    reader = Reader(storage, "basis:x")
    for at, value in ((1, 1.0), (3, 3.0), (5, 5.0)):
        storage.store("basis:x", value, NOON + at)
    storage.flush()
    reader.all(limit=2)
    for at, value in ((3, 3.5), (2, 2.0), (5, 5.0), (6, 6.0)):
        storage.store("basis:x", value, NOON + at)
    storage.flush()
    reader.all(limit=2)
    assert sorted(reader.read["basis:x"]) == [1.0, 2.0, 3.0, 3.5, 5.0, 6.0]  # type: ignore[type-var]


def test_values_of_any_kind_are_followed(storage: DataCollectionStorage) -> None:
    reader = Reader(storage, "books:x")
    storage.store("books:x", {"bids": [[1, 2]]}, NOON)
    storage.flush()
    reader.all()
    assert reader.read["books:x"] == [{"bids": [[1, 2]]}]


def test_what_was_dropped_before_it_was_read_is_told_once(storage: DataCollectionStorage) -> None:
    trades = [trade(number, NOON + number * DAY_MS // 2) for number in range(10)]
    ahead, behind = Reader(storage, KEY), Reader(storage, KEY)
    put(storage, *trades)
    ahead.all()
    behind.round(limit=2)
    storage.drop_before(KEY, trades[-1].timestamp)
    for reader, complete in ((ahead, True), (behind, False)):
        reader.complete = True
        reader.all()
        assert reader.complete == complete
        reader.complete = True
        reader.all()
        assert reader.complete
    assert behind.read[KEY] == [*trades[:2], *trades[-1:]]


@pytest.mark.parametrize("seed", range(4))
def test_readers_that_come_and_go_miss_nothing(storage: DataCollectionStorage, seed: int) -> None:
    chance = random.Random(seed)
    trades = [trade(number, NOON + number * chance.choice((3_000, 900_000))) for number in range(600)]
    waiting = trades[:]
    readers = [Reader(storage, KEY) for _ in range(4)]
    while waiting:
        batch = [waiting.pop(min(len(waiting) - 1, int(chance.expovariate(0.1)))) for _ in range(min(20, len(waiting)))]
        put(storage, *batch, *chance.sample(trades, 1))
        for reader in chance.sample(readers, 2):
            reader.round(limit=chance.choice((1, 5, 1000)))
    for reader in readers:
        reader.all(limit=chance.choice((1, 7, 1000)))
        assert len(reader.read[KEY]) == 600
        assert set(reader.read[KEY]) == set(trades)


def test_a_position_of_another_kind_is_a_clear_error(storage: DataCollectionStorage) -> None:
    with pytest.raises(ConfigurationError, match="'yesterday' is no position of this storage"):
        storage.tail({KEY: "yesterday"})
    assert storage.tail({}) == {}
