"""Client and collector against the simulated exchange: what is stored equals what it published."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collection import clock
from collection.clients.base import Start
from collection.data_collector import DataCollector
from collection.data_collectors import CollectorFactory, DataSourceCollector
from collection.embedded import EmbeddedRedis
from collection.errors import ConfigurationError, RetryLater
from collection.records import Trade
from collection.simulator import Simulator
from collection.storage import Covers, DataCollectionStorage, Interval, MemoryStorage, RedisStorage
from collection.storage.redis_server import connect
from collection.storage.spool_report import spool_report
from tests import simulation
from tests.simulation import (
    AT_ONCE,
    KEY,
    MARKET,
    make_collector,
    make_factory,
    make_tape,
    stored_lines,
    tape_lines,
    until,
)

COUNT = 3_210


@pytest.fixture(autouse=True, params=["auto", "ccxt"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both clients behave alike."""
    monkeypatch.setattr(simulation, "CLIENT", request.param)


@pytest.fixture
def tape(tmp_path: Path) -> list[Trade]:
    return make_tape(tmp_path / "tape.csv", COUNT)


@pytest.fixture
async def simulator(tape: list[Trade], tmp_path: Path) -> AsyncIterator[Simulator]:
    async with Simulator(tapes={MARKET: tmp_path / "tape.csv"}, speed=AT_ONCE) as running:
        await until(lambda: len(running.published(MARKET)) == len(tape))
        yield running


@pytest.fixture
async def factory(simulator: Simulator) -> AsyncIterator[CollectorFactory]:
    made = make_factory(simulator)
    yield made
    await made.clients.close()


async def test_one_round_stores_all_that_was_published(
    factory: CollectorFactory, tape: list[Trade], storage: DataCollectionStorage
) -> None:
    await make_collector(factory).run(storage)
    assert stored_lines(storage) == tape_lines(tape)
    assert storage.coverage(KEY).intervals == ((int(tape[0].id) - 1, int(tape[-1].id)),)
    assert storage.counters(KEY) == {"new": COUNT}


async def test_a_round_does_not_go_round_and_round_while_redis_takes_nothing(
    factory: CollectorFactory, tape: list[Trade], tmp_path: Path
) -> None:
    collector = make_collector(factory)
    with EmbeddedRedis(tmp_path / "own") as server, RedisStorage(server.url, spool=tmp_path / "spool") as storage:
        with connect(server.url) as client:
            client.config_set("maxmemory", "1")
            async with asyncio.timeout(15):  # less than a round may take
                await collector.run(storage)
            assert spool_report(tmp_path / "spool").waiting
            assert storage.coverage(KEY).end is None
            client.config_set("maxmemory", "0")
        await until(lambda: bool(storage.coverage(KEY).intervals))
        await collector.run(storage)
        assert stored_lines(storage) == tape_lines(tape)


async def test_a_round_reads_on_from_the_end_of_the_coverage_not_from_the_last_record(
    factory: CollectorFactory, tape: list[Trade], simulator: Simulator
) -> None:
    storage = MemoryStorage()
    published = simulator.published(MARKET)
    # Another writer stored the newest trades, while the ones before them are still on their way.
    storage.store_batch(KEY, [(one.timestamp, one) for one in published[-10:]])
    storage.store_batch(KEY, [], Covers("id", [Interval(int(tape[0].id) - 1, int(tape[99].id))]))
    await make_collector(factory).run(storage)
    assert stored_lines(storage) == tape_lines(tape)[100:]


async def test_repeated_and_reordered_answers_and_failures_lose_and_double_nothing(
    factory: CollectorFactory, simulator: Simulator, tape: list[Trade]
) -> None:
    storage = MemoryStorage()
    simulator.faults.set({"repeat": 0.5, "reorder": 0.5, "error": 0.1, "garbage": 0.1, "drop": 0.1})
    collector = make_collector(factory)
    failures = 0
    while storage.coverage(KEY).end != int(tape[-1].id):
        try:
            await collector.run(storage)
        except RetryLater:
            failures += 1
        assert failures < 100
    assert stored_lines(storage) == tape_lines(tape)
    assert len(storage.coverage(KEY).intervals) == 1


