"""Quotes over Redis: published once, whoever publishes, and followed through whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from collection import clock
from collection.embedded import EmbeddedRedis
from collection.quotes import RedisPublisher, follow
from collection.quotes.redis_publisher import LAST, STREAM, decode, last_published, open_publisher
from collection.records import Quote
from collection.storage.redis_server import connect
from tests.clusters import RedisCluster


def quote(name: str, price: int, after: int = 0) -> Quote:
    now = clock.now()
    return Quote(name=name, at=now + after, price=Decimal(price), timestamp=now, count=3, dispersion=0.1, status="ok")


async def heard(quotes: AsyncIterator[Quote], number: int) -> list[Quote]:
    async with asyncio.timeout(20):
        return [await anext(quotes) for _ in range(number)]


def test_of_many_publishers_one_tells_what_is_news(redis_url: str) -> None:
    """Each has another price for the same moment, and moments come in any order."""
    publishers = [RedisPublisher(redis_url) for _ in range(4)]
    began = clock.now()

    def quotes(publisher: int) -> list[Quote]:
        news: list[Quote] = []
        for number in range(50):
            price = Decimal(100 + 10 * number + publisher)
            made = [Quote(name=name, at=began + number, price=price, status="ok") for name in "abc"]
            news += publishers[publisher].publish(made)
        return news

    with connect(redis_url) as client, ThreadPoolExecutor(4) as threads, client.pubsub() as channel:
        channel.psubscribe("quotes:*")
        told = [one for news in threads.map(quotes, range(4)) for one in news]
        assert len({(one.name, one.at) for one in told}) == len(told) >= 3
        streamed = [decode(fields[b"quote"]) for _, fields in client.xrange(STREAM)]
        assert sorted(streamed, key=_order) == sorted(told, key=_order)
        for name in "abc":
            times = [one.at for one in streamed if one.name == name]
            assert times == sorted(times)
            assert times[-1] == began + 49
        messages = [channel.get_message(timeout=5) for _ in range(1 + len(told))]
        assert [decode(one["data"]) for one in messages[1:]] == streamed
        assert {one["channel"] for one in messages[1:]} == {b"quotes:a", b"quotes:b", b"quotes:c"}
        client.hset(LAST, "a", b"what nobody can read")
        assert {one.name for one in last_published(client)} == {"b", "c"}
        [again] = publishers[0].publish([quote("a", 1, 1_000)])
        assert decode(client.hget(LAST, "a") or b"") == again
    for publisher in publishers:
        publisher.close()


def _order(quote: Quote) -> tuple[str, int]:
    return quote.name, quote.at


async def test_the_last_of_each_comes_first_and_then_each_one(redis_url: str) -> None:
    publisher = RedisPublisher(redis_url)
    first = quote("a", 1), quote("b", 2), quote("c", 3)
    publisher.publish(first)
    last = quote("a", 4, 5)
    publisher.publish([last])
    quotes = follow(redis_url, ["a", "c"])
    assert sorted(await heard(quotes, 2), key=lambda one: one.name) == [last, first[2]]
    news = [quote("a", 5, 10), quote("b", 6, 10), quote("c", 7, 10)]
    publisher.publish(news)
    assert await heard(quotes, 2) == [news[0], news[2]]
    await quotes.aclose()  # type: ignore[attr-defined]


async def test_a_feed_of_which_nothing_is_heard_is_missing_once(redis_url: str) -> None:
    publisher = RedisPublisher(redis_url)
    publisher.publish([quote("old", 1, -60_000), quote("a", 2)])
    quotes = follow(redis_url, ["a", "old", "never"], silence=1)
    said = await heard(quotes, 4)
    assert [(one.name, one.status) for one in said[:2]] == [("a", "ok"), ("old", "missing")]
    assert {(one.name, one.status) for one in said[2:]} == {("a", "missing"), ("never", "missing")}
    assert {one.reason for one in said[1:]} == {"nothing was heard of it for 1 s"}
    publisher.publish([quote("a", 3), quote("b", 9)])
    [one] = await heard(quotes, 1)
    assert (one.name, str(one.price)) == ("a", "3")
    assert [(one.name, one.status) for one in await heard(quotes, 1)] == [("a", "missing")]
    await quotes.aclose()  # type: ignore[attr-defined]


async def test_what_is_published_is_told_however_late_it_is_heard(redis_url: str) -> None:
    publisher = RedisPublisher(redis_url)
    publisher.publish([quote("a", 1)])
    quotes = follow(redis_url)
    await heard(quotes, 1)
    old = quote("b", 2, -60_000)
    publisher.publish([old])
    told, silent = await heard(quotes, 2)
    assert (told, silent.name, silent.status) == (old, "b", "missing")
    await quotes.aclose()  # type: ignore[attr-defined]


async def test_quotes_are_followed_through_a_restart_of_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collection.backoff.LONGEST", 0.2)
    with EmbeddedRedis(tmp_path / "redis") as server:
        publisher = RedisPublisher(server.url)
        publisher.publish([quote("a", 1)])
        quotes = follow(server.url)
        assert [one.price for one in await heard(quotes, 1)] == [1]
        waiting = asyncio.ensure_future(heard(quotes, 2))
        server.stop()
        server.start()
        publisher.publish([quote("a", 2, 1)])
        publisher.publish([quote("a", 3, 2)])
        assert [one.price for one in await waiting] == [2, 3]
        await quotes.aclose()  # type: ignore[attr-defined]
        publisher.close()


async def test_quotes_go_over_a_cluster(redis_cluster: RedisCluster) -> None:
    with connect(redis_cluster.url) as client:
        client.flushall()
    publisher = open_publisher(redis_cluster.url)
    made = [quote("a", 1), quote("b", 2)]
    assert publisher.publish(made) == made
    quotes = follow(redis_cluster.url)
    assert sorted(await heard(quotes, 2), key=lambda one: one.name) == made
    await quotes.aclose()  # type: ignore[attr-defined]
    publisher.close()


def test_where_the_storage_is_no_redis_nobody_is_told() -> None:
    assert not isinstance(open_publisher("memory://"), RedisPublisher)
    assert not isinstance(open_publisher("journal:///tmp/x"), RedisPublisher)
