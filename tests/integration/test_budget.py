"""The budget of an exchange that all workers share, and what each does while Redis is away."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
import redis

from collection.clients.base import Start
from collection.clients.budget import Rate, background
from collection.clients.ccxt_client import CCXTClient
from collection.embedded import EmbeddedRedis
from collection.simulator import Simulator
from collection.storage.redis_server import connect
from tests.simulation import make_factory
from workers import budget as module
from workers.budget import RedisBudget


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return connect(redis_url)


async def seconds_for(*takes: tuple[RedisBudget, float]) -> float:
    began = time.monotonic()
    await asyncio.gather(*(budget.take(weight) for budget, weight in takes))
    return time.monotonic() - began


async def test_two_processes_have_one_bucket(client: redis.Redis) -> None:
    one, two = (RedisBudget(client, "binance:rest", Rate(20, 1.0)) for _ in range(2))
    assert await seconds_for(*[(one, 1)] * 10, *[(two, 1)] * 10) < 0.5
    took = await seconds_for(*[(one, 1)] * 5, *[(two, 1)] * 5)  # each of them alone would have half of it left
    assert 0.3 < took < 1.5
    assert await seconds_for((RedisBudget(client, "kraken:rest", Rate(20, 1.0)), 20)) < 0.2


async def test_the_bucket_never_gives_more_than_it_holds_and_what_fills_it(client: redis.Redis) -> None:
    budgets = [RedisBudget(client, "x", Rate(5, 0.1)) for _ in range(3)]
    taken = 0
    began = time.monotonic()

    async def work(budget: RedisBudget) -> None:
        nonlocal taken
        while time.monotonic() - began < 1.0:
            await budget.take(1)
            taken += 1

    await asyncio.gather(*(work(budget) for budget in budgets for _ in range(4)))
    took = time.monotonic() - began
    assert taken <= 5 + took * 50 + 1
    assert taken > 20


async def test_work_in_the_background_leaves_half_of_it_to_others(client: redis.Redis) -> None:
    budget, other = (RedisBudget(client, "x", Rate(10, 10.0)) for _ in range(2))
    with background():
        assert await seconds_for(*[(budget, 1)] * 5) < 0.5
        waits = asyncio.ensure_future(budget.take(1))
    assert await seconds_for(*[(other, 1)] * 5) < 0.5  # goes first
    assert not waits.done()
    waits.cancel()


async def test_what_is_more_than_it_holds_is_owed(client: redis.Redis) -> None:
    budget = RedisBudget(client, "x", Rate(1, 0.2))
    assert await seconds_for((budget, 2)) < 0.1
    assert 0.3 < await seconds_for((budget, 1)) < 0.8  # two are to be filled


@pytest.mark.parametrize("way", ["killed", "frozen"])
async def test_while_redis_is_away_each_process_goes_by_itself(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AWAY", 0.5)
    with EmbeddedRedis(tmp_path / "own", modules=False) as server:
        budget = RedisBudget(connect(server.url), "x", Rate(10, 1.0))
        await budget.take()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP if way == "frozen" else signal.SIGKILL)
        try:
            assert await seconds_for(*[(budget, 1)] * 5) < 1.0  # one look at Redis
            assert 0.3 < await seconds_for(*[(budget, 1)] * 10) < 2.5  # the bucket of this process
        finally:
            os.kill(server.pid, signal.SIGCONT) if way == "frozen" else server.start()
        with connect(server.url) as client:
            client.flushall()
            async with asyncio.timeout(10):
                while not client.keys("qc:{budget:x*"):  # it is asked again, and has the bucket
                    await budget.take(1)


async def test_requests_of_ccxt_wait_for_it(client: redis.Redis) -> None:
    async with Simulator(markets=["BTC/USDT"]) as simulator:
        settings = make_factory(simulator).settings.exchange("binance")
        ccxt = CCXTClient("binance", settings, lambda name, rate: RedisBudget(client, name, rate))
        await ccxt.fetch_trades("BTC/USDT", Start("now"))
        await ccxt.close()
    [key] = client.keys("qc:{budget:*")
    assert key == b"qc:{budget:binance:ccxt:20:1}"
    assert float(client.hget(key, "left") or 20) < 20