async def test_an_empty_series_starts_now_with_the_newest_trade(simulator: Simulator, tape: list[Trade]) -> None:
    factory, storage = make_factory(simulator, start="now"), MemoryStorage()
    await make_collector(factory).run(storage)
    await factory.clients.close()
    assert stored_lines(storage) == tape_lines(tape)[-1:]


async def test_an_empty_series_starts_at_a_time_with_the_first_trade_since(
    simulator: Simulator, tape: list[Trade]
) -> None:
    published = simulator.published(MARKET)
    start = published[1234].timestamp
    first = next(number for number, one in enumerate(published) if one.timestamp >= start)
    factory, storage = make_factory(simulator, start=str(start)), MemoryStorage()
    await make_collector(factory).run(storage)
    await factory.clients.close()
    assert stored_lines(storage) == tape_lines(tape)[first:]


async def test_an_unknown_market_is_a_configuration_error(factory: CollectorFactory) -> None:
    with pytest.raises(ConfigurationError, match=r"binance: (BadSymbol|Invalid symbol).*NO/SUCH"):
        await make_collector(factory, "NO/SUCH").run(MemoryStorage())


@pytest.mark.parametrize("fault", ["rate_limit", "ban"])
async def test_while_the_exchange_wants_to_be_left_alone_it_is_asked_nothing(
    factory: CollectorFactory, simulator: Simulator, fault: str
) -> None:
    client = factory.clients.get("binance", MARKET)
    await client.fetch_trades(MARKET, Start("now"))
    simulator.faults.set({fault: 1.0})
    with pytest.raises(RetryLater) as caught:
        await client.fetch_trades(MARKET, Start("now"))
    assert caught.value.after is not None
    assert caught.value.after >= 1
    done = simulator.faults.counts[fault]
    with pytest.raises(RetryLater, match="binance asked to wait another"):
        await client.fetch_trades(MARKET, Start("now"))
    assert simulator.faults.counts[fault] == done


@pytest.mark.parametrize("fault", ["error", "garbage", "drop"])
async def test_what_may_pass_is_to_be_retried_later(
    factory: CollectorFactory, simulator: Simulator, fault: str
) -> None:
    client = factory.clients.get("binance", MARKET)
    await client.fetch_trades(MARKET, Start("now"))
    simulator.faults.set({fault: 1.0})
    with pytest.raises(RetryLater, match="binance: "):
        await client.fetch_trades(MARKET, Start("now"))


async def test_an_exchange_that_is_not_there_is_to_be_retried_later(simulator: Simulator) -> None:
    factory = make_factory(simulator)
    await simulator.stop()
    with pytest.raises(RetryLater, match=r"binance: (ExchangeNotAvailable|/aggTrades: Cannot connect)"):
        await make_collector(factory).run(MemoryStorage())
    await factory.clients.close()


async def test_while_this_machines_clock_is_slow_nothing_is_taken_for_read(
    factory: CollectorFactory, simulator: Simulator, tape: list[Trade], monkeypatch: pytest.MonkeyPatch
) -> None:
    collector, storage = make_collector(factory), MemoryStorage()
    monkeypatch.setattr(clock, "_offset", -7 * 86_400_000)
    await collector.run(storage)
    assert storage.fetch(KEY) == []
    assert storage.coverage(KEY).end is None
    monkeypatch.undo()
    await collector.run(storage)
    assert stored_lines(storage) == tape_lines(tape)


async def test_the_orchestrator_runs_all_in_parallel_and_restarts_what_fails(
    simulator: Simulator, tape: list[Trade]
) -> None:
    simulator.faults.set({"fail_every": 3})
    factory, storage = make_factory(simulator, intervals={"trades": 0.05}), MemoryStorage()

    class Broken(DataSourceCollector):
        id, interval = "broken", 0.05

        def __init__(self) -> None:
            self.errors = itertools.cycle([RetryLater("away"), ZeroDivisionError("oops"), ConfigurationError("wrong")])

        async def run(self, storage: DataCollectionStorage) -> None:
            raise next(self.errors)

    running = asyncio.create_task(DataCollector([Broken(), make_collector(factory)], storage).run())
    await until(
        lambda: len(storage.fetch(KEY)) == len(tape) and storage.counters("broken").get("error:configuration") == 1
    )
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await factory.clients.close()
    assert stored_lines(storage) == tape_lines(tape)
    assert storage.counters("broken") == {"error:retry_later": 1, "error:unexpected": 1, "error:configuration": 1}
