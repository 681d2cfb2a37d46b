"""Quotes by real workers: one source's collector is killed, its quotes go stale, composites go on, and all recover."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from collection import clock
from collection.loading import load_feeds
from collection.quotes import follow
from collection.records import Quote, quote_key
from collection.settings import current
from collection.simulator import Simulator
from collection.storage import RedisStorage
from collection.storage.redis_server import connect
from tests.conftest import ROOT
from tests.end_to_end.conftest import free_port
from tests.end_to_end.nodes import Nodes
from tests.end_to_end.test_commands import collection
from tests.simulation import until
from workers.assignments import Assignments

EXCHANGES = ("binance", "kraken", "okx")
LIMIT = 3.0
FEEDS = "".join(
    f'[[feeds]]\nname = "{exchange}"\ntype = "cex_trades"\nexchange = "{exchange}"\nmarket = "AAA/USDT"\n'
    f'window = "25s"\nstale_after = "{LIMIT:g}s"\n\n'
    for exchange in EXCHANGES
) + "".join(
    f'[[feeds]]\nname = "{kind}"\ntype = "{kind}"\nfeeds = ["kraken", "binance", "okx"]\n\n'
    for kind in ("median", "weighted", "fallback")
)


@contextlib.asynccontextmanager
async def following(url: str) -> AsyncIterator[list[Quote]]:
    """All quotes as they are published, in a list that grows."""
    heard: list[Quote] = []

    async def listen() -> None:
        async for quote in follow(url):
            heard.append(quote)

    task = asyncio.create_task(listen())
    yield heard
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def quoting(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Nodes with a simulated exchange for each protocol; this process has the same settings."""
    exchanges = {}
    for exchange in EXCHANGES:
        port = free_port()
        urls = Simulator(markets=["AAA/USDT"], port=port, protocol=exchange).urls()
        exchanges[exchange] = {"urls": urls, "transport": "stream"}
        simulator = ["--market", "AAA/USDT", "--rate", "20", "--protocol", exchange, "--port", str(port)]
        nodes.simulator(*simulator)
    nodes.variables["COLLECTION_EXCHANGES"] = json.dumps(exchanges)
    (tmp_path / "feeds.toml").write_text(FEEDS)
    quote_soon(nodes, monkeypatch)
    return nodes


def quote_soon(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have quotes published often, and have this process share the nodes' settings."""
    nodes.variables["COLLECTION_QUOTES__HEARTBEAT"] = "2s"
    nodes.variables["COLLECTION_QUOTES__DEVIATION"] = "0"
    nodes.variables["COLLECTION_QUOTES__DELAY"] = "1s"  # a busy machine writes late
    for name, value in nodes.variables.items():
        monkeypatch.setenv(name, value)
    current.cache_clear()


def is_what_was_published(store: RedisStorage, heard: list[Quote], path: Path, last: int) -> None:
    """What was heard is stored, in order, and the last ones are what is computed now of what had been received then."""
    for feed in load_feeds(path):
        stored = [value for _, value in store.fetch(quote_key(feed.name))]
        told = [quote for quote in heard if quote.name == feed.name]
        assert told == [quote for quote in stored if quote in told]
        again = [feed.quote(store, quote.at) for quote in stored[-last:]]
        assert [(quote.price, quote.count) for quote in again] == [
            (quote.price, quote.count) for quote in stored[-last:]
        ]


async def test_a_dead_collectors_quotes_are_stale_and_composites_degraded_until_it_is_back(
    quoting: Nodes, redis_url: str, store: RedisStorage, tmp_path: Path
) -> None:
    quoting.worker()
    quoting.beat()
    workers = {name: quoting.streams(name, 1) for name in ("s1", "s2", "s3")}  # each has room for one stream
    with (tmp_path / "loop").open("wb") as out:
        loop = subprocess.Popen([sys.executable, ROOT / "examples" / "quoting_loop.py", "kraken", "median"], stdout=out)
    try:
        async with following(redis_url) as heard:

            def latest() -> dict[str, Quote]:
                return {quote.name: quote for quote in heard}

            def statuses() -> dict[str, str]:
                return {name: quote.status for name, quote in latest().items()}

            all_ok = dict.fromkeys([*EXCHANGES, "median", "weighted", "fallback"], "ok")
            await until(lambda: statuses() == all_ok, 90)

            with connect(redis_url) as client:
                node = Assignments(client).view().leases["trades:kraken:AAA/USDT"].node
            killed = clock.now()
            workers[node.partition("@")[0]].kill("SIGKILL")
            await until(lambda: statuses()["kraken"] == "stale", 15)
            stale = latest()["kraken"]
            assert LIMIT * 1000 < stale.at - (stale.timestamp or 0) < LIMIT * 1000 + 1_500
            assert clock.now() - killed < LIMIT * 1000 + 4_000
            assert stale.reason.startswith("newest datum ")
            await until(lambda: {statuses()[name] for name in ("median", "weighted", "fallback")} == {"degraded"}, 5)
            assert (statuses()["binance"], statuses()["okx"]) == ("ok", "ok")
            assert latest()["median"].sources == latest()["weighted"].sources == 2
            assert latest()["fallback"].reason.startswith("kraken: stale: newest datum ")
            assert latest()["median"].reason.startswith("kraken: stale: newest datum ")

            quoting.streams("s4", 1)
            await until(lambda: statuses() == all_ok, 60)
            assert latest()["median"].sources == 3
            dead = [quote for quote in heard if quote.name in ("kraken", "median") and quote.at > killed]
            assert {quote.status for quote in dead if quote.name == "median"} <= {"ok", "degraded"}

        status = collection("status").stderr
        assert re.search(r"6 feeds are quoted \(6 ok\), the last of them \d+\.\d s ago", status), status
        await until(lambda: b"withdrawn, stale: newest datum" in (tmp_path / "loop").read_bytes(), 5)
        last = (tmp_path / "loop").read_text().splitlines()[-1]
        assert " ok" in last, last
    finally:
        loop.terminate()
        loop.wait(10)

    is_what_was_published(store, heard, tmp_path / "feeds.toml", last=20)


async def test_rounds_go_on_when_their_worker_is_killed(
    nodes: Nodes,
    redis_url: str,
    store: RedisStorage,
    port: int,
    write_feeds: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Two workers take rounds in turn; either is killed while it does."""
    write_feeds("AAA/USDT", "BBB/USDT")
    quote_soon(nodes, monkeypatch)
    nodes.simulator("--market", "AAA/USDT", "--market", "BBB/USDT", "--rate", "50", "--port", str(port))
    nodes.beat()
    workers = {name: nodes.worker(name) for name in ("w1", "w2")}
    async with following(redis_url) as heard:

        async def hear(after: int) -> None:
            await until(lambda: sum(quote.at > after and quote.price is not None for quote in heard) > 10, 60)

        await hear(0)
        for name, worker in workers.items():
            began = worker.logs().count(" quoted, ")
            await until(lambda worker=worker, began=began: worker.logs().count(" quoted, ") > began, 60)  # type: ignore[misc]
            worker.kill("SIGKILL")
            killed = clock.now()
            nodes.worker(f"{name}-again")
            await hear(killed)
    times = [quote.at for quote in heard if quote.name == "AAA/USDT"]
    assert times == sorted(set(times))
    assert max(right - left for left, right in pairwise(times)) < 8_000
    is_what_was_published(store, heard, tmp_path / "feeds.toml", last=15)
