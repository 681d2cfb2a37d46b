"""What happens between two round trips of a reader or writer: nothing is lost, and nothing wrong is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from collection.bars import bars_of
from collection.records import Trade
from collection.storage import Covers, Interval, RedisStorage, redis_bars, redis_storage, redis_tail
from collection.storage.days import DAY_MS
from collection.storage.redis_server import connect
from tests.conftest import trade

KEY = "trades:binance:BTC/USDT"
NOON = 1_767_268_800_000


@pytest.fixture
def own(redis_url: str) -> Iterator[RedisStorage]:
    with RedisStorage(redis_url) as opened:
        yield opened


@pytest.fixture
def other(redis_url: str) -> Iterator[RedisStorage]:
    with RedisStorage(redis_url) as opened:
        yield opened


def put(storage: RedisStorage, *trades: Trade, covers: Covers | None = None) -> None:
    storage.store_batch(KEY, [(one.timestamp, one) for one in trades], covers)
    storage.flush(KEY)


def once_before(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, number: int, act: Callable[[], None]) -> None:
    """Have something done just before the `number`th call of a function."""
    calls, original = 0, getattr(where, name)

    def replaced(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            act()
        return original(*args, **kwargs)

    monkeypatch.setattr(where, name, replaced)


def test_a_tail_misses_no_day_that_begins_while_it_reads(
    own: RedisStorage, other: RedisStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(other, trade(1, NOON))
    position = own.tail({KEY: ""})[KEY].position
    put(other, trade(3, NOON + 2 * DAY_MS))
    once_before(monkeypatch, redis_tail, "_transactions", 1, lambda: put(other, trade(2, NOON + DAY_MS)))
    read, more = [], True
    while more:
        tail = own.tail({KEY: position})[KEY]
        read += [value for _, value in tail.values]
        position, more = tail.position, tail.more
    assert sorted(value.id for value in read) == ["2", "3"]


def test_a_tail_tells_of_what_was_dropped_before_it_could_follow_the_note(
    own: RedisStorage, other: RedisStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(other, trade(3, NOON + 2 * DAY_MS))
    position = own.tail({KEY: ""})[KEY].position
    put(other, trade(2, NOON))
    once_before(monkeypatch, redis_tail, "call", 1, lambda: other.drop_before(KEY, NOON + 2 * DAY_MS))
    tail = own.tail({KEY: position})[KEY]
    assert (tail.values, tail.complete) == ([], False)


def test_bars_are_proved_with_the_decimals_of_their_moment(
    own: RedisStorage, other: RedisStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    trades = [trade(number, NOON + number * 1000, price="1", amount="1") for number in range(3)]
    put(other, *trades)
    trades.append(trade(9, NOON + 5000, price="1.37", amount="0.123"))
    once_before(monkeypatch, redis_bars, "send", 1, lambda: put(other, trades[-1]))
    assert own.bars(KEY, NOON, NOON + 59_999, 60_000) == bars_of(trades, 60_000)


def test_coverage_never_comes_without_its_records(
    own: RedisStorage, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trades = [trade(number) for number in range(1500)]
    with connect(redis_url) as client:
        once_before(monkeypatch, redis_storage, "run_scripts", 2, client.flushall)
        put(own, *trades, covers=Covers("id", [Interval(-1, 1499)]))
    assert own.coverage(KEY).intervals == ((-1, 1499),)
    assert [value for _, value in own.fetch(KEY)] == trades


def test_a_price_with_a_long_fraction_of_zeros_has_a_bar(own: RedisStorage) -> None:
    trades = [trade(1, NOON, price="1.00000000000000000", amount="1"), trade(2, NOON + 500, price="7")]
    for one in trades:
        put(own, one)
    assert "error:bars" not in own.counters(KEY)
    assert own.bars(KEY) == bars_of(trades)


def test_large_values_stop_no_other_series(own: RedisStorage) -> None:
    own.store_batch("values:x:big", [(NOON + number, bytes([number]) * 1_000_000) for number in range(100)])
    own.store("values:x:other", "x", NOON)
    own.flush()
    assert len(own.fetch("values:x:big")) == 100
    assert own.fetch("values:x:other") == [(NOON, "x")]


@pytest.mark.parametrize("key", ["trades:x:A,B", "trades:x:A(B)", "basis:x:A,(B)"])
def test_keys_that_labels_cannot_hold_are_kept_like_others(own: RedisStorage, key: str) -> None:
    if key.startswith("basis"):
        own.store(key, 1.5, NOON)
    else:
        own.store(key, trade(1, NOON), NOON)
    own.flush()
    assert len(own.fetch(key)) == 1
    assert own.check_bars(key).wrong == ()
    assert "error:bars" not in own.counters(key)
