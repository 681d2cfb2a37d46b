"""What the properties found, each as small as it comes."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest

from collection.errors import StorageRefused
from collection.records import Trade
from collection.storage import BarsCheck, Covers, DataCollectionStorage, Interval
from collection.storage.days import DAY_MS
from tests.conftest import trade
from tests.properties.machine import pairs
from tests.properties.model import SeriesModel
from tests.properties.reader import Reader

KEY = "trades:binance:BTC/USDT"
FIRST_DAY = 1_767_225_600_000  # 2026-01-01T00:00Z
NOON = FIRST_DAY + DAY_MS // 2


class Followed:
    """A series that is stored and told to a model, and one who reads on in it."""

    def __init__(self, storage: DataCollectionStorage) -> None:
        self.storage = storage
        self.model = SeriesModel()
        self.reader = Reader(KEY, self.model, "")

    def put(self, *trades: Trade) -> None:
        self.storage.store_batch(KEY, pairs(trades))
        self.storage.flush()
        self.model.store(pairs(trades))

    def drop_before(self, timestamp: int) -> None:
        self.storage.drop_before(KEY, timestamp)
        self.model.drop_before(timestamp)

    def read(self, limit: int = 100) -> bool:
        tail = self.storage.tail({KEY: self.reader.position}, limit)[KEY]
        self.reader.take(tail, limit)
        return tail.more

    def read_to_the_end(self, limit: int = 100) -> None:
        while self.read(limit):
            pass
        self.reader.check_drained()


@pytest.fixture
def followed(storage: DataCollectionStorage) -> Followed:
    return Followed(storage)


def test_late_records_are_told_though_an_older_day_is_dropped_whose_late_ones_came_after_them(
    followed: Followed,
) -> None:
    followed.put(trade(9, NOON), trade(19, NOON + DAY_MS))
    followed.read_to_the_end()
    followed.put(trade(11, NOON + DAY_MS - 2))
    followed.put(trade(12, NOON + DAY_MS - 1))
    followed.put(trade(1, NOON - 1))
    followed.drop_before(FIRST_DAY + DAY_MS)
    followed.read_to_the_end(limit=1)


def test_records_of_a_day_that_begins_while_later_ones_are_read_are_told(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The days were listed, and read then: one that came in between was passed over."""
    followed.put(trade(1, NOON), trade(5, NOON + 4 * DAY_MS))
    followed.read(limit=1)
    tail: Any = getattr(followed.storage, "_tail", None)
    if tail is None:
        return
    list_days = tail._series

    def and_meanwhile(positions: Any) -> Any:
        found = list_days(positions)
        followed.put(trade(3, NOON + 2 * DAY_MS))
        return found

    monkeypatch.setattr(tail, "_series", and_meanwhile)
    followed.read()
    monkeypatch.undo()
    followed.read_to_the_end()


@pytest.mark.parametrize("amount", ["-0.0000027673", "-0.000020349221862", "-0.0000000", "-12345678.00000001"])
def test_the_bar_of_a_negative_amount_is_kept(storage: DataCollectionStorage, amount: str) -> None:
    """As that of a cancelled trade may be: its digits were written in two pieces, each with a sign."""
    storage.store_batch(KEY, pairs([trade(1, NOON, amount=amount)]))
    storage.flush()
    assert storage.check_bars(KEY) == BarsCheck(1, ())
    assert storage.bars(KEY)[0].volume == float(Decimal(amount))
    assert storage.counters(KEY) == {"new": 1}


def test_records_whose_coverage_is_of_the_wrong_kind_are_stored(storage: DataCollectionStorage) -> None:
    storage.store_batch(KEY, [], Covers("id", [Interval(1, 2)]))
    stored = [trade(1, NOON), trade(2, NOON + DAY_MS)]
    storage.store_batch(KEY, pairs(stored), Covers("time", [Interval(1, 2)]))
    with pytest.raises(StorageRefused, match=r"trades:binance:BTC/USDT: .*coverage .* is by id, not by time"):
        storage.flush()
    assert [value for _, value in storage.fetch(KEY)] == stored
    assert (storage.counters(KEY)["new"], storage.counters(KEY).get("refused:set_aside")) == (2, None)
    assert storage.coverage(KEY).intervals == ((1, 2),)


@pytest.mark.parametrize("interval", [(1.5, 2), (1, 2.5), (True, 2), ("1", 2), (None, 2)])
def test_an_interval_that_is_not_of_integers_is_refused(storage: DataCollectionStorage, interval: Any) -> None:
    with pytest.raises(ValueError, match="no interval of positions"):
        storage.store_batch(KEY, [], Covers("id", [Interval(*interval)]))
    assert storage.coverage(KEY).intervals == ()


def test_a_range_of_numbers_may_lie_outside_of_all_times(storage: DataCollectionStorage) -> None:
    storage.store("price", 1, NOON)
    storage.flush()
    assert storage.fetch("price", None, -(2**70)) == storage.fetch("price", -5, -1) == []
    assert storage.fetch("price", 2**70) == storage.fetch("price", 2**63, 2**64) == []
    assert storage.columns("price", None, -1)["value"].tolist() == []


def test_trades_that_differ_in_the_last_of_many_digits_are_not_taken_for_one(storage: DataCollectionStorage) -> None:
    for price in ("1.000000000000000001", "1.000000000000000002", "1.0000000000000000010"):
        storage.store_batch(KEY, pairs([trade(1, NOON, price=price)]))
        storage.flush()
    assert storage.counters(KEY) == {"new": 1, "duplicate": 1, "refused:conflict": 1}


def test_bars_of_the_first_second_of_all_are_kept(storage: DataCollectionStorage) -> None:
    """One wrong record must not cost the bars of a whole series."""
    storage.store_batch(KEY, pairs([trade(1, 1), trade(2, 999), trade(3, 1_000), trade(4, NOON)]))
    storage.flush()
    assert storage.check_bars(KEY) == BarsCheck(3, ())
    assert [bar.timestamp for bar in storage.bars(KEY)] == [0, 1_000, NOON]
    assert storage.counters(KEY) == {"new": 4}


def test_one_trade_of_another_age_does_not_make_bars_slow(storage: DataCollectionStorage) -> None:
    storage.store_batch(KEY, pairs([trade(1, 1_000), trade(2, NOON), trade(3, 250_000_000_000_999)]))
    storage.flush()
    began = time.monotonic()
    assert [bar.timestamp for bar in storage.bars(KEY)] == [1_000, NOON, 250_000_000_000_000]
    assert len(storage.bars(KEY, width=60_000)) == 3
    assert time.monotonic() - began < 1
