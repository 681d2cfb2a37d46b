"""Repair against the simulated exchange: what a Redis lost is found, and read again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from collection.audit import certify
from collection.certificate import Stretch
from collection.data_collectors import CollectorFactory, repair
from collection.data_collectors.repair import Repair, Repaired
from collection.data_collectors.trades_reader import TradesReader
from collection.gap_notes import FORGOTTEN
from collection.records import Trade
from collection.simulator import Simulator
from collection.storage import Covers, Interval, MemoryStorage, RedisStorage
from collection.storage.days import day_name
from collection.storage.redis_server import connect, series_name
from tests.simulation import AT_ONCE, KEY, MARKET, make_collector, make_factory, make_tape, until

MADE = 3_000


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "PATIENCE", 0.05)


@pytest.fixture
async def simulator(tmp_path) -> AsyncIterator[Simulator]:  # type: ignore[no-untyped-def]
    make_tape(tmp_path / "tape.csv", MADE)
    async with Simulator(tapes={MARKET: tmp_path / "tape.csv"}, speed=AT_ONCE) as running:
        await until(lambda: len(running.published(MARKET)) == MADE)
        yield running


@pytest.fixture
async def factory(simulator: Simulator) -> AsyncIterator[CollectorFactory]:
    made = make_factory(simulator)
    yield made
    await made.clients.close()


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStorage]:
    with RedisStorage(redis_url) as opened:
        yield opened


def reader(factory: CollectorFactory) -> TradesReader:
    kept = factory.settings.retention.trades
    return TradesReader("binance", MARKET, start="earliest", kept=kept, clients=factory.clients)


async def collected(factory: CollectorFactory, store: RedisStorage) -> None:
    await make_collector(factory).run(store)
    assert (await asyncio.to_thread(certify, store, KEY)).verdict == "complete"
    assert len(store.fetch(KEY)) == MADE


def forget(client: Any, key: str, trades: Sequence[Trade]) -> None:
    """Leave the streams as if they had never had these: what is deleted one by one, a stream remembers."""
    for name in {series_name(key, str(day_name(one.timestamp))) for one in trades}:
        gone = {f"{one.timestamp}-{one.id}".encode() for one in trades}
        kept = [(id, fields) for id, fields in client.xrange(name) if id not in gone]
        pipe = client.pipeline()
        pipe.delete(name)
        for id, fields in kept:
            pipe.xadd(name, fields, id)
        pipe.execute()


def whole(store: RedisStorage, simulator: Simulator) -> None:
    found = certify(store, KEY)
    assert (found.verdict, found.stored, found.outside) == ("complete", MADE, 0)
    assert [trade for _, trade in store.fetch(KEY)] == simulator.published(MARKET)


async def test_what_is_as_it_should_be_is_left_alone(
    simulator: Simulator, factory: CollectorFactory, store: RedisStorage
) -> None:
    await collected(factory, store)
    requests, counters = simulator.faults.counts["requests"], store.counters(KEY)
    one = Repair(reader(factory), store)
    assert await one.turn() == Repaired()
    assert await one.turn(thorough=True) == Repaired()
    assert simulator.faults.counts["requests"] == requests
    assert store.counters(KEY) == counters


async def test_an_empty_series_is_left_to_its_collector(factory: CollectorFactory, store: RedisStorage) -> None:
    assert await Repair(reader(factory), store).turn(thorough=True) == Repaired()


@pytest.mark.parametrize("cut", [slice(0, 40), slice(1_000, 2_500), slice(-7, None), slice(0, None, 50)])
async def test_records_that_the_storage_lost_are_read_again(
    cut: slice, simulator: Simulator, factory: CollectorFactory, store: RedisStorage, redis_url: str
) -> None:
    await collected(factory, store)
    lost = simulator.published(MARKET)[cut]
    with connect(redis_url) as client:
        forget(client, KEY, lost)
    assert certify(store, KEY).missing == len(lost)
    done = await Repair(reader(factory), store).turn()
    assert done.closed > 0
    assert done.left == 0
    whole(store, simulator)
    assert store.counters(KEY)["repair:lost"] == len(lost)


async def test_a_day_that_the_storage_lost_is_read_again(
    simulator: Simulator, factory: CollectorFactory, store: RedisStorage, redis_url: str
) -> None:
    await collected(factory, store)
    with connect(redis_url) as client:
        client.delete(*(series_name(KEY, str(day_name(one.timestamp))) for one in simulator.published(MARKET)))
    assert (await Repair(reader(factory), store).turn()).closed == 1
    whole(store, simulator)


async def test_coverage_that_the_storage_lost_is_made_of_the_ids_that_are_stored(
    simulator: Simulator, factory: CollectorFactory, store: RedisStorage, redis_url: str
) -> None:
    """And polls that went on meanwhile left a gap that nobody would have read."""
    await collected(factory, store)
    published = simulator.published(MARKET)
    first, last = int(published[0].id), int(published[-1].id)
    with connect(redis_url) as client:
        client.delete(series_name(KEY, "coverage"))
        forget(client, KEY, published[100:200])
    store.store_batch(KEY, [], Covers("id", [Interval(last - 10, last)]))
    store.flush()
    one = Repair(reader(factory), store)
    assert await one.turn() == Repaired(covered=MADE - 100 - 10)
    assert store.coverage(KEY).gaps == [(first + 99, first + 199)]
    assert await one.turn() == Repaired(closed=1)
    whole(store, simulator)
    assert store.coverage(KEY).intervals == ((first - 1, last),)


async def test_what_is_lost_while_it_repairs_is_found_by_the_next_turn(
    simulator: Simulator, factory: CollectorFactory, store: RedisStorage, redis_url: str
) -> None:
    await collected(factory, store)
    published = simulator.published(MARKET)
    one = Repair(reader(factory), store)
    with connect(redis_url) as client:
        forget(client, KEY, published[50:60])
        flush = store.flush

        def losing(key: str | None = None, timeout: float = 10.0) -> None:
            flush(key, timeout)
            if certify(store, KEY).verdict == "complete":
                forget(client, KEY, published[1_000:1_100])

        store.flush = losing  # type: ignore[method-assign]
        assert (await one.turn()).closed == 1
        store.flush = flush  # type: ignore[method-assign]
    assert certify(store, KEY).missing == 100
    assert (await one.turn()).closed == 1
    whole(store, simulator)


async def test_gaps_within_are_closed_and_what_the_exchange_forgot_is_noted_and_tried_again_seldom(
    simulator: Simulator, factory: CollectorFactory
) -> None:
    memory, published = MemoryStorage(), simulator.published(MARKET)
    kept = [one for number, one in enumerate(published) if not (100 <= number < 110 or 2_500 <= number < 2_600)]
    ids = [Interval(int(one.id) - 1, int(one.id)) for one in kept]
    memory.store_batch(KEY, [(one.timestamp, one) for one in kept], Covers("id", ids))
    simulator.faults.set({"history": 1_000})
    one = Repair(reader(factory), memory)
    assert await one.turn() == Repaired(closed=1, left=1)
    first = int(published[0].id)
    assert certify(memory, KEY).stretches == [Stretch("missing", first + 100, first + 109, FORGOTTEN)]
    assert memory.counters(KEY)["repair:given_up"] == 1
    requests = simulator.faults.counts["requests"]
    assert await one.turn() == Repaired(left=1)
    assert simulator.faults.counts["requests"] == requests
    assert await one.turn(thorough=True) == Repaired(left=1)
    assert simulator.faults.counts["requests"] > requests
    assert memory.counters(KEY)["repair:given_up"] == 1
    simulator.faults.clear()
    assert await one.turn(thorough=True) == Repaired(closed=1)
    assert certify(memory, KEY).verdict == "complete"


async def test_lost_records_that_the_exchange_forgot_are_noted_and_not_looked_for_each_time(
    simulator: Simulator, factory: CollectorFactory
) -> None:
    memory, published = MemoryStorage(), simulator.published(MARKET)
    first, last = int(published[0].id), int(published[-1].id)
    there: list[Trade] = published[:100] + published[120:]
    memory.store_batch(KEY, [(one.timestamp, one) for one in there], Covers("id", [Interval(first - 1, last)]))
    simulator.faults.set({"history": 1_000})
    one = Repair(reader(factory), memory)
    assert await one.turn() == Repaired(left=1)
    assert certify(memory, KEY).stretches == [Stretch("missing", first + 100, first + 119, FORGOTTEN)]
    assert memory.counters(KEY)["repair:lost"] == 20
    assert await one.turn() == Repaired()
    assert memory.counters(KEY)["repair:lost"] == 20


async def test_a_hole_in_a_page_is_read_again_at_once_by_polls(factory: CollectorFactory) -> None:
    memory, client = MemoryStorage(), factory.clients.get("binance", MARKET)
    fetch, calls = client.fetch_trades, 0

    async def cut(market: str, after: object) -> object:
        nonlocal calls
        calls += 1
        page = await fetch(market, after)  # type: ignore[arg-type]
        if calls != 2:
            return page
        left_out = page.trades[10]
        intervals = [part for one in page.covers.intervals for part in _without(one, int(left_out.id))]
        trades = [one for one in page.trades if one is not left_out]
        return page._replace(trades=trades, covers=Covers("id", intervals))

    client.fetch_trades = cut  # type: ignore[method-assign,assignment]
    await make_collector(factory).run(memory)
    assert certify(memory, KEY).verdict == "complete"
    assert len(memory.fetch(KEY)) == MADE


def _without(interval: Interval, id: int) -> list[Interval]:
    if not interval.after < id <= interval.upto:
        return [interval]
    return [Interval(interval.after, id - 1), Interval(id, interval.upto)]
