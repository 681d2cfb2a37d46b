"""The stream collector against the simulated exchange: what is stored is what was published, whatever breaks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collection.clients import Cursor, Page, Start, ccxt_client
from collection.data_collectors import CollectorFactory, TradesStreamCollector, holes, live_trades, silence
from collection.errors import ConfigurationError
from collection.gap_notes import reason_for
from collection.records import Trade
from collection.simulator import Simulator
from collection.storage import Covers, DataCollectionStorage, Interval, MemoryStorage, RedisStorage
from collection.storage.redis_server import connect
from tests import simulation
from tests.simulation import make_factory, make_tape, until

MARKET = "AAA/USDT"
KEY = f"trades:binance:{MARKET}"


@contextlib.asynccontextmanager
async def streaming(
    factory: CollectorFactory, storage: DataCollectionStorage, market: str = MARKET
) -> AsyncIterator[TradesStreamCollector]:
    """A collector that listens; what makes it fail fails the test."""
    collector = factory.build(f"trades:binance:{market}")
    assert isinstance(collector, TradesStreamCollector)
    task = asyncio.ensure_future(collector.run(storage))
    ready = asyncio.ensure_future(collector.ready.wait())
    try:
        await asyncio.wait([task, ready], timeout=20, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield collector
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        ready.cancel()
        await asyncio.gather(task, ready, return_exceptions=True)
        await factory.clients.close()


async def settled(simulator: Simulator, storage: DataCollectionStorage, market: str = MARKET) -> list[Trade]:
    """Wait until all that is published now is stored and proven, and return what is stored of that."""
    published = simulator.published(market)
    key, last = f"trades:binance:{market}", published[-1]
    try:
        await until(lambda: _complete(storage, key, published), 15)
    except TimeoutError:
        raise AssertionError(
            f"{storage.coverage(key)} {storage.counters(key)} {published[0]} {published[-1]}"
        ) from None
    stored = [trade for _, trade in storage.fetch(key, None, last.timestamp) if int(trade.id) <= int(last.id)]
    assert sorted(stored, key=lambda trade: int(trade.id)) == published
    return published


def _complete(storage: DataCollectionStorage, key: str, published: list[Trade]) -> bool:
    coverage = storage.coverage(key)
    first, last = (int(t.id) if coverage.by == "id" else t.timestamp for t in (published[0], published[-1]))
    return len(coverage.intervals) == 1 and coverage.intervals[0].after <= first and coverage.intervals[0].upto >= last


@pytest.fixture(autouse=True, params=["auto", "ccxt"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both clients behave alike."""
    monkeypatch.setattr(simulation, "CLIENT", request.param)


@pytest.fixture
def memory() -> MemoryStorage:
    return MemoryStorage()


