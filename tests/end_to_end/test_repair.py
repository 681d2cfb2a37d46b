"""Repair by real workers: a Redis that lost part of its memory is filled again, for polls and for streams."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from collection.audit import certify
from collection.records import Trade
from collection.settings import current
from collection.storage import RedisStorage
from collection.storage.days import day_name
from collection.storage.redis_server import connect, series_name
from tests.end_to_end.judge import audit
from tests.end_to_end.nodes import Nodes
from tests.simulation import until

MARKET = "AAA/USDT"
KEY = f"trades:binance:{MARKET}"


@pytest.mark.parametrize("transport", ["poll", "stream"])
async def test_what_redis_lost_of_its_memory_is_there_again(
    transport: str,
    nodes: Nodes,
    store: RedisStorage,
    redis_url: str,
    port: int,
    write_feeds: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_feeds(MARKET)
    variables = nodes.variables
    variables["COLLECTION_EXCHANGES"] = variables["COLLECTION_EXCHANGES"].replace('"poll"', f'"{transport}"')
    monkeypatch.setenv("COLLECTION_URL", redis_url)
    nodes.simulator("--market", MARKET, "--rate", "100", "--port", str(port))
    nodes.worker()
    if transport == "stream":
        nodes.streams("s1")
    nodes.beat()
    await until(lambda: len(store.fetch(KEY)) > 500, 40)
    trades: list[Trade] = [trade for _, trade in store.fetch(KEY)]
    with connect(redis_url) as client:
        for start in (10, 200, 300):
            lost = trades[start : start + 30]
            for one in lost:
                client.xdel(series_name(KEY, str(day_name(one.timestamp))), f"{one.timestamp}-{one.id}")
    assert certify(store, KEY).verdict == "holes"
    await repaired(lambda: certify(store, KEY).verdict == "complete")
    assert store.counters(KEY)["repair:lost"] == 90
    assert audit(store, port, MARKET) > 500
    with connect(redis_url) as client:  # what it knows of the oldest trades, and what it has of some
        [member, *_] = client.zrange(series_name(KEY, "coverage"), 0, 0)
        upto = member.decode().partition(":")[2]
        begins = f"{int(trades[400].id) + 1:020}"
        pipe = client.pipeline()
        pipe.zrem(series_name(KEY, "coverage"), member)
        pipe.zadd(series_name(KEY, "coverage"), {f"{begins}:{upto}": 0})
        pipe.execute()
    assert store.coverage(KEY).intervals[0].after == int(trades[400].id)
    await repaired(lambda: store.coverage(KEY).intervals[0].after == int(trades[0].id) - 1)
    assert certify(store, KEY).verdict == "complete"
    assert audit(store, port, MARKET) > 500


async def repaired(condition: Callable[[], bool]) -> None:
    """Send what beat sends every ten minutes, every five seconds, until it has helped."""
    from workers.celery import app

    for _ in range(8):
        with app.connection_for_write(current().broker()) as connection:
            app.send_task("workers.tasks.repair", [KEY], queue="polls", connection=connection, retry=False)
        with contextlib.suppress(TimeoutError):
            await until(condition, 5)
            with connect(current().storage()) as client:  # its turn is over
                return await until(lambda: not client.exists(f"qc:{{lease:repair:{KEY}}}"), 30)
    raise TimeoutError("it is not repaired")
