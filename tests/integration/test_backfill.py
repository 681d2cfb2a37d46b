"""Reading chunks of history from the simulated exchange, and who has which chunk in hand."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from collection import clock
from collection.clients.ccxt_client import CCXTClient
from collection.data_collectors import CollectorFactory
from collection.data_collectors.trades_reader import TradesReader
from collection.errors import RetryLater
from collection.gap_notes import FORGOTTEN, noted_gaps, reason_for
from collection.records import Trade
from collection.setting_groups import ExchangeSettings
from collection.simulator import Simulator
from collection.storage import DataCollectionStorage, Interval, MemoryStorage
from collection.storage.days import DAY_MS, day_start
from collection.storage.redis_server import connect
from tests.simulation import AT_ONCE, KEY, MARKET, make_factory, make_tape, until
from workers import backfills as module
from workers.backfill_chunk import ChunkReader, Turn
from workers.backfills import Backfills, Begun, Chunk, Progress, days, known_positions

MONTH = 30 * 86_400.0


class ByTime(CCXTClient):
    """Reads an exchange as those are read that do not number their trades."""

    def __init__(self, settings: ExchangeSettings) -> None:
        super().__init__("binance", settings)
        self._paging, self.by = None, "time"


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    """A market with 6,000 trades in some three days, in bursts that share a millisecond."""
    tape = make_tape(tmp_path / "tape.csv", 6_000, step_ms=260_000)
    async with Simulator(tapes={MARKET: tmp_path / "tape.csv"}, speed=AT_ONCE) as running:
        await until(lambda: len(running.published(MARKET)) == len(tape))
        yield running


@pytest.fixture(params=["id", "time"])
async def factory(request: pytest.FixtureRequest, simulator: Simulator) -> AsyncIterator[CollectorFactory]:
    made = make_factory(simulator)
    if request.param == "time":
        made.clients._clients["binance", True] = ByTime(made.settings.exchange("binance"))
    yield made
    await made.clients.close()


def reader(factory: CollectorFactory) -> TradesReader:
    return TradesReader("binance", MARKET, start="now", kept=MONTH, clients=factory.clients)


def begun(start: int, end: int, progress: Progress | None = None) -> Begun:
    return Begun(KEY, start, end, "1", progress or Progress())


async def read(factory: CollectorFactory, storage: DataCollectionStorage, chunk: Begun, pages: int = 10**9) -> Turn:
    """Have a turn of so many pages."""
    left = itertools.count(pages, -1)
    return await ChunkReader(reader(factory), storage, MONTH, chunk).read(lambda: next(left) > 0)


async def read_all(
    factory: CollectorFactory, storage: DataCollectionStorage, bounds: Sequence[tuple[int, int]]
) -> list[tuple[Begun, str]]:
    """Read chunks, all of them begun at once, one page of one of them after another."""
    chunks = [begun(*one) for one in bounds]
    ended: list[tuple[Begun, str]] = []
    chance = random.Random(3)
    while chunks:
        chunk = chance.choice(chunks)
        try:
            turn = await read(factory, storage, chunk, 1)
        except RetryLater:
            continue
        if turn.state != "waiting":
            chunks.remove(chunk)
            ended.append((chunk, turn.state))
    return ended


def lines(trades: Sequence[Trade]) -> list[str]:
    return [trade.line for trade in trades]


async def test_chunks_that_are_read_in_any_order_join_without_a_hole(
    simulator: Simulator, factory: CollectorFactory
) -> None:
    published, storage = simulator.published(MARKET), MemoryStorage()
    assert published[-1].timestamp - published[0].timestamp > 2.2 * DAY_MS
    start = published[500].timestamp + 1
    ended = await read_all(factory, storage, days(start, clock.now()))
    assert len(ended) >= 3
    assert {state for _, state in ended} == {"done"}
    wanted = [trade for trade in published if trade.timestamp >= start]
    stored = [trade for _, trade in storage.fetch(KEY, start)]
    assert lines(stored) == lines(wanted)
    [interval] = storage.coverage(KEY).intervals
    if storage.coverage(KEY).by == "id":
        assert interval == (int(wanted[0].id) - 1, int(wanted[-1].id))
        assert lines([trade for _, trade in storage.fetch(KEY)]) == lines(wanted)
    else:
        assert interval.after <= wanted[0].timestamp
        assert interval.upto == wanted[-1].timestamp - 1


async def test_repeated_and_reordered_answers_and_failures_lose_and_double_nothing(
    simulator: Simulator, factory: CollectorFactory
) -> None:
    published, storage = simulator.published(MARKET), MemoryStorage()
    simulator.faults.set({"repeat": 0.3, "reorder": 0.3, "error": 0.1, "garbage": 0.1, "drop": 0.1})
    start = published[500].timestamp + 1
    ended = await read_all(factory, storage, days(start, clock.now()))
    assert {state for _, state in ended} == {"done"}
    wanted = [trade for trade in published if trade.timestamp >= start]
    assert lines([trade for _, trade in storage.fetch(KEY, start)]) == lines(wanted)
    assert len(storage.coverage(KEY).intervals) == 1


async def test_what_is_there_is_not_read_again(simulator: Simulator, factory: CollectorFactory) -> None:
    published, storage = simulator.published(MARKET), MemoryStorage()
    bounds = days(published[10].timestamp, clock.now())
    await read_all(factory, storage, bounds)
    before = storage.counters(KEY)["backfill:read"]
    ended = await read_all(factory, storage, bounds)
    assert {state for _, state in ended} == {"done"}
    page = 0 if storage.coverage(KEY).by == "id" else 200  # whether something came since
    assert storage.counters(KEY)["backfill:read"] <= before + page


async def test_a_turn_goes_on_where_the_last_one_ended_whatever_was_noted_of_it(
    simulator: Simulator, factory: CollectorFactory
) -> None:
    """What a killed worker had stored is skipped, though it did not come to note it."""
    published, storage = simulator.published(MARKET), MemoryStorage()
    start, end = published[1000].timestamp, published[5500].timestamp
    assert (await read(factory, storage, begun(start, end), 2)).state == "waiting"
    before = storage.counters(KEY)["new"]
    assert before > 150
    chunk = begun(start, end)
    assert (await read(factory, storage, chunk)).state == "done"
    assert storage.counters(KEY)["new"] == len(storage.fetch(KEY))
    again = 0 if storage.coverage(KEY).by == "id" else 400  # the first page, and what shares edges of pages
    assert storage.counters(KEY).get("duplicate", 0) <= again
    assert lines([trade for _, trade in storage.fetch(KEY, start, end - 1)]) == lines(
        [trade for trade in published if start <= trade.timestamp < end]
    )


async def test_what_the_exchange_does_not_have_any_more_is_told_and_not_claimed(
    simulator: Simulator, factory: CollectorFactory
) -> None:
    published, storage = simulator.published(MARKET), MemoryStorage()
    simulator.faults.set({"history": 1_000})
    first, oldest = published[0].timestamp, published[-1000]
    ended = await read_all(factory, storage, days(first, clock.now()))
    told = {chunk.progress.lacking for chunk, state in ended if state == "partly"}
    assert len(told) == 1
    assert "exchange" in told.pop()
    stored = [trade for _, trade in storage.fetch(KEY)]
    assert lines(stored) == lines(published[-1000:])
    assert all(
        one.after >= (int(oldest.id) - 1 if storage.coverage(KEY).by == "id" else oldest.timestamp - 1)
        for one in storage.coverage(KEY).intervals
    )


async def test_a_hole_that_the_exchange_leaves_is_noted_and_what_follows_is_read(tmp_path: Path) -> None:
    tape = make_tape(tmp_path / "whole.csv", 3_000, step_ms=20_000)
    rows = (tmp_path / "whole.csv").read_text().splitlines()
    (tmp_path / "tape.csv").write_text("\n".join([*rows[:1_501], *rows[1_511:], ""]))
    async with Simulator(tapes={MARKET: tmp_path / "tape.csv"}, speed=AT_ONCE) as simulator:
        await until(lambda: len(simulator.published(MARKET)) == 2_990)
        factory, storage = make_factory(simulator), MemoryStorage()
        chunk = begun(simulator.published(MARKET)[10].timestamp, clock.now())
        turns = [await read(factory, storage, chunk)]
        while turns[-1].state == "waiting":
            turns.append(await read(factory, storage, chunk))
        await factory.clients.close()
    assert [turn.pause for turn in turns] == [1.0, 2.0, 4.0, 0.0]
    assert turns[-1].state == "partly"
    gap = Interval(int(tape[1_499].id), int(tape[1_509].id))
    assert chunk.progress.lacking == f"the exchange does not have trades {gap.after + 1} to {gap.upto} any more"
    assert storage.coverage(KEY).gaps == [gap] == noted_gaps(storage, KEY)
    assert reason_for(storage, KEY, gap) == FORGOTTEN
    assert len(storage.fetch(KEY)) == 2_990 - 10


async def test_a_day_that_retention_has_passed_is_not_read(simulator: Simulator, factory: CollectorFactory) -> None:
    end = day_start(clock.now()) - 40 * DAY_MS
    chunk, storage = begun(end - DAY_MS, end), MemoryStorage()
    assert (await read(factory, storage, chunk)).state == "partly"
    assert chunk.progress.lacking == "it is older than what is kept"
    assert storage.series() == []


def test_a_time_is_cut_at_midnights_the_newest_part_first() -> None:
    day = day_start(clock.now())
    assert days(day - 10, day + 5) == [(day, day + 5), (day - 10, day)]
    assert days(day, day + DAY_MS) == [(day, day + DAY_MS)]
    assert days(day + 1, day + 2) == [(day + 1, day + 2)]
    assert len(days(day - 1, day + 30 * DAY_MS + 1)) == 32


async def test_where_a_neighbour_found_what_lies_between_them_it_is_not_looked_for_again(tmp_path: Path) -> None:
    make_tape(tmp_path / "tape.csv", 3_000, step_ms=20_000)
    async with Simulator(tapes={MARKET: tmp_path / "tape.csv"}, speed=AT_ONCE) as simulator:
        await until(lambda: len(simulator.published(MARKET)) == 3_000)
        published, factory, storage = simulator.published(MARKET), make_factory(simulator), MemoryStorage()
        first, middle, last = (published[number].timestamp for number in (1_000, 2_000, 2_500))
        newer = begun(middle, last)
        await read(factory, storage, newer)
        known = known_positions([Chunk(newer.start, newer.end, "done", newer.progress)])
        assert known == {
            middle: await factory.clients.get("binance", MARKET).first_since(MARKET, middle),
            last: known[last],
        }
        older = begun(first, middle)
        wrong = known | {middle: known[middle] - 100}
        reading = ChunkReader(reader(factory), storage, MONTH, older, wrong)
        assert (await reading.read(lambda: True)).state == "done"
        await factory.clients.close()
    assert older.progress.upto == known[middle] - 101  # it was believed


@pytest.fixture(params=["redis_with_timeseries", "redis_cluster"])
def backfills(request: pytest.FixtureRequest) -> Iterator[Backfills]:
    with connect(request.getfixturevalue(request.param).url) as client:
        client.flushall()
        yield Backfills(client)


A, B = "trades:binance:A/USDT", "trades:binance:B/USDT"


def states(backfills: Backfills, key: str = A) -> dict[int, str]:
    return {chunk.start: chunk.state for chunk in backfills.view(key)}


def turns(backfills: Backfills) -> list[tuple[str, int]]:
    return [(key, start) for key, start, _ in backfills.take_turns()]


async def due(backfills: Backfills) -> list[tuple[str, int, str]]:
    """Wait until something is due, and take it."""
    found: list[tuple[str, int, str]] = []

    def look() -> bool:
        found.extend(backfills.take_turns())
        return bool(found)

    await until(look, 5)
    return found


def test_chunks_are_handed_out_once_in_their_order_and_a_message_is_good_once(backfills: Backfills) -> None:
    assert backfills.add(A, [(200, 300), (100, 200)]) == 2
    assert backfills.any_open()
    [(_, first, token), (_, second, _)] = backfills.take_turns()
    assert (first, second) == (200, 100)
    assert turns(backfills) == []
    assert states(backfills) == {100: "sent", 200: "sent"}
    assert backfills.enter(A, 200, "1") is None  # stale
    chunk = backfills.enter(A, 200, token)
    assert chunk is not None
    assert (chunk.end, chunk.progress) == (300, Progress())
    assert backfills.enter(A, 200, token) is None  # it came twice
    assert states(backfills) == {100: "sent", 200: "running"}
    chunk.progress.reached, chunk.progress.after, chunk.progress.upto = 2**60 + 1, 2**60, 2**60 + 4
    assert backfills.keep(chunk)
    assert backfills.view(A)[1].share == 0.25
    assert backfills.leave(chunk, "done")
    assert not backfills.keep(chunk)
    assert states(backfills) == {100: "sent", 200: "done"}
    assert backfills.open() == {A: 1}
    assert backfills.view(A)[1].progress == chunk.progress


async def test_what_nobody_is_heard_of_is_handed_out_again(
    backfills: Backfills, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TTL", 0.2)
    backfills.add(A, [(100, 200)])
    [(_, _, lost)] = backfills.take_turns()
    [(_, _, token)] = await due(backfills)
    assert backfills.enter(A, 100, lost) is None
    killed = backfills.enter(A, 100, token)
    assert killed is not None
    killed.progress.reached = 150
    assert backfills.keep(killed)
    [(_, _, token)] = await due(backfills)
    again = backfills.enter(A, 100, token)
    assert again is not None
    assert again.progress.reached == 150
    assert not backfills.keep(killed)  # it comes back
    assert not backfills.leave(killed, "failed")
    assert backfills.leave(again, "done")
    assert states(backfills) == {100: "done"}
    assert not backfills.any_open()


def test_few_are_in_hand_at_once_of_one_series_fewer_and_what_is_begun_goes_first(backfills: Backfills) -> None:
    backfills.add(A, [(start, start + 1) for start in range(100, 120)])
    first = backfills.take_turns()
    assert len(first) == module.AT_ONCE_OF_ONE
    backfills.add(B, [(start, start + 1) for start in range(100, 120)])
    assert [key for key, _ in turns(backfills)] == [B] * (module.AT_ONCE - module.AT_ONCE_OF_ONE)
    key, start, token = first[2]
    chunk = backfills.enter(key, start, token)
    assert chunk is not None
    backfills.leave(chunk, "waiting")
    assert turns(backfills) == [(key, start)]


async def test_one_that_failed_has_its_next_turn_after_a_pause(backfills: Backfills) -> None:
    backfills.add(A, [(100, 200)])
    [(_, _, token)] = backfills.take_turns()
    chunk = backfills.enter(A, 100, token)
    assert chunk is not None
    chunk.progress.note = "the exchange is away"
    backfills.leave(chunk, "waiting", 0.3)
    assert turns(backfills) == []
    assert backfills.view(A)[0].progress.note == "the exchange is away"
    assert len(await due(backfills)) == 1


def test_a_chunk_that_is_made_longer_is_not_done_with_its_old_end(backfills: Backfills) -> None:
    backfills.add(A, [(100, 200)])
    [(_, _, token)] = backfills.take_turns()
    chunk = backfills.enter(A, 100, token)
    assert chunk is not None
    backfills.add(A, [(100, 250)])
    backfills.leave(chunk, "done")
    assert states(backfills) == {100: "waiting"}
    [(_, _, token)] = backfills.take_turns()
    chunk = backfills.enter(A, 100, token)
    assert chunk is not None
    assert chunk.end == 250
    backfills.leave(chunk, "done")
    assert backfills.add(A, [(100, 240)]) == 0  # which is done with it
    assert backfills.add(A, [(100, 300)]) == 1
    assert [(chunk.end, chunk.state) for chunk in backfills.view(A)] == [(300, "waiting")]


def test_what_is_cancelled_ends_and_what_ended_begins_again_where_that_is_asked_for(backfills: Backfills) -> None:
    backfills.add(A, [(100, 200), (200, 300)])
    backfills.add(B, [(100, 200)])
    [(_, _, token), *_] = backfills.take_turns()
    chunk = backfills.enter(A, 100, token)
    assert chunk is not None
    assert backfills.cancel(A) == 2
    assert states(backfills) == {100: "cancelled", 200: "cancelled"}
    assert not backfills.keep(chunk)
    assert not backfills.leave(chunk, "done")
    assert backfills.open() == {B: 1}
    assert backfills.add(A, [(100, 200)]) == 0
    assert backfills.add(A, [(100, 200)], again=True) == 1
    assert states(backfills) == {100: "waiting", 200: "cancelled"}
    assert backfills.cancel("trades:binance:C/USDT") == 0
