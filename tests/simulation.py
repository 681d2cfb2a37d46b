"""What tests of the whole share: a small made tape, and settings that point binance at a simulator."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from collection.data_collectors import CollectorFactory, TradesDataCollector
from collection.records import Trade
from collection.settings import Settings
from collection.simulator import Simulator
from collection.storage import DataCollectionStorage

MARKET = "LTC/ETH"
KEY = f"trades:binance:{MARKET}"
CLIENT = "auto"
"""Whose client reaches it: `ccxt`, or this system's own."""
AT_ONCE = 1e9
"""A speed at which a tape is published at once."""


def make_tape(path: Path, count: int, *, seed: int = 1, burst: int = 5, step_ms: int = 400) -> list[Trade]:
    """Write a tape of trades in bursts that share a millisecond, and return them."""
    chance = random.Random(seed)
    trades: list[Trade] = []
    time = 1_600_000_000_000
    while len(trades) < count:
        time += chance.randint(1, step_ms)
        for _ in range(min(chance.randint(1, burst), count - len(trades))):
            price, amount = Decimal(chance.randint(1, 10**9)).scaleb(-8), Decimal(chance.randint(1, 10**6)).scaleb(-3)
            trades.append(Trade(time, str(77_000 + len(trades)), chance.choice(["buy", "sell"]), price, amount))
    path.write_text("\n".join(["timestamp_ms,trade_id,side,price,amount", *(trade.line for trade in trades), ""]))
    return trades


def exchange_settings(simulator: Simulator, transport: str = "poll") -> dict[str, object]:
    """How binance is reached in the simulator."""
    options = {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False}
    urls = simulator.ccxt_urls()
    return {"binance": {"urls": urls, "options": options, "transport": transport, "client": CLIENT}}


def make_factory(simulator: Simulator, transport: str = "poll", **given: object) -> CollectorFactory:
    """A factory whose collectors reach the simulator, from its first trade on."""
    settings: dict[str, Any] = {"start": "earliest", **given, "exchanges": exchange_settings(simulator, transport)}
    return CollectorFactory(Settings(**settings))


def make_collector(factory: CollectorFactory, market: str = MARKET) -> TradesDataCollector:
    collector = factory.build(f"trades:binance:{market}")
    assert isinstance(collector, TradesDataCollector)
    return collector


def stored_lines(storage: DataCollectionStorage, key: str = KEY) -> list[str]:
    """What is stored, without its times: a tape's are shifted."""
    return [trade.line.partition(",")[2] for _, trade in storage.fetch(key)]


def tape_lines(trades: list[Trade]) -> list[str]:
    return [trade.line.partition(",")[2] for trade in trades]


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for a condition; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)
