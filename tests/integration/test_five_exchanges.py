"""Our own clients against servers of their protocols: certificates are true, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from collection.audit import certify
from collection.clients import dialling
from collection.clients.native_client import NativeClient
from collection.clients.wires import WIRES
from collection.comparison import differences
from collection.data_collectors import CollectorFactory
from collection.records import Trade
from collection.settings import Settings
from collection.simulator import Simulator
from collection.storage import MemoryStorage
from collection.storage.values import integer_id
from tests.simulation import until

MARKETS = ("AAA/USDT", "BBB/USDT")
FAULTS = {"disconnect_every": 1.0, "repeat": 0.2, "reorder": 0.2, "cut": 0.02, "malform": 0.02, "error": 0.05}
RATE = {"bybit": 15.0}
"""Trades a second: Bybit's history is its last 60 trades, in which what a cut cost must be."""
every_exchange = pytest.mark.parametrize("exchange", sorted(WIRES))


@pytest.fixture
def memory() -> MemoryStorage:
    return MemoryStorage()


def key_of(exchange: str, market: str) -> str:
    return f"trades:{exchange}:{market}"


@contextlib.asynccontextmanager
async def collecting(exchange: str, simulator: Simulator, memory: MemoryStorage) -> AsyncIterator[CollectorFactory]:
    """Streams all markets; what makes one fail is tried again, as a worker does."""
    urls = {"urls": simulator.urls(), "transport": "stream"}
    factory = CollectorFactory(Settings(exchanges={exchange: urls}))
    assert isinstance(factory.clients.get(exchange, MARKETS[0]), NativeClient)

    async def run(market: str) -> None:
        collector = factory.build(key_of(exchange, market))
        while True:
            with contextlib.suppress(Exception):
                await collector.run(memory)
            await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(run(market)) for market in MARKETS]
    try:
        yield factory
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await factory.clients.close()


def missing(memory: MemoryStorage, exchange: str, market: str, published: list[Trade]) -> list[Trade]:
    """What was published from the first trade that is stored to the end of the coverage, and is not stored."""
    key = key_of(exchange, market)
    stored, end = {trade.id for _, trade in memory.fetch(key)}, memory.coverage(key).end or 0
    first = next(n for n, trade in enumerate(published) if trade.id in stored)
    return [trade for trade in published[first:] if trade.id not in stored and position(exchange, trade) <= end]


def position(exchange: str, trade: Trade) -> int:
    return trade.timestamp if WIRES[exchange].by == "time" else integer_id(trade.id) or -1


async def all_proven(memory: MemoryStorage, exchange: str, simulator: Simulator) -> None:
    """Wait until what is published by now is proven complete."""
    ends = {market: position(exchange, simulator.published(market)[-1]) for market in MARKETS}
    await until(lambda: all((memory.coverage(key_of(exchange, m)).end or 0) >= ends[m] for m in MARKETS), 30)


@every_exchange
async def test_whatever_is_cut_repeated_and_reordered_certificates_equal_the_truth(
    exchange: str, memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "LIVED", 0.5)
    async with Simulator(protocol=exchange, markets=MARKETS, rate=RATE.get(exchange, 100)) as simulator:
        await until(lambda: all(len(simulator.published(market)) > 30 for market in MARKETS))
        async with collecting(exchange, simulator, memory):
            await until(lambda: all(memory.coverage(key_of(exchange, market)).end for market in MARKETS))
            simulator.faults.set(dict(FAULTS))
            await until(
                lambda: all(memory.counters(key_of(exchange, m)).get("stream:connected", 0) > 5 for m in MARKETS)
            )
            simulator.faults.clear()
            await all_proven(memory, exchange, simulator)
            await until(lambda: not any(memory.coverage(key_of(exchange, market)).gaps for market in MARKETS), 30)
        for market in MARKETS:
            certificate = certify(memory, key_of(exchange, market))
            assert certificate.verdict == ("unproven" if WIRES[exchange].by == "time" else "complete")
            assert certificate.stored > (60 if exchange == "bybit" else 300)
            if WIRES[exchange].by == "id":
                assert await asyncio.to_thread(differences, memory, certificate, simulator.url) == []
            else:
                [covered] = memory.coverage(key_of(exchange, market)).intervals
                stored = [one for _, one in memory.fetch(key_of(exchange, market), covered.after + 1, covered.upto)]
                published = simulator.published(market)
                assert stored == [one for one in published if covered.after < one.timestamp <= covered.upto]


@every_exchange
async def test_where_history_is_cut_short_the_gaps_are_those_that_are_true(
    exchange: str, memory: MemoryStorage
) -> None:
    async with Simulator(protocol=exchange, markets=MARKETS, rate=200) as simulator:
        await until(lambda: all(len(simulator.published(market)) > 30 for market in MARKETS))
        async with collecting(exchange, simulator, memory):
            await until(lambda: all(len(memory.fetch(key_of(exchange, market))) > 100 for market in MARKETS))
        passed = {market: len(simulator.published(market)) + 400 for market in MARKETS}
        await until(lambda: all(len(simulator.published(market)) > passed[market] for market in MARKETS))
        simulator.faults.set({"history": 100})
        async with collecting(exchange, simulator, memory):
            await all_proven(memory, exchange, simulator)
            keys = [key_of(exchange, market) for market in MARKETS]
            await until(lambda: all(memory.counters(key).get("gap:given_up") for key in keys), 30)
            await until(lambda: all(len(memory.coverage(key).gaps) == 1 for key in keys))  # others are on their way
        for market in MARKETS:
            published = simulator.published(market)
            lost = missing(memory, exchange, market, published)
            coverage = memory.coverage(key_of(exchange, market))
            assert len(lost) > 100
            gap, where = coverage.gaps[0], [position(exchange, trade) for trade in lost if lost]
            if coverage.by == "id":
                assert (gap.after + 1, gap.upto) == (where[0], where[-1])
            else:  # by time it can't be told to the millisecond, but nothing that is missing lies outside
                assert gap.after < where[0]
                assert where[-1] <= gap.upto
                assert gap.upto - gap.after < where[-1] - where[0] + 3_000
