"""One contract for every storage: memory, Redis with TimeSeries, Redis without."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

from collection.errors import ConfigurationError, RecordRefused, StorageRefused
from collection.records import Trade
from collection.storage import Coverage, Covers, DataCollectionStorage, Interval, open_storage
from collection.storage.days import DAY_MS
from tests.conftest import trade

KEY = "trades:binance:BTC/USDT"
NOON = 1_767_268_800_000  # 2026-01-01T12:00Z


def put(storage: DataCollectionStorage, *trades: Trade, covers: Covers | None = None) -> None:
    storage.store_batch(KEY, [(one.timestamp, one) for one in trades], covers)
    storage.flush(KEY)


def test_a_trade_comes_back_with_every_digit_and_its_time_of_receipt(storage: DataCollectionStorage) -> None:
    stored = trade(7, price="0.00141342", amount="23.00000000", side="sell")
    put(storage, stored)
    [(timestamp, back)] = storage.fetch(KEY)
    assert (timestamp, back.line, back.received) == (stored.timestamp, stored.line, stored.received)


@pytest.mark.parametrize(
    "identity", ["7", "18446744073709551615", "0", "007", "123456789012345678901234567", "a-b", "~x.1"]
)
def test_any_id_comes_back_as_it_was(storage: DataCollectionStorage, identity: str) -> None:
    put(storage, trade(1, id=identity), trade(1, id=identity))
    assert [value.id for _, value in storage.fetch(KEY)] == [identity]


def test_ids_too_long_for_numbers_stay_different(storage: DataCollectionStorage) -> None:
    put(storage, trade(1, id="100000000000000000000000001"), trade(1, id="100000000000000000000000002"))
    assert len(storage.fetch(KEY)) == 2


def test_trades_of_one_millisecond_are_all_kept_in_the_order_of_their_ids(storage: DataCollectionStorage) -> None:
    many = [trade(number, NOON) for number in range(9, 200)]
    random.Random(1).shuffle(many)
    put(storage, *many)
    assert [value.id for _, value in storage.fetch(KEY)] == [str(number) for number in range(9, 200)]


def test_a_value_that_is_too_large_is_refused(storage: DataCollectionStorage) -> None:
    with pytest.raises(RecordRefused, match=r"too_large: a value of 64,000,006 bytes, more than 64,000,000"):
        storage.store("values:x", "a" * 64_000_001, NOON)
    storage.store("values:x", "a" * 5_000_000, NOON)
    storage.flush()
    assert [len(value) for _, value in storage.fetch("values:x")] == [5_000_000]


def test_storing_again_changes_nothing_and_is_counted(storage: DataCollectionStorage) -> None:
    trades = [trade(number) for number in range(2_500)]
    put(storage, *trades)
    put(storage, *trades[500:1500])
    assert [value for _, value in storage.fetch(KEY)] == trades
    assert storage.counters(KEY) == {"new": 2500, "duplicate": 1000}


def test_another_trade_under_the_same_id_is_refused_and_counted(storage: DataCollectionStorage) -> None:
    for first in (trade(1), trade(2, id="a-b"), trade(3, price="1.5")):
        put(storage, first)
        put(storage, trade(9))  # what comes after it is late
        again = {"id": first.id, "timestamp": first.timestamp}
        put(storage, trade(0, **again, received=first.received + 5), trade(0, **again, price="1.500", amount="2"))  # type: ignore[arg-type]
        put(storage, trade(0, **again, price="1.51"))  # type: ignore[arg-type]
        put(storage, trade(0, **again, side="sell"), trade(0, **again, amount="3"))  # type: ignore[arg-type]
    assert [value for _, value in storage.fetch(KEY)] == [trade(1), trade(2, id="a-b"), trade(3), trade(9)]
    counters = storage.counters(KEY)
    assert (counters["new"], counters["duplicate"], counters["refused:conflict"]) == (4, 8, 9)


def test_late_trades_are_merged_into_reads_once(storage: DataCollectionStorage) -> None:
    trades = [trade(number) for number in range(100)]
    put(storage, *trades[::2])
    put(storage, *trades[1::2])
    put(storage, *trades)
    assert [value for _, value in storage.fetch(KEY)] == trades
    assert [value for _, value in storage.latest(KEY, 3)] == trades[-3:]
    counters = storage.counters(KEY)
    assert (counters["new"], counters["late"], counters["duplicate"]) == (100, 49, 100)


def test_a_series_over_midnight_reads_as_one(storage: DataCollectionStorage) -> None:
    trades = [trade(number, NOON + number * DAY_MS // 7) for number in range(30)]
    put(storage, *trades)
    assert [value for _, value in storage.fetch(KEY)] == trades
    assert [value for _, value in storage.latest(KEY, 10)] == trades[-10:]
    [info] = storage.info([KEY])
    assert (info.records, info.first, info.last) == (30, trades[0].timestamp, trades[-1].timestamp)


def test_a_range_includes_both_ends(storage: DataCollectionStorage) -> None:
    put(storage, *(trade(number, NOON + number) for number in range(10)))
    assert [at - NOON for at, _ in storage.fetch(KEY, NOON + 3, NOON + 5)] == [3, 4, 5]
    assert [at - NOON for at, _ in storage.fetch(KEY, NOON + 8)] == [8, 9]
    assert [at - NOON for at, _ in storage.fetch(KEY, None, NOON)] == [0]
    assert storage.fetch(KEY, NOON + 5, NOON + 4) == []


def test_more_than_a_page_is_read_whole(storage: DataCollectionStorage) -> None:
    trades = [trade(number, NOON + number // 3) for number in range(25_000)]
    put(storage, *trades[::2])
    put(storage, *trades[1::2])
    assert [value for _, value in storage.fetch(KEY)] == trades


def test_what_is_not_there_reads_as_empty(storage: DataCollectionStorage) -> None:
    assert storage.fetch("no:such") == storage.latest("no:such") == []
    assert storage.coverage("no:such") == Coverage()
    assert storage.counters("no:such") == {}
    assert storage.series() == []
    assert storage.info(["no:such"])[0].records == 0


def test_coverage_merges_what_touches_and_keeps_what_does_not(storage: DataCollectionStorage) -> None:
    for after, upto in ((10, 20), (30, 40), (20, 25), (35, 50), (5, 7), (2**64 - 10, 2**64 - 1)):
        put(storage, covers=Covers("id", [Interval(after, upto)]))
    coverage = storage.coverage(KEY)
    assert coverage.intervals == ((5, 7), (10, 25), (30, 50), (2**64 - 10, 2**64 - 1))
    assert coverage.end == 2**64 - 1
    assert coverage.gaps == [(7, 10), (25, 30), (50, 2**64 - 10)]


def test_coverage_begins_before_the_id_0(storage: DataCollectionStorage) -> None:
    put(storage, trade(0), covers=Covers("id", [Interval(3, 5)]))
    put(storage, covers=Covers("id", [Interval(-1, 0)]))
    put(storage, covers=Covers("id", [Interval(0, 3)]))
    assert storage.coverage(KEY).intervals == ((-1, 5),)


@pytest.mark.parametrize("interval", [(-2, 5), (5, 4), (0, 2**64)])
def test_an_impossible_interval_is_a_clear_error(storage: DataCollectionStorage, interval: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"trades:binance:BTC/USDT: no interval of positions"):
        put(storage, covers=Covers("id", [Interval(*interval)]))


def test_a_series_keeps_the_first_source_that_claims_it(storage: DataCollectionStorage) -> None:
    assert storage.claim(KEY, "the exchange") == "the exchange"
    assert storage.claim(KEY, "a simulation") == "the exchange"
    put(storage, trade(1))
    assert storage.series() == [KEY]
    assert storage.claim(KEY, "a simulation") == "the exchange"


def test_an_empty_interval_is_a_cursor(storage: DataCollectionStorage) -> None:
    put(storage, covers=Covers("time", [Interval(99, 99)]))
    assert storage.coverage(KEY) == Coverage("time", (Interval(99, 99),))


def test_coverage_of_one_kind_of_position_refuses_the_other(storage: DataCollectionStorage) -> None:
    put(storage, covers=Covers("time", [Interval(1, 2)]))
    with pytest.raises(StorageRefused, match=r"trades:binance:BTC/USDT: .*coverage .* is by time, not by id"):
        put(storage, covers=Covers("id", [Interval(1, 2)]))
    assert storage.coverage(KEY).by == "time"


def test_counters_add_up(storage: DataCollectionStorage) -> None:
    storage.count(KEY, "refused:no_price", 2)
    storage.count(KEY, "refused:no_price")
    storage.flush()
    with pytest.raises(ValueError, match="counter 'a b'"):
        storage.count(KEY, "a b")
    assert storage.counters(KEY) == {"refused:no_price": 3}
    assert storage.series() == [KEY]


@pytest.mark.parametrize("number", [0, -1, 7, 2**53, 0.1, -1e-300, 1.7976931348623157e308, 5e-324, 1 / 3])
def test_a_number_comes_back_as_the_same_float(storage: DataCollectionStorage, number: float) -> None:
    storage.store("price", number, NOON)
    storage.flush()
    [(timestamp, back)] = storage.fetch("price")
    assert (timestamp, back, type(back)) == (NOON, number, float)


def test_a_number_stored_again_at_the_same_time_replaces_the_first(storage: DataCollectionStorage) -> None:
    for number in (1.0, 2.0, 2.0):
        storage.store("price", number, NOON)
    storage.store("price", 3.0, NOON - 1)
    storage.flush()
    assert storage.fetch("price") == [(NOON - 1, 3.0), (NOON, 2.0)]
    assert storage.latest("price", 1) == [(NOON, 2.0)]
    assert storage.counters("price") == {"new": 2, "replaced": 1, "duplicate": 1}
    assert storage.info(["price"])[0][:5] == ("price", "number", 2, NOON - 1, NOON)


def test_more_numbers_than_a_page_are_read_whole(storage: DataCollectionStorage) -> None:
    numbers = [(NOON + at, at / 8) for at in range(12_345)]
    storage.store_batch("price", numbers)
    storage.flush()
    assert storage.fetch("price") == numbers


VALUES: list[Any] = [
    "text",
    b"\x00bytes",
    True,
    False,
    None,
    [],
    {},
    {"a": [1, -1, 2**64 - 1, -(2**63), 0.25, {"b": None}], "ü": "☃"},
    Decimal("1.20"),
    Decimal("1E-30"),
    [Decimal("0.00000001"), b"", {"deep": {"er": [[[]]]}}],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_structured_value_comes_back_the_same(storage: DataCollectionStorage, value: Any) -> None:
    storage.store("state", value, NOON)
    storage.store("state", value, NOON)
    storage.flush()
    [(_, back)] = storage.fetch("state")
    assert (back, repr(back)) == (value, repr(value))


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(40):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "bad_number: nan"),
        (float("inf"), "bad_number: inf"),
        (2**53 + 1, "bad_number: 9007199254740993"),
        ({"a": [float("nan")]}, r"bad_number: value\.a\[0\] is nan"),
        ({"a": 2**64}, r"bad_number: value\.a is"),
        ({"a": {1: 2}}, r"bad_type: value\.a has the key 1"),
        ({"a": {3}}, r"bad_type: value\.a is of type set"),
        (object(), "bad_type: value is of type object"),
        (deep(), "too_deep"),
        ("\ud800", "bad_value: UnicodeEncodeError"),
        (trade(1, NOON, side="BUY"), "bad_value: KeyError: 'BUY'"),
    ],
    ids=lambda part: part[:40] if isinstance(part, str) and ":" in part else type(part).__name__,
)
def test_what_cannot_be_kept_is_a_clear_error_at_once(storage: DataCollectionStorage, value: Any, reason: str) -> None:
    with pytest.raises(RecordRefused, match=reason):
        storage.store("state", value, NOON)


def test_equal_dicts_are_one_value_whatever_the_order_of_their_keys(storage: DataCollectionStorage) -> None:
    storage.store("state", {"a": 1, "b": 2}, NOON)
    storage.store("state", {"b": 2, "a": 1}, NOON)
    storage.flush()
    assert storage.counters("state") == {"new": 1, "duplicate": 1}


def test_times_beyond_all_bounds_are_bounds(storage: DataCollectionStorage) -> None:
    put(storage, trade(1, NOON))
    assert len(storage.fetch(KEY, -(2**70), 2**70)) == 1


@pytest.mark.parametrize("timestamp", [0, -1, 1.5, True, 1_767_268_800_000_000, "1"])
def test_a_bad_timestamp_is_a_clear_error(storage: DataCollectionStorage, timestamp: Any) -> None:
    with pytest.raises(RecordRefused, match=r"bad_timestamp: .* is not a Unix time in whole milliseconds"):
        storage.store("state", "value", timestamp)


def test_one_series_holds_one_type_and_a_bad_one_stops_no_other(storage: DataCollectionStorage) -> None:
    storage.store("state", "text", NOON)
    storage.store("state", 5, NOON)
    storage.store("price", 5, NOON)
    with pytest.raises(StorageRefused, match=r"state: .*holds values of type value, not number"):
        storage.flush()
    storage.flush()
    assert (storage.fetch("state"), storage.fetch("price")) == ([(NOON, "text")], [(NOON, 5.0)])


@pytest.mark.parametrize("key", ["", "a b", "a{b}", "x" * 201, "a\nb", 'a"b'])
def test_a_key_that_can_name_no_series_is_a_clear_error(storage: DataCollectionStorage, key: str) -> None:
    with pytest.raises(ConfigurationError, match="series key"):
        storage.store(key, 1, NOON)


def test_dropped_days_are_gone_and_are_not_stored_again(storage: DataCollectionStorage) -> None:
    trades = [trade(number, NOON + number * DAY_MS // 2) for number in range(8)]
    put(storage, *trades)
    storage.drop_before(KEY, trades[4].timestamp)
    kept = [one for one in trades if one.timestamp >= trades[4].timestamp - trades[4].timestamp % DAY_MS]
    assert [value for _, value in storage.fetch(KEY)] == kept
    put(storage, *trades)
    assert [value for _, value in storage.fetch(KEY)] == kept
    assert storage.counters(KEY)["refused:dropped_day"] == len(trades) - len(kept)


@pytest.mark.parametrize("count", [6, 3000])  # in one piece, and in several
def test_a_batch_of_which_something_was_refused_covers_nothing(storage: DataCollectionStorage, count: int) -> None:
    storage.drop_before(KEY, NOON)
    midnight = NOON - NOON % DAY_MS
    trades = [trade(number, midnight - 2 + number) for number in range(count)]
    put(storage, *trades, covers=Covers("id", [Interval(-1, count - 1)]))
    assert len(storage.fetch(KEY)) == count - 2
    assert storage.coverage(KEY).intervals == ()
    put(storage, *trades[2:], covers=Covers("id", [Interval(1, count - 1)]))
    assert storage.coverage(KEY).intervals == ((1, count - 1),)
    assert storage.counters(KEY)["refused:dropped_day"] == 2


def test_dropped_days_of_numbers_are_gone(storage: DataCollectionStorage) -> None:
    storage.store_batch("price", [(NOON, 1), (NOON + DAY_MS, 2)])
    storage.flush()
    storage.drop_before("price", NOON + DAY_MS)
    storage.store("price", 1, NOON)
    storage.flush()
    assert storage.fetch("price") == [(NOON + DAY_MS, 2.0)]


def test_an_unknown_storage_url_is_a_clear_error_that_shows_no_secret() -> None:
    with pytest.raises(ConfigurationError, match="redis://, rediss://, unix:// and memory://") as caught:
        open_storage("postgres://user:secret@host/db")
    assert "secret" not in str(caught.value)
