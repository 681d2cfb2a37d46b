"""Bars: kept or made, they equal those of the records, to the last bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

import pytest

from collection.bars import Bar, bars_of
from collection.embedded import EmbeddedRedis
from collection.records import Trade
from collection.storage import DataCollectionStorage, RedisStorage
from collection.storage.redis_server import call, connect, series_name
from tests.conftest import trade

KEY = "trades:binance:BTC/USDT"
NOON = 1_767_268_800_000
WIDTHS = (1_000, 60_000, 3_600_000, 86_400_000, 5_000, 250, 1_500, 7)


def put(storage: DataCollectionStorage, *trades: Trade) -> None:
    storage.store_batch(KEY, [(one.timestamp, one) for one in trades])
    storage.flush(KEY)


def by_fractions(trades: list[Trade], width: int) -> list[Bar]:
    """The same by other means: exact fractions, rounded once."""
    bars = []
    for start in sorted({one.timestamp // width * width for one in trades}):
        some = sorted(
            (t for t in trades if t.timestamp // width * width == start), key=lambda t: (t.timestamp, int(t.id))
        )
        prices = [float(one.price) for one in some]
        volume = sum((Fraction(one.amount) for one in some), Fraction(0))
        quote = sum((Fraction(one.price) * Fraction(one.amount) for one in some), Fraction(0))
        bars.append(Bar(start, prices[0], max(prices), min(prices), prices[-1], float(volume), len(some), float(quote)))
    return bars


def market(seed: int, count: int, decimals: tuple[int, int], step: int = 900) -> list[Trade]:
    chance, at = random.Random(seed), NOON
    trades = []
    for number in range(count):
        at += chance.choice((0, 0, chance.randint(0, step)))
        price, amount = (
            Decimal(chance.randint(1, 10 ** chance.randint(1, places + 5))).scaleb(-chance.randint(0, places))
            for places in decimals
        )
        trades.append(trade(number, at, price=str(price), amount=str(amount)))
    return trades


@pytest.mark.parametrize("decimals", [(2, 5), (8, 8), (18, 18)], ids=["usual", "eight", "eighteen"])
@pytest.mark.parametrize("seed", range(3))
def test_bars_equal_those_of_the_records(storage: DataCollectionStorage, decimals: tuple[int, int], seed: int) -> None:
    chance, trades = random.Random(seed), market(seed, 700, decimals)
    waiting = trades[:]
    while waiting:  # in batches of which some are late, some repeated
        size = chance.choice((1, 3, 50))
        batch = [
            waiting.pop(min(len(waiting) - 1, int(chance.expovariate(0.5)))) for _ in range(min(size, len(waiting)))
        ]
        put(storage, *batch, *chance.sample(trades, 2))
    assert [value for _, value in storage.fetch(KEY)] == trades
    for width in WIDTHS:
        assert storage.bars(KEY, width=width) == by_fractions(trades, width) == bars_of(trades, width)
    assert storage.check_bars(KEY).wrong == ()


def test_a_range_has_the_bars_that_begin_in_it_and_each_is_whole(storage: DataCollectionStorage) -> None:
    trades = market(5, 500, (2, 2))
    put(storage, *trades)
    for width in WIDTHS:
        every = bars_of(trades, width)
        start, end = trades[100].timestamp, trades[300].timestamp
        assert storage.bars(KEY, start, end, width) == [bar for bar in every if start <= bar.timestamp <= end]
        assert storage.bars(KEY, None, end, width) == [bar for bar in every if bar.timestamp <= end]
        assert storage.bars(KEY, end + 10**9, None, width) == []


@pytest.mark.parametrize(
    ("price", "amount"),
    [
        ("-1.5", "2"),
        ("1E-8", "3E+5"),
        ("0", "0"),
        ("0.000000000000000001", "123456789012345678.123456789012345678"),
        ("9007199254740993", "1"),
        ("123456789.123456789", "987654321.987654321"),
        ("1" * 40, "0." + "1" * 39),
        ("1.10", "0.1"),
        ("1E+3", "1"),
        ("-0.000000000000000000000001", "-7"),
    ],
)
def test_numbers_of_any_form_are_summed_exactly(storage: DataCollectionStorage, price: str, amount: str) -> None:
    trades = [trade(number, NOON + 300 * number, price=price, amount=amount) for number in range(7)]
    trades += [trade(7, NOON + 300 * 7, price="0.3", amount="1000000.1")]
    for one in trades:
        put(storage, one)
    for width in (1_000, 2_000, 60_000):
        assert storage.bars(KEY, width=width) == by_fractions(trades, width)
    assert storage.check_bars(KEY).wrong == ()


def test_dropped_days_take_their_bars_along(storage: DataCollectionStorage) -> None:
    trades = [trade(number, NOON + number * 3_600_000) for number in range(48)]
    put(storage, *trades)
    storage.drop_before(KEY, NOON + 86_400_000)
    put(storage, *trades)
    assert storage.bars(KEY) == bars_of(trades[12:])


def test_what_is_no_series_of_trades_has_no_bars(storage: DataCollectionStorage) -> None:
    storage.store("basis:x", 1.5, NOON)
    storage.store("notes:x", "text", NOON)
    storage.flush()
    assert storage.bars("basis:x") == storage.bars("notes:x") == storage.bars("no:such") == []
    assert storage.check_bars("no:such") == (0, ())


@pytest.mark.parametrize("width", [0, -1, 1.5, True])
def test_a_width_that_is_none_is_a_clear_error(storage: DataCollectionStorage, width: int) -> None:
    with pytest.raises(ValueError, match="a bar's width is a number of milliseconds from 1 on"):
        storage.bars(KEY, width=width)


@pytest.fixture
def kept(redis_url: str) -> Iterator[RedisStorage]:
    with RedisStorage(redis_url) as opened:
        yield opened


def test_bars_are_labelled_series_that_others_can_read(kept: RedisStorage, redis_url: str) -> None:
    put(kept, *(trade(number, NOON + 500 * number) for number in range(4)))
    with connect(redis_url) as client:
        filters = ("FILTER", "exchange=binance", "market=BTC/USDT", "kind=trades", "field=volume")
        [[name, labels, samples]] = call(client, "TS.MRANGE", "-", "+", "WITHLABELS", *filters)
    assert name.decode() == series_name(KEY, "bars:volume")
    assert dict(labels)[b"series"].decode() == KEY
    assert [[at, float(value)] for at, value in samples] == [[NOON, 4.0], [NOON + 1000, 4.0]]


def test_broken_bars_are_found_and_made_anew(kept: RedisStorage, redis_url: str) -> None:
    trades = market(9, 2_000, (2, 5))
    put(kept, *trades)
    every = bars_of(trades)
    with connect(redis_url) as client:
        call(client, "TS.ADD", series_name(KEY, "bars:volume"), every[3].timestamp, 5)
        call(client, "TS.ADD", series_name(KEY, "bars:open"), every[4].timestamp - 777_000, 5)
        call(client, "TS.DEL", series_name(KEY, "bars:close"), every[7].timestamp, every[7].timestamp)
    wrong = sorted([every[3].timestamp, every[4].timestamp - 777_000, every[7].timestamp])
    assert kept.check_bars(KEY) == (len(every), tuple(wrong))
    assert kept.check_bars(KEY, every[5].timestamp).wrong == tuple(wrong[2:])
    assert kept.check_bars(KEY, rebuild=True).wrong == tuple(wrong)
    assert kept.check_bars(KEY).wrong == ()
    assert kept.bars(KEY) == every


def test_bars_that_could_not_be_written_are_made_of_the_records_until_rebuilt(
    kept: RedisStorage, redis_url: str
) -> None:
    trades = market(11, 300, (2, 5))
    put(kept, *trades[:100])
    with connect(redis_url) as client:
        client.delete(series_name(KEY, "bars:high"))
        client.set(series_name(KEY, "bars:high"), "not a series")
        put(kept, *trades[100:200])
        assert kept.bars(KEY) == bars_of(trades[:200])
        assert kept.counters(KEY)["error:bars"] == 1
        client.delete(series_name(KEY, "bars:high"))
    put(kept, *trades[200:])
    assert kept.bars(KEY) == bars_of(trades)
    assert len(kept.check_bars(KEY, rebuild=True).wrong) > 10
    assert kept.check_bars(KEY).wrong == ()
    with connect(redis_url) as client:
        assert client.hget(series_name(KEY), "dirty") is None
    assert kept.bars(KEY) == bars_of(trades)


def test_a_series_from_before_the_module_gets_bars_when_rebuilt(tmp_path: object) -> None:
    trades = market(12, 400, (2, 5))
    with EmbeddedRedis(str(tmp_path), modules=False) as server, RedisStorage(server.url) as storage:
        put(storage, *trades[:200])
    with EmbeddedRedis(str(tmp_path)) as server, RedisStorage(server.url) as storage:
        assert storage.bars(KEY) == bars_of(trades[:200])
        put(storage, *trades[200:300])
        assert storage.bars(KEY) == bars_of(trades[:300])
        storage.check_bars(KEY, rebuild=True)
        with connect(server.url) as client:
            assert client.exists(series_name(KEY, "bars:open"))
        put(storage, *trades[300:])
        assert storage.check_bars(KEY).wrong == ()
        assert storage.bars(KEY) == bars_of(trades)
