"""Certificates and retention against real storages and the simulated exchange."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collection.audit import certify
from collection.certificate import Dropped, Span
from collection.clients.ccxt_client import CCXTClient
from collection.clients.native_client import NativeClient
from collection.comparison import differences
from collection.data_collectors import CollectorFactory
from collection.errors import ConfigurationError, RetryLater
from collection.records import Trade
from collection.retention import drop_expired, kept_since
from collection.setting_groups import ExchangeSettings
from collection.settings import current
from collection.simulator import Simulator
from collection.storage import Covers, DataCollectionStorage, Interval, MemoryStorage
from collection.storage.days import DAY_MS, day_start
from tests import simulation
from tests.conftest import trade
from tests.simulation import AT_ONCE, KEY, MARKET, make_collector, make_factory, make_tape, until
from workers.lease import Lease
from workers.runtime import Runtime

DAY = 1_767_225_600_000
RETENTION = {"trades": 30 * 86_400.0}


def put(storage: DataCollectionStorage, trades: list[Trade], *intervals: tuple[int, int], key: str = KEY) -> None:
    storage.store_batch(key, [(one.timestamp, one) for one in trades], Covers("id", [Interval(*i) for i in intervals]))
    storage.flush()


def test_certificates_are_the_same_on_all_storages(storage: DataCollectionStorage) -> None:
    memory = MemoryStorage()
    for one in (storage, memory):
        put(one, [trade(number, DAY + number * 7_000_000) for number in range(0, 60, 2)], (-1, 20), (30, 59))
        put(one, [trade(number, DAY + number * 7_000_000) for number in range(1, 50, 2)])
        one.drop_before(KEY, DAY + DAY_MS)
    found = certify(storage, KEY)
    assert found == certify(memory, KEY)
    assert (found.verdict, found.dropped) == ("holes", Dropped(DAY + DAY_MS, 12))
    assert found.holes == [Span(number, number) for number in range(51, 60, 2)]
    assert (found.covered, found.gaps, found.outside) == ([Span(13, 20), Span(31, 59)], [Span(21, 30)], 10)
    assert certify(storage, KEY, DAY + 2 * DAY_MS) == certify(memory, KEY, DAY + 2 * DAY_MS)


def test_a_series_that_grows_while_it_is_read_has_no_holes(storage: DataCollectionStorage) -> None:
    put(storage, [trade(number) for number in range(1, 5_001)], (0, 5_000))
    end = 5_000

    def meanwhile(_: int) -> None:
        nonlocal end
        put(storage, [trade(number) for number in range(end + 1, end + 101)], (end, end + 100))
        end += 100

    found = certify(storage, KEY, on_page=meanwhile)
    assert (found.verdict, found.expected, found.missing, found.outside) == ("complete", 5_000, 0, 0)
    assert end > 5_000
    assert certify(storage, KEY).expected == end


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    make_tape(tmp_path / "tape.csv", 2_500)
    async with Simulator(tapes={MARKET: tmp_path / "tape.csv"}, speed=AT_ONCE) as running:
        await until(lambda: len(running.published(MARKET)) == 2_500)
        yield running


async def compared(storage: DataCollectionStorage, simulator: Simulator) -> list[str]:
    return await asyncio.to_thread(lambda: differences(storage, certify(storage, KEY), simulator.url))


async def test_what_was_collected_equals_the_truth(simulator: Simulator, storage: DataCollectionStorage) -> None:
    factory = make_factory(simulator)
    await make_collector(factory).run(storage)
    await factory.clients.close()
    assert certify(storage, KEY).verdict == "complete"
    assert await compared(storage, simulator) == []


async def test_each_difference_from_the_truth_is_told(simulator: Simulator) -> None:
    storage, published = MemoryStorage(), simulator.published(MARKET)
    wrong = msgspec.structs.replace(published[7], price=published[7].price * 2)
    never = msgspec.structs.replace(published[9], timestamp=published[9].timestamp + 1)
    begin, end = int(published[0].id) - 1, int(published[99].id)
    put(storage, [*published[:5], *published[6:7], wrong, *published[8:100], never], (begin, end))
    assert await compared(storage, simulator) == [
        "published 100, stored 100",
        f"stored nothing, published {published[5].line}",
        f"stored {wrong.line}, published {published[7].line}",
        f"stored {published[9].line} and {never.line}, published {published[9].line}",
    ]
    put(storage, published[100:140:2], (end, end + 40))
    assert (await compared(storage, simulator))[-1] == "and 13 more"


async def test_a_series_that_starts_later_or_lost_its_first_days_is_compared_from_there(simulator: Simulator) -> None:
    storage, published = MemoryStorage(), simulator.published(MARKET)
    put(storage, published[500:], (int(published[500].id) - 1, int(published[-1].id)))
    assert await compared(storage, simulator) == []
    put(storage, published[:0], (int(published[400].id) - 1, int(published[500].id) - 1))
    assert (await compared(storage, simulator))[0] == "published 2,100, stored 2,000"


async def test_what_tells_no_truth_is_named(simulator: Simulator, tmp_path: Path) -> None:
    storage = MemoryStorage()
    put(storage, [trade(1)], (0, 1), key="trades:binance:NO/SUCH")
    found = certify(storage, "trades:binance:NO/SUCH")

    async def refused(url: str) -> str:
        with pytest.raises((ConfigurationError, RetryLater)) as caught:
            await asyncio.to_thread(differences, storage, found, url)
        return str(caught.value)

    assert await refused(simulator.url) == "--truth: it answers 404: no market 'NO/SUCH'; known: LTC/ETH"
    assert (await refused("127.0.0.1:1")).startswith("--truth 127.0.0.1:1: give the simulated exchange's address")
    assert (await refused("http://127.0.0.1:1")).startswith("--truth: the exchange does not answer: ")


def test_days_that_are_older_than_their_kind_is_kept_are_dropped(
    storage: DataCollectionStorage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = DAY / 1000 + 12 * 3600
    since = kept_since(RETENTION["trades"], now)
    assert since == DAY - 30 * DAY_MS
    old, new = [trade(n, since - n) for n in range(1, 4)], [trade(9, since), trade(10, DAY)]
    put(storage, [*old, *new], (0, 10))
    put(storage, old, (0, 3), key="trades:dead:A/B")
    for key in ("quotes:binance:BTC/USDT", "mine", "trades"):
        put(storage, old, key=key)
    assert set(drop_expired(storage, RETENTION, now)) == {(KEY, 3, since), ("trades:dead:A/B", 3, since)}
    assert [value.id for _, value in storage.fetch(KEY)] == ["9", "10"]
    assert [len(storage.fetch(key)) for key in ("quotes:binance:BTC/USDT", "mine", "trades")] == [3, 3, 3]
    assert f"retention: {KEY}: 3 records before 2025-12-02 are dropped" in caplog.text
    assert "trades:dead:A/B: that was all of it, its newest record was of 2025-12-01" in caplog.text
    assert list(drop_expired(storage, RETENTION, now)) == []
    put(storage, old)
    assert storage.counters(KEY)["refused:dropped_day"] == 3


@pytest.fixture
def runtime(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """What the tasks use, on a Redis of the test."""
    from workers import tasks

    monkeypatch.setenv("COLLECTION_URL", redis_url)
    current.cache_clear()
    made = Runtime()
    monkeypatch.setattr(tasks, "runtime", made)
    return made


def test_the_task_drops_once_and_leaves_it_to_another_that_does(runtime: Runtime) -> None:
    from workers.tasks import drop_expired as task

    now = time.time_ns() // 1_000_000
    put(runtime.storage, [trade(1, now - 40 * DAY_MS), trade(2, now)], (0, 2))
    other = Lease(runtime.redis, "retention", 60)
    other._owner = "another"
    assert other.hold()
    assert task() == "still_running"
    other.release()
    assert task() == "1 records dropped"
    assert task() == "0 records dropped"
    runtime.close()


def test_while_the_clocks_disagree_nothing_is_dropped(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from workers.tasks import drop_expired as task

    put(runtime.storage, [trade(1, time.time_ns() // 1_000_000)], (0, 1))
    right = time.time()
    monkeypatch.setattr(time, "time", lambda: right + 90 * 86_400)
    assert task() == "clocks_disagree"
    monkeypatch.undo()
    assert len(runtime.storage.fetch(KEY)) == 1
    assert "this machine's clock and Redis's are 7776" in caplog.text
    runtime.close()


OLD = 1_500
NEW = 40


@pytest.fixture
async def aged(tmp_path: Path) -> AsyncIterator[Simulator]:
    """A market with 1,500 trades of forty days ago, and 40 of now."""
    old = make_tape(tmp_path / "old.csv", OLD)
    new = make_tape(tmp_path / "new.csv", OLD + NEW)[OLD:]
    rows = [*old, *(msgspec.structs.replace(one, timestamp=one.timestamp + 40 * DAY_MS) for one in new)]
    (tmp_path / "aged.csv").write_text(
        "\n".join(["timestamp_ms,trade_id,side,price,amount", *(one.line for one in rows), ""])
    )
    async with Simulator(tapes={MARKET: tmp_path / "aged.csv"}, speed=AT_ONCE) as running:
        await until(lambda: len(running.published(MARKET)) == OLD + NEW)
        yield running


@pytest.fixture
async def make(aged: Simulator) -> AsyncIterator[Callable[..., CollectorFactory]]:
    made: list[CollectorFactory] = []

    def factory(**given: Any) -> CollectorFactory:
        made.append(make_factory(aged, **given))
        return made[-1]

    yield factory
    for one in made:
        await one.clients.close()


class ByTime(CCXTClient):
    """Reads an exchange as those are read that do not number their trades."""

    def __init__(self, settings: ExchangeSettings) -> None:
        super().__init__("binance", settings)
        self._paging, self.by = None, "time"


async def test_the_earliest_start_is_the_oldest_day_that_is_kept(
    make: Callable[..., CollectorFactory], aged: Simulator, storage: DataCollectionStorage
) -> None:
    published = aged.published(MARKET)
    await make_collector(make()).run(storage)
    assert [value for _, value in storage.fetch(KEY)] == published[OLD:]
    assert storage.coverage(KEY).intervals == ((int(published[OLD].id) - 1, int(published[-1].id)),)
    assert storage.counters(KEY) == {"new": NEW}
    everything = MemoryStorage()
    await make_collector(make(retention={"trades": "60d"})).run(everything)
    assert [value for _, value in everything.fetch(KEY)] == published


async def test_reading_goes_on_from_what_is_kept_and_the_gap_stays_until_it_is_dropped(
    make: Callable[..., CollectorFactory], aged: Simulator, storage: DataCollectionStorage
) -> None:
    """The collector was away for more than a month, and beat dropped what was there."""
    published, first = aged.published(MARKET), int(aged.published(MARKET)[0].id)
    put(storage, published[:100], (first - 1, first + 99))
    assert [one.records for one in drop_expired(storage, RETENTION, time.time())] == [100]
    await make_collector(make()).run(storage)
    assert [value for _, value in storage.fetch(KEY)] == published[OLD:]
    found = certify(storage, KEY)
    assert (found.verdict, found.missing) == ("gaps", 0)
    assert found.gaps == [Span(first + 100, first + OLD - 1)]
    assert (
        await asyncio.to_thread(differences, storage, certify(storage, KEY, published[OLD].timestamp), aged.url) == []
    )


async def test_of_a_page_that_begins_below_the_floor_what_is_kept_is_stored_and_covered(
    make: Callable[..., CollectorFactory], aged: Simulator, storage: DataCollectionStorage
) -> None:
    published, first = aged.published(MARKET), int(aged.published(MARKET)[0].id)
    put(storage, published[: OLD - 10], (first - 1, first + OLD - 11))
    storage.drop_before(KEY, int((time.time() - 30 * 86_400) * 1000))
    await make_collector(make()).run(storage)
    assert [value for _, value in storage.fetch(KEY)] == published[OLD:]
    assert storage.counters(KEY)["refused:dropped_day"] == 10
    found = certify(storage, KEY)
    assert (found.verdict, found.gaps) == ("gaps", [Span(first + OLD - 10, first + OLD - 1)])


async def test_a_market_where_nothing_was_traded_since_asks_little_and_stores_nothing(
    tmp_path: Path, storage: DataCollectionStorage
) -> None:
    make_tape(tmp_path / "old.csv", OLD)
    async with Simulator(tapes={MARKET: tmp_path / "old.csv"}, speed=AT_ONCE) as simulator:
        await until(lambda: len(simulator.published(MARKET)) == OLD)
        factory = make_factory(simulator, retention={"trades": "1s"})
        published, first = simulator.published(MARKET), int(simulator.published(MARKET)[0].id)
        put(storage, published[:10], (first - 1, first + 9))
        storage.drop_before(KEY, published[-1].timestamp + DAY_MS)
        requests = 0
        client = factory.clients.get("binance", MARKET)
        assert isinstance(client, NativeClient)
        get = client._history._get

        async def counted(*given: object) -> object:
            nonlocal requests
            requests += 1
            return await get(*given)  # type: ignore[arg-type]

        client._history._get = counted  # type: ignore[assignment]
        await make_collector(factory).run(storage)
        await factory.clients.close()
    assert storage.fetch(KEY) == []
    assert storage.coverage(KEY).end == first + 9
    assert storage.counters(KEY) == {"new": 10}
    assert requests <= 3


async def test_by_time_as_well_reading_goes_on_from_what_is_kept(
    make: Callable[..., CollectorFactory],
    aged: Simulator,
    storage: DataCollectionStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(simulation, "CLIENT", "ccxt")
    published = aged.published(MARKET)
    factory = make()
    factory.clients._clients["binance", False] = ByTime(factory.settings.exchange("binance"))
    intervals = [Interval(published[0].timestamp - 1, published[99].timestamp - 1)]
    storage.store_batch(KEY, [(one.timestamp, one) for one in published[:100]], Covers("time", intervals))
    storage.flush()
    list(drop_expired(storage, RETENTION, time.time()))
    await make_collector(factory).run(storage)
    assert [value for _, value in storage.fetch(KEY)] == published[OLD:]
    found = certify(storage, KEY)
    # The page began before the oldest day that is kept: of what is kept nothing is unread.
    assert (found.verdict, found.gaps) == ("unproven", [])
    assert found.covered == [Span(kept_since(RETENTION["trades"], time.time()), published[-1].timestamp - 1)]


async def test_a_start_before_what_is_kept_is_refused_before_anything_is_fetched(
    make: Callable[..., CollectorFactory], storage: DataCollectionStorage
) -> None:
    collector = make_collector(make(start="2020-01-01"))
    with pytest.raises(ConfigurationError) as caught:
        await collector.run(storage)
    oldest = time.strftime("%Y-%m-%d", time.gmtime(day_start(int((time.time() - 30 * 86_400) * 1000)) / 1000))
    assert str(caught.value) == (
        f"start = '2020-01-01' lies before {oldest}, the oldest day that is kept (retention.trades = 30d): "
        "make it 'earliest', or keep trades for longer"
    )
    assert storage.counters(KEY) == {}


async def test_a_start_that_has_grown_old_stops_no_series_that_has_begun(
    make: Callable[..., CollectorFactory], aged: Simulator
) -> None:
    storage, published = MemoryStorage(), aged.published(MARKET)
    put(storage, published[OLD : OLD + 1], (int(published[OLD].id) - 1, int(published[OLD].id)))
    await make_collector(make(start="2020-01-01")).run(storage)
    assert [value for _, value in storage.fetch(KEY)] == published[OLD:]
