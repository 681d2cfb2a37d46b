"""Exchanges with a short history, by time: what is claimed to be complete is complete, always, and at every moment.

The client, its history, the reader and the collector are real; the exchange is a list of trades.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collection import clock
from collection.clients import Clients, Live, histories
from collection.clients.base import Refused
from collection.clients.native_client import NativeClient
from collection.clients.queued_stream import QueuedStream
from collection.clients.wire import Request
from collection.data_collectors import live_trades
from collection.data_collectors.live_trades import LiveTrades
from collection.data_collectors.repair import Repair
from collection.data_collectors.trades_data_collector import TradesDataCollector
from collection.data_collectors.trades_reader import TradesReader
from collection.records import Trade
from collection.settings import Settings
from collection.storage import MemoryStorage

BEGAN = 1_767_225_600_000
KEY = "trades:bybit:AAA/USDT"
SETTLING = 5
"""Milliseconds: messages swap places within them."""

Step = tuple[object, ...]


def _plan(*names: str) -> list[Step]:
    return [(name,) for name in names]


pauses = st.lists(st.integers(0, 2), min_size=1, max_size=6)
trades = pauses.map(lambda some: [("trade", some)])
lone = st.integers(0, 6).map(lambda pause: [("trade", [pause]), ("deliver",)])
reading = st.sampled_from([_plan(), _plan("catch_up"), _plan("catch_up", "catch_up"), _plan("release"), _plan("poll")])
outages = st.tuples(
    st.sampled_from([_plan("cut"), _plan("restart"), _plan("deliver", "cut")]),
    trades,
    st.just(_plan("connect")),
    st.lists(lone, max_size=3).map(lambda parts: [step for part in parts for step in part]),
    reading,
    st.lists(lone, max_size=4).map(lambda parts: [step for part in parts for step in part]),
).map(lambda parts: [step for part in parts for step in part])
oddities = st.tuples(
    trades, st.sampled_from([_plan("swap"), _plan("refuse"), _plan("repeat"), _plan("swap", "refuse")])
)
parts = st.one_of(
    lone,
    reading,
    outages,
    trades,
    oddities.map(lambda pair: [*pair[0], *pair[1], ("deliver",)]),
    st.integers(1, 3_000).map(lambda pause: [("wait", pause)]),
    st.just(_plan("repair")),
)
plans = st.lists(parts, max_size=12).map(
    lambda some: [*_plan("connect", "deliver"), *(step for part in some for step in part)]
)


@pytest.fixture(autouse=True, scope="module")
def _smaller() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_trades, "SETTLING_MS", SETTLING)
        patch.setattr("collection.data_collectors.repair.PATIENCE", 0.0)
        yield


class Exchange:
    """Publishes trades, tells the newest `reach` of them, and sends them over one connection."""

    def __init__(self, reach: int, skew: int) -> None:
        self.now = BEGAN
        self.published: list[Trade] = []
        self.connected = False
        self.messages: list[Live] = []
        self._reach, self._skew = reach, skew

    def clock(self) -> int:
        """What this machine believes."""
        return self.now + self._skew

    def trade(self, later: int) -> None:
        self.now += later
        number = len(self.published)
        one = Trade(self.now, f"x{number * 7919 % 10_007:05}", "buy", Decimal("1.5"), Decimal(1), self.clock())
        self.published.append(one)
        if self.connected:
            self.messages.append(Live([one]))

    async def get(self, request: Request) -> bytes:
        rows = [
            {
                "execId": one.id,
                "symbol": "AAAUSDT",
                "price": str(one.price),
                "size": str(one.amount),
                "side": "Buy",
                "time": str(one.timestamp),
            }
            for one in self.published[: -self._reach - 1 : -1]
        ]
        return json.dumps({"retCode": 0, "result": {"list": rows}}).encode()


class World:
    """One market, collected."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange, self.storage = exchange, MemoryStorage()
        settings = Settings(start="now")
        clients = Clients(settings)
        client = clients.get("bybit", "AAA/USDT")
        assert isinstance(client, NativeClient)
        client._history._get = exchange.get
        self.reader = TradesReader("bybit", "AAA/USDT", start="now", kept=30 * 86_400.0, clients=clients)
        self.live: LiveTrades | None = None

    async def do(self, name: str, *given: object) -> None:
        exchange = self.exchange
        match name, *given:
            case "trade", list() as pauses:
                for pause in pauses:
                    exchange.trade(int(pause))
            case "wait", int() as pause:
                exchange.now += pause
            case ("swap",):
                times = [one.trades[0].timestamp for one in exchange.messages[-2:] if one.trades]
                if len(times) == 2 and times[1] - times[0] < SETTLING:
                    exchange.messages[-2:] = exchange.messages[:-3:-1]
            case ("refuse",):
                if exchange.messages and exchange.messages[-1].trades:
                    [one] = exchange.messages[-1].trades
                    exchange.messages[-1] = Live((), [Refused("unreadable", one.line, "")])
            case ("repeat",):
                exchange.messages += exchange.messages[-1:]
            case ("cut",):
                exchange.connected = False
            case ("connect",):
                exchange.connected = True
                exchange.messages.append(Live((), (), fresh=True))
            case ("restart",):
                self.leave()
                exchange.connected, exchange.messages = True, [Live((), (), fresh=True)]
            case ("poll",):
                await TradesDataCollector(self.reader, 1.0).run(self.storage)
            case ("repair",):
                await Repair(self.reader, self.storage).turn(thorough=True)
            case _:
                await self._live(name)

    async def _live(self, name: str) -> None:
        if self.live is None:
            coverage = await self.reader.coverage(self.storage)
            ready = asyncio.Event()
            self.live = LiveTrades(self.reader, self.storage, _no_stream(), ready, coverage)
        if name == "deliver":
            messages, self.exchange.messages = self.exchange.messages, []
            for live in _together(messages):
                self.live._take(live)
        elif name == "catch_up":
            await self.live._read_what_was_missed()
            await self.live._holes.close()
        elif name == "release":
            self.live.release()

    def leave(self) -> None:
        if self.live is not None:
            self.live.release(joined=False)
            self.live = None

    def judge(self) -> None:
        """Whatever is covered is stored."""
        stored = {(at, one.id) for at, one in self.storage.fetch(KEY)}
        for after, upto in self.storage.coverage(KEY).intervals:
            lacking = [
                one
                for one in self.exchange.published
                if after < one.timestamp <= upto and (one.timestamp, one.id) not in stored
            ]
            assert not lacking, f"({after}, {upto}] lacks {lacking}"


