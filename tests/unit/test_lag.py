"""How late live trades are: number series, a sample for each window."""

from __future__ import annotations

from itertools import pairwise

import pytest

from collection import clock
from collection.clients.ccxt_client import CCXTClient
from collection.data_collectors.lag import LAG, SETTLING, WINDOW, Lag, lag_key, percentile, skew_key
from collection.records import Trade
from collection.setting_groups import ExchangeSettings
from collection.storage import MemoryStorage
from tests.conftest import trade

KEY = "trades:binance:BTC/USDT"
NOW = 1_767_225_600_000


class Time:
    """A clock that stands still until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        monkeypatch.setattr(clock, "now", lambda: self.now)

    def trades(self, *lags: int) -> list[Trade]:
        return [trade(number, self.now - lag, received=self.now) for number, lag in enumerate(lags)]


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def make() -> tuple[Lag, MemoryStorage, CCXTClient]:
    storage, client = MemoryStorage(), CCXTClient("binance", ExchangeSettings())
    return Lag(KEY, client, storage), storage, client


def test_each_window_has_a_sample_of_each_percentile(time: Time) -> None:
    lag, storage, _ = make()
    for _ in range(100):
        lag.add(time.trades(*range(1, 101)))
        time.now += WINDOW // 50
    lag.store()
    for percent in (50, 99):
        samples = storage.fetch(lag_key(percent, KEY))
        assert [value for _, value in samples] == [float(percent)] * len(samples)
        assert len(samples) in (2, 3)
        assert {(right[0] - left[0]) for left, right in pairwise(samples)} == {WINDOW}
        assert samples[0][0] <= NOW < samples[0][0] + WINDOW


def test_a_market_where_nothing_comes_has_no_sample(time: Time) -> None:
    lag, storage, _ = make()
    lag.store()
    lag.add([])
    lag.store()
    assert storage.series() == []


def test_trades_of_before_a_connection_are_not_live(time: Time) -> None:
    lag, storage, _ = make()
    lag.connected()
    time.now += 100
    lag.add(time.trades(3_600_000, 40, 50))
    time.now += SETTLING
    lag.add(time.trades(60))
    lag.store()
    assert {value for _, value in storage.fetch(lag_key(99, KEY))} <= {50.0, 60.0}
    assert {value for _, value in storage.fetch(lag_key(50, KEY))} <= {40.0, 50.0, 60.0}


def test_trades_from_the_future_tell_of_the_exchanges_clock(time: Time) -> None:
    lag, storage, client = make()
    for _ in range(10):
        lag.add(time.trades(-3_000, -2_900))
        client.skew.saw(time.now + 3_000, time.now, time.now)
        time.now += WINDOW
    assert client.skew.over
    assert client.skew.ahead in (3_000, 3_001)
    [(_, told), *_] = storage.fetch(skew_key("binance"))
    assert told in (3_000.0, 3_001.0)
    assert storage.counters(skew_key("binance"))["over"] == 1


def test_percentiles_are_nearest_ranks() -> None:
    assert percentile([5], 50) == percentile([5], 99) == 5
    assert percentile([*range(1, 201)], 50) == 100
    assert percentile([*range(1, 201)], 99) == 198
    assert percentile([1, 2, 3], 50) == 2


def test_keys_begin_with_their_kind() -> None:
    assert lag_key(50, KEY) == f"{LAG}:p50:{KEY}"
