"""The Updater: what it stores equals what is computed anew, and what is slow or broken keeps nothing else waiting."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest

from bench.quotes import make_feeds
from collection import clock
from collection.data_collectors import CollectorFactory, DataSourceCollector
from collection.embedded import EmbeddedRedis
from collection.errors import RecordRefused, StorageUnavailable
from collection.feeds import FEED_TYPES, PriceFeed
from collection.quotes import Moment, Publisher, RedisPublisher, Updater
from collection.quotes.redis_publisher import LAST, STREAM, decode
from collection.records import Quote, Trade, quote_key
from collection.settings import Settings
from collection.storage import Covers, DataCollectionStorage, Interval, MemoryStorage, RedisStorage
from collection.storage.redis_server import connect

KEYS = [f"trades:binance:M{number}/USD" for number in range(5)]


class Own(PriceFeed):
    """A feed type from elsewhere, of which the tests say what it does."""

    type: Literal["own"] = "own"

    def data_source_collectors(self) -> list[DataSourceCollector]:
        return []

    def compute(self, moment: Moment) -> Quote:
        made: Quote = DOES[self.name](self.name, moment)
        return made


DOES: dict[str, Callable[[str, Moment], Any]] = {}


def good(name: str, moment: Moment) -> Quote:
    return Quote(name=name, at=moment.at, price=Decimal(7), timestamp=moment.at, status="ok")


def own(name: str, does: Callable[[str, Moment], Any]) -> PriceFeed:
    DOES[name] = does
    return Own.model_validate({"name": name}, context=CollectorFactory(Settings()))


def median_of(name: str, *parts: PriceFeed) -> PriceFeed:
    table = {"name": name, "type": "median", "feeds": [part.name for part in parts]}
    made = FEED_TYPES["median"].model_validate(table, context=CollectorFactory(Settings()))
    made.bind({part.name: part for part in parts})
    return made


def trade_now(number: int, price: str = "100.5") -> Trade:
    now = clock.now()
    return Trade(now - 20, str(number), "buy", Decimal(price), Decimal(number), now)


def store_trades(storage: DataCollectionStorage, number: int) -> None:
    for key in KEYS:
        made = trade_now(number, f"{100 + number}.25")
        storage.store_batch(key, [(made.timestamp, made)], Covers("id", [Interval(number - 1, number)]))


def quotes_of(storage: DataCollectionStorage, name: str) -> list[Quote]:
    return [value for _, value in storage.fetch(quote_key(name))]


def test_what_is_stored_equals_what_is_computed_anew_and_is_all_that_was_published(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(clock.now(), 2**62, 60))
    now = [next(times)]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    feeds = make_feeds(20, len(KEYS))
    with RedisStorage(redis_url) as storage, connect(redis_url) as client:
        publisher = RedisPublisher(redis_url, heartbeat=0.5)
        updater = Updater(feeds, storage, publisher, delay=0.2)
        published = []
        for number in range(1, 16):
            store_trades(storage, number)
            storage.flush()
            now[0] = next(times)
            done = updater.update()
            assert (done.quoted, done.late) == (len(feeds), 0)
            published += done.published
        for feed in feeds:
            stored = quotes_of(storage, feed.name)
            assert len(stored) == 15
            assert len({quote.count for quote in stored}) > 5  # there was something new in most of them
            assert [quote.price for quote in stored] == [feed.quote(storage, quote.at).price for quote in stored]
            told = [quote for quote in published if quote.name == feed.name]
            assert 3 < len(told) <= 15
            assert [quote for quote in stored if quote in told] == told
            assert decode(client.hget(LAST, feed.name) or b"") == told[-1]
        assert [decode(fields[b"quote"]) for _, fields in client.xrange(STREAM)] == published
        publisher.close()


def test_a_slow_feed_delays_no_other_and_what_is_made_of_it_goes_on_without() -> None:
    blocked = threading.Event()

    def wait(name: str, moment: Moment) -> Quote:
        blocked.wait(20)
        return good(name, moment)

    storage = MemoryStorage()
    slow, *others = own("slow", wait), *(own(f"f{number}", good) for number in range(30))
    composite = median_of("composite", slow, others[0])
    updater = Updater([composite, slow, *others], storage, Publisher(heartbeat=4), interval=3)
    began = time.monotonic()
    first = threading.Thread(target=updater.update)
    first.start()
    while not all(quotes_of(storage, feed.name) for feed in others):
        assert time.monotonic() - began < 1.3  # they do not wait until the slow one is given up
        time.sleep(0.01)
    first.join()
    [quote] = quotes_of(storage, "composite")
    assert (quote.status, str(quote.price)) == ("degraded", "7")
    assert quote.reason.startswith("slow: missing: not done after 1.")
    assert not quotes_of(storage, "slow")
    first_late = time.monotonic()
    for _ in range(3):
        began = time.monotonic()
        assert updater.update().late == 1
        assert time.monotonic() - began < 1  # it is known to be slow
        assert not quotes_of(storage, "slow")
    while not quotes_of(storage, "slow"):
        updater.update()
    assert 3.5 < time.monotonic() - first_late < 8
    assert quotes_of(storage, "slow")[-1].status == "missing"
    assert quotes_of(storage, "slow")[-1].reason.startswith("not done for")
    blocked.set()
    while quotes_of(storage, "slow")[-1].status != "ok" or quotes_of(storage, "composite")[-1].status != "ok":
        assert time.monotonic() - began < 10
        updater.update()
    assert not [thread for thread in threading.enumerate() if thread.name == "quotes"]


def test_one_that_takes_longer_than_others_is_quoted_after_them() -> None:
    def linger(name: str, moment: Moment) -> Quote:
        time.sleep(0.3)
        return good(name, moment)

    storage = MemoryStorage()
    lingering = [own(f"slow{number}", linger) for number in range(3)]
    feeds = [median_of("of-all", *lingering), *lingering, *(own(f"f{number}", good) for number in range(30))]
    updater = Updater(feeds, storage)
    for _ in range(3):
        done = updater.update()
        assert (done.quoted, done.late) == (len(feeds), 0)
    for feed in feeds:
        assert [quote.status for quote in quotes_of(storage, feed.name)] == ["ok"] * 3


@pytest.mark.parametrize("seed", range(4))
def test_windows_that_are_read_slowly_over_several_rounds_are_exact_when_they_are_used(seed: int) -> None:
    """Each read of a window takes some rounds; what comes meanwhile must be in the quotes all the same."""
    chance = random.Random(seed)

    class Slow(MemoryStorage):
        def fetch(self, key: str, start_time: int | None = None, end_time: int | None = None) -> list[tuple[int, Any]]:
            found = super().fetch(key, start_time, end_time)
            if threading.current_thread().name == "quotes":
                time.sleep(chance.choice([0, 0, 0.02, 0.08]))
            return found

    storage = Slow()
    table = {"type": "cex_trades", "exchange": "binance", "market": "M0/USD"}
    feeds = [
        FEED_TYPES["cex_trades"].model_validate(
            {**table, "name": f"{method}-{window}", "window": window, "method": method},
            context=CollectorFactory(Settings()),
        )
        for window in ("1s", "2s", "1h")
        for method in ("vwap", "last", "median")
    ]
    feeds.append(median_of("all", *feeds))
    updater = Updater(feeds, storage, interval=0.04)
    quoted = number = 0
    while quoted < 1_000:
        number += 1
        for _ in range(chance.choice([0, 1, 3])):
            made = trade_now(number * 10 + chance.randrange(10), str(chance.randint(90, 110)))
            storage.store(KEYS[0], made, made.timestamp)
        quoted += updater.update(clock.now() - 1).quoted  # what is received in this millisecond may be stored after it
    counted = 0
    for feed in feeds[:-1]:
        for quote in quotes_of(storage, feed.name):
            if quote.reason.startswith("not done"):
                continue
            again = feed.quote(storage, quote.at)
            assert (quote.price, quote.count) == (again.price, again.count)
            counted += quote.price is not None
    assert counted > 200


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (lambda name, moment: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda name, moment: None, "TypeError: no quote, but NoneType"),
        (lambda name, moment: good("other", moment), "ValueError: a quote of other at "),
        (lambda name, moment: Quote(name=name, at=moment.at, status="ok"), "ValueError: status ok and price None"),
        (lambda name, moment: Quote(name=name, at=moment.at, price=1.5, status="ok"), "ValueError: a price of 1.5"),  # type: ignore[arg-type]
        (
            lambda name, moment: Quote(name=name, at=moment.at, price=Decimal("NaN"), status="ok"),
            "ValueError: a price of Decimal('NaN')",
        ),
        (
            lambda name, moment: Quote(name=name, at=moment.at, price=Decimal(1), status="ok", volume=object()),  # type: ignore[arg-type]
            "it can't be stored: ",
        ),
    ],
)
def test_a_feed_type_that_is_wrong_is_missing_and_says_why(does: Any, reason: str) -> None:
    storage = MemoryStorage()
    updater = Updater([own("wrong", does), own("right", good)], storage)
    assert {quote.name for quote in updater.update().published} == {"wrong", "right"}
    [quote] = quotes_of(storage, "wrong")
    assert (quote.status, quote.price) == ("missing", None)
    assert quote.reason.startswith(reason)
    assert quotes_of(storage, "right")[0].price == 7


def test_a_series_that_cannot_take_quotes_is_not_published_and_keeps_no_other_from_it(redis_url: str) -> None:
    with RedisStorage(redis_url) as storage:
        storage.store(quote_key("taken"), 1.5, 1_767_225_600_000)
        storage.flush()
        updater = Updater([own("taken", good), own("free", good)], storage, RedisPublisher(redis_url))
        assert [quote.name for quote in updater.update().published] == ["free"]


def test_a_storage_that_keeps_no_quotes_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    class Numbers(MemoryStorage):
        def store_batch(self, key: str, values: Any, covers: Covers | None = None) -> None:
            raise RecordRefused("bad_type", "numbers only")

    updater = Updater([own("a", good), own("b", good)], Numbers())
    assert [updater.update().published for _ in range(3)] == [[], [], []]
    assert [record.getMessage() for record in caplog.records] == [
        f"quotes: {name} is not published, as it can't be stored: bad_type: numbers only" for name in "ab"
    ]


def test_rounds_go_on_after_redis_was_away(tmp_path: Path) -> None:
    feeds = make_feeds(10, len(KEYS))
    with (
        EmbeddedRedis(tmp_path / "redis") as server,
        RedisStorage(server.url, spool=tmp_path / "spool") as storage,
    ):
        updater = Updater(feeds, storage, RedisPublisher(server.url), delay=0)
        store_trades(storage, 1)
        storage.flush()
        assert len(updater.update().published) == len(feeds)
        server.stop()
        with pytest.raises(StorageUnavailable):
            updater.update()
        server.start()
        store_trades(storage, 2)
        storage.flush()
        done = updater.update()
        assert [quote.count for quote in done.published if quote.name == "f0"] == [2]
        first, away, last = quotes_of(storage, "f0")  # what nobody could be told is stored all the same
        assert (first.count, away.status, last.count) == (1, "missing", 2)


async def test_an_asyncio_program_has_rounds_without_celery_or_redis() -> None:
    storage = MemoryStorage()
    updater = Updater([own("right", good)], storage, interval=0.05)
    rounds = []
    async with asyncio.timeout(10):
        async for done in updater.rounds():
            rounds.append(done)
            if len(rounds) == 3:
                break
    assert [len(done.published) for done in rounds] == [1, 0, 0]
    assert len(quotes_of(storage, "right")) == 3