def _together(messages: list[Live]) -> Iterator[Live]:
    """What came since the last look is taken at once, as far as the connection was one."""
    for fresh, group in groupby(messages, lambda live: live.fresh):
        some = list(group)
        if fresh:
            yield from some
        else:
            yield Live([one for live in some for one in live.trades], [one for live in some for one in live.refused])


def _no_stream() -> QueuedStream:
    async def close(_: QueuedStream) -> None:
        return None

    return QueuedStream("bybit AAA/USDT", "AAAUSDT", lambda _: None, close)


def run(reach: int, skew: int, plan: list[Step]) -> World:
    async def live() -> World:
        exchange = Exchange(reach, skew)
        world = World(exchange)
        with pytest.MonkeyPatch.context() as patch:
            now: Callable[[], int] = exchange.clock
            patch.setattr(clock, "now", now)
            patch.setattr(live_trades, "now", now)
            patch.setattr(histories, "now", now)
            for step in plan:
                name, *given = step
                await world.do(str(name), *given)
                world.judge()
            world.leave()
            world.judge()
        return world

    return asyncio.run(live())


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 8), st.sampled_from([0, -20, 20, -4_000]), plans)
def test_what_is_claimed_to_be_complete_is_complete(reach: int, skew: int, plan: list[Step]) -> None:
    run(reach, skew, plan)


def test_a_page_that_begins_among_known_trades_of_one_millisecond_may_have_lost_others_of_it() -> None:
    plan: list[Step] = [("trade", [0, 1]), ("poll",), ("trade", [0]), ("connect",), ("trade", [0]), ("deliver",)]
    world = run(2, 0, [*plan, ("release",), ("trade", [1]), ("deliver",), ("catch_up",)])
    assert world.storage.gaps(KEY) == [(BEGAN, BEGAN + 1)] or world.storage.coverage(KEY).end == BEGAN


def test_a_connection_that_a_short_history_reaches_over_is_joined_without_a_gap() -> None:
    steps: list[Step] = [("connect",), ("deliver",), ("trade", [1, 1]), ("deliver",), ("catch_up",)]
    for _ in range(20):
        steps += [("cut",), ("trade", [1]), ("connect",), ("trade", [1]), ("deliver",), ("catch_up",)]
        steps += [("trade", [3, 3, 3]), ("deliver",)]
    world = run(8, 0, steps)
    assert world.storage.gaps(KEY) == []
    assert world.storage.coverage(KEY).end == world.exchange.now - SETTLING
    assert len(world.storage.fetch(KEY)) == len(world.exchange.published)
