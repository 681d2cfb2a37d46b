"""The Feeder and a Redis that is emptied or away, and how often it is asked."""

from __future__ import annotations

from pathlib import Path

import redis

from bench.quotes import make_feeds
from collection.embedded import EmbeddedRedis
from collection.quotes import Feeder
from collection.storage import Covers, DataCollectionStorage, Interval, RedisStorage
from collection.storage.redis_server import connect
from tests.conftest import trade

KEYS = [f"trades:binance:M{number}/USD" for number in range(5)]
AT = 1_767_225_600_000 + 30_000


def fill(storage: DataCollectionStorage, first: int, end: int) -> None:
    for key in KEYS:
        made = [trade(number, price=str(number + 1)) for number in range(first, end)]
        covers = Covers("id", [Interval(first - 1, end - 1)])
        storage.store_batch(key, [(one.timestamp, one) for one in made], covers)
    storage.flush()


def test_what_was_read_from_a_redis_that_was_emptied_is_forgotten(redis_url: str) -> None:
    feeds = make_feeds(10, len(KEYS))
    with RedisStorage(redis_url) as storage:
        fill(storage, 0, 20)
        feeder = Feeder(feeds, storage)
        assert {quote.count for quote in feeder.quotes(AT).values()} > {20}
        with connect(redis_url) as client:
            client.flushall()
        assert {quote.status for quote in feeder.quotes(AT).values()} == {"missing"}
        fill(storage, 5, 10)
        quotes = feeder.quotes(AT)
        assert quotes == {feed.name: feed.quote(storage, AT) for feed in feeds}
        assert quotes["f0"].count == 5


def test_a_round_takes_three_round_trips_however_many_feeds_and_series(redis_url: str) -> None:
    with RedisStorage(redis_url) as storage, connect(redis_url) as client:
        fill(storage, 0, 20)
        feeder = Feeder(make_feeds(20, len(KEYS)), storage)
        feeder.quotes(AT)
        fill(storage, 20, 25)
        before = _reads(client)
        assert feeder.quotes(AT)["f0"].count == 25
        assert _reads(client) - before <= 3 + 1  # the other one is that of INFO


def test_while_redis_is_away_quotes_are_missing_and_then_there_again(tmp_path: Path) -> None:
    feeds = make_feeds(10, len(KEYS))
    server = EmbeddedRedis(tmp_path / "redis")
    server.start()
    with RedisStorage(server.url) as storage:
        fill(storage, 0, 20)
        feeder = Feeder(feeds, storage)
        good = feeder.quotes(AT)
        server.stop()
        away = feeder.quotes(AT)
        assert {quote.status for quote in away.values()} == {"missing"}
        assert away == {feed.name: feed.quote(storage, AT) for feed in feeds}
        server.start()
        assert feeder.quotes(AT) == good
    server.stop()


def _reads(client: redis.Redis) -> int:
    return int(client.info("stats")["total_reads_processed"])
