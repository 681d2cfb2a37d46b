"""On the recording all methods equal what is computed independently, exactly, at a thousand random moments."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from decimal import Context, Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from collection.data_collectors import CollectorFactory
from collection.feeds import CEXTradesFeed
from collection.quotes import Feeder
from collection.records import Trade
from collection.settings import Settings
from collection.simulator.tape import read_tape
from collection.storage import DataCollectionStorage, RedisStorage

KEY = "trades:binance:XRP/ETH"
METHODS = ("vwap", "twap", "median", "last")
WINDOWS = (30, 300, 3_600)
MOMENTS = 1_000


@pytest.fixture
def tape(recording: Path) -> list[Trade]:
    chance = random.Random(6)
    return [
        Trade(
            row.timestamp,
            str(row.id),
            row.side,
            Decimal(row.price),
            Decimal(row.amount),
            row.timestamp + chance.choice((0, 40, 900, 60_000)),
        )
        for row in read_tape(recording).rows
    ]


@pytest.fixture
def filled(tape: list[Trade], redis_url: str) -> Iterator[DataCollectionStorage]:
    with RedisStorage(redis_url) as storage:
        storage.store_batch(KEY, [(trade.timestamp, trade) for trade in tape])
        storage.flush(timeout=60)
        yield storage


def independently(trades: list[Trade], method: str, at: int) -> Fraction:
    prices = [Fraction(trade.price) for trade in trades]
    if method == "last":
        return prices[-1]
    if method == "median":
        ordered = sorted(prices)
        half = len(ordered) // 2
        return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    if method == "vwap":
        weights = [Fraction(trade.amount) for trade in trades]
    else:
        ends = [trade.timestamp for trade in trades[1:]] + [at]
        weights = [Fraction(end - trade.timestamp) for trade, end in zip(trades, ends, strict=True)]
    if not sum(weights):
        return prices[-1]
    return sum((price * weight for price, weight in zip(prices, weights, strict=True)), Fraction()) / sum(weights)


def written(number: Fraction) -> Decimal:
    return Context(prec=34).divide(Decimal(number.numerator), Decimal(number.denominator))


def test_every_method_equals_what_is_computed_independently(tape: list[Trade], filled: DataCollectionStorage) -> None:
    factory = CollectorFactory(Settings())
    tables = [
        {
            "name": f"{method}-{window}",
            "type": "cex_trades",
            "exchange": "binance",
            "market": "XRP/ETH",
            "window": window,
            "method": method,
        }
        for method in METHODS
        for window in WINDOWS
    ]
    feeds = [CEXTradesFeed.model_validate(table, context=factory) for table in tables]
    feeder = Feeder(feeds, filled)
    chance = random.Random(1)
    moments = sorted(chance.randint(tape[0].timestamp, tape[-1].timestamp + 100_000) for _ in range(MOMENTS))
    times = [one.timestamp for one in tape]
    priced = 0
    for number, at in enumerate(moments):
        quotes = feeder.quotes(at)
        for window in WINDOWS:
            first, end = bisect_right(times, at - window * 1000), bisect_right(times, at)
            known = [one for one in tape[first:end] if one.received <= at]
            for method in METHODS:
                quote = quotes[f"{method}-{window}"]
                assert quote.count == len(known)
                if not known:
                    assert quote.price is None
                    continue
                priced += 1
                assert quote.price == written(independently(known, method, at)), (quote.name, at)
                assert quote.timestamp == known[-1].timestamp
        if number % 20 == 0:
            assert quotes == {feed.name: feed.quote(filled, at) for feed in feeds}
    assert priced > MOMENTS