@pytest.mark.parametrize("by", ["id", "time"])
async def test_history_and_live_trades_join_through_cuts_and_repetitions(
    by: str, memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "time":
        monkeypatch.setattr(simulation, "CLIENT", "ccxt")
        monkeypatch.setattr(ccxt_client, "ID_PAGING", {})
    faults = {"disconnect_every": 1.5, "repeat": 0.2, "reorder": 0.2}
    async with Simulator(markets=[MARKET], rate=100, faults=faults) as simulator:
        await until(lambda: len(simulator.published(MARKET)) > 50)
        start = str(simulator.published(MARKET)[0].timestamp)
        async with streaming(make_factory(simulator, "stream", start=start), memory):
            await until(lambda: memory.counters(KEY).get("stream:connected", 0) >= 4)
            simulator.faults.clear()
            assert len(await settled(simulator, memory)) > 300


async def test_what_is_lost_or_unreadable_on_the_way_is_read_again(memory: MemoryStorage) -> None:
    faults = {"lose": 0.05, "cut": 0.05, "malform": 0.05, "error": 0.1}
    async with Simulator(markets=[MARKET], rate=200, faults=faults) as simulator:
        async with streaming(make_factory(simulator, "stream"), memory):
            await until(lambda: len(memory.fetch(KEY)) > 600)
            simulator.faults.clear()
            await settled(simulator, memory)
        assert min(simulator.faults.counts[name] for name in ("lose", "cut", "malform")) > 3


async def test_live_trades_are_not_held_for_ever_while_the_past_cannot_be_read(
    memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_trades, "HOLD", 0.5)
    async with Simulator(markets=[MARKET], rate=50) as simulator:
        factory = make_factory(simulator, "stream")
        await factory.clients.get("binance", MARKET).fetch_trades(MARKET, Start("now"))  # loads the markets
        await until(lambda: len(simulator.published(MARKET)) > 20)
        simulator.faults.set({"garbage": 1})
        async with streaming(factory, memory):
            assert memory.fetch(KEY)
            simulator.faults.clear()
            await settled(simulator, memory)


async def test_a_hole_that_the_exchange_has_forgotten_stays_one_with_its_reason(
    memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holes, "GONE", 2)
    async with Simulator(markets=[MARKET], rate=200) as simulator:
        factory = make_factory(simulator, "stream")
        async with streaming(factory, memory):
            await settled(simulator, memory)
        end = memory.coverage(KEY).end or 0
        simulator.faults.set({"history": 100})
        await until(lambda: int(simulator.published(MARKET)[-1].id) > end + 300)
        async with streaming(factory, memory):
            await until(lambda: memory.counters(KEY).get("gap:given_up") == 1)
            [left, right] = memory.coverage(KEY).intervals
            assert left.upto == end
            assert right.after > end + 100
            assert reason_for(memory, KEY, Interval(left.upto, right.after)).startswith("the exchange has what came")
        async with streaming(factory, memory):  # what is noted is not noted again
            await until(lambda: memory.counters(KEY).get("gap:given_up") == 2)
        assert len(memory.fetch(f"gaps:{KEY}")) == 1


async def test_a_subscription_that_died_is_renewed(memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "SHORTEST", 0.5)
    monkeypatch.setattr(live_trades, "ARRIVING", 0.5)
    async with (
        Simulator(markets=[MARKET], rate=50) as simulator,
        streaming(make_factory(simulator, "stream"), memory),
    ):
        simulator.faults.set({"deaf": 1})
        await until(lambda: simulator.faults.counts["deaf"] > 0)
        simulator.faults.clear()
        await until(lambda: memory.counters(KEY).get("stream:dead", 0) > 0)
        connected = memory.counters(KEY)["stream:connected"]
        await until(lambda: memory.counters(KEY)["stream:connected"] > connected)
        await settled(simulator, memory)


async def test_a_quiet_market_is_asked_and_left_alone(
    memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(silence, "SHORTEST", 0.3)
    tape = tmp_path / "tape.csv"
    make_tape(tape, 100)
    async with Simulator(tapes={MARKET: tape}, speed=1e9) as simulator:
        async with streaming(make_factory(simulator, "stream"), memory):
            await settled(simulator, memory)
            requests = simulator.faults.counts["requests"]
            await until(lambda: simulator.faults.counts["requests"] >= requests + 2)
        assert memory.counters(KEY).get("stream:dead") is None
        assert memory.counters(KEY)["stream:connected"] == 1


async def test_a_storage_that_forgot_is_filled_again(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_trades, "COMPARED", 0.5)
    async with Simulator(markets=[MARKET], rate=100) as simulator:
        with RedisStorage(redis_url) as storage, connect(redis_url) as client:
            async with streaming(make_factory(simulator, "stream"), storage):
                await settled(simulator, storage)
                await until(lambda: len(simulator.published(MARKET)) > 200)
                client.flushall()
                await until(lambda: storage.counters(KEY).get("gap:lost", 0) > 0)
                await settled(simulator, storage)


@pytest.mark.parametrize("held", [False, True])
async def test_a_history_whose_reading_never_began_is_read_by_the_next_run(
    held: bool, memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run ends before its first page, its live trades held, or released for they waited too long."""
    monkeypatch.setattr(live_trades, "HOLD", 10.0 if held else 0.3)
    async with Simulator(markets=[MARKET], rate=100) as simulator:
        factory = make_factory(simulator, "stream")
        await factory.clients.get("binance", MARKET).fetch_trades(MARKET, Start("now"))  # loads the markets
        await until(lambda: len(simulator.published(MARKET)) > 100)
        simulator.faults.set({"garbage": 1})
        collector = factory.build(KEY)
        first = asyncio.ensure_future(collector.run(memory))
        await until(lambda: memory.counters(KEY).get("error:retry_later", 0) > 0)
        if not held:
            await until(lambda: bool(memory.fetch(KEY)))
            assert memory.coverage(KEY).end is None
        assert collector.ready.is_set() is not held
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await factory.clients.close()
        simulator.faults.clear()
        async with streaming(make_factory(simulator, "stream"), memory):
            await settled(simulator, memory)


async def test_a_run_that_fails_before_it_is_joined_never_says_that_it_delivers(memory: MemoryStorage) -> None:
    """Else a successor would take the lease from one that does deliver."""
    async with Simulator(markets=[MARKET], rate=100) as simulator:
        factory = make_factory(simulator, "stream")
        factory.clients.get("binance", MARKET).fetch_trades = _forbidden  # type: ignore[method-assign]
        collector = factory.build(KEY)
        told = asyncio.ensure_future(collector.ready.wait())
        with pytest.raises(ConfigurationError, match="no permission"):
            await collector.run(memory)
        await asyncio.sleep(0)
        assert not told.done()
        told.cancel()
        await factory.clients.close()


async def _forbidden(market: str, after: Cursor | Start) -> Page:
    raise ConfigurationError(f"{market}: no permission")


async def test_one_page_closes_all_the_holes_that_it_has(memory: MemoryStorage) -> None:
    async with Simulator(markets=[MARKET], rate=200) as simulator:
        await until(lambda: len(simulator.published(MARKET)) > 500)
        half = simulator.published(MARKET)[:500:2]
        ids = [int(trade.id) for trade in half]
        memory.store_batch(KEY, [(t.timestamp, t) for t in half], Covers("id", [Interval(n - 1, n) for n in ids]))
        requests = simulator.faults.counts["requests"]
        async with streaming(make_factory(simulator, "stream"), memory):
            await settled(simulator, memory)
        assert simulator.faults.counts["requests"] - requests < 20


async def test_a_quiet_market_is_filled_again_as_well(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(live_trades, "COMPARED", 0.5)
    make_tape(tmp_path / "tape.csv", 300)
    async with Simulator(tapes={MARKET: tmp_path / "tape.csv"}, speed=1e9) as simulator:
        with RedisStorage(redis_url) as storage, connect(redis_url) as client:
            async with streaming(make_factory(simulator, "stream"), storage):
                await settled(simulator, storage)
                await asyncio.sleep(1.5)  # it has compared once
                client.flushall()
                await settled(simulator, storage)


async def test_a_market_that_reads_its_past_is_not_taken_for_dead(
    memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(silence, "SHORTEST", 0.2)
    monkeypatch.setattr(live_trades, "ARRIVING", 0.1)
    make_tape(tmp_path / "tape.csv", 30_000)
    async with Simulator(tapes={MARKET: tmp_path / "tape.csv"}, speed=1e9) as simulator:
        async with streaming(make_factory(simulator, "stream"), memory):
            await settled(simulator, memory)
        assert memory.counters(KEY).get("stream:dead") is None
