"""Streams on real workers: placed, seen, stopped, ended by each signal, and polled where they can't be kept up."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator

import pytest

from collection.storage import RedisStorage
from collection.storage.redis_server import connect
from tests.end_to_end.judge import audit
from tests.end_to_end.nodes import Nodes
from tests.end_to_end.test_commands import collection
from tests.simulation import until
from workers.assignments import Assignments

LEASES = "qc:{streams}:leases"
KEY = "trades:binance:AAA/USDT"


@pytest.fixture
def assignments(redis_url: str) -> Iterator[Assignments]:
    with connect(redis_url) as client:
        yield Assignments(client)


@pytest.fixture
def streaming(nodes: Nodes, port: int, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Nodes with a simulator, whose exchange is streamed; commands run with the same settings."""
    nodes.variables["COLLECTION_EXCHANGES"] = nodes.variables["COLLECTION_EXCHANGES"].replace('"poll"', '"stream"')
    for name, value in nodes.variables.items():
        monkeypatch.setenv(name, value)
    nodes.simulator("--market", "AAA/USDT", "--market", "BBB/USDT", "--rate", "50", "--port", str(port))
    return nodes


async def test_status_shows_streams_and_what_is_wrong_and_the_feeds_file_is_followed(
    streaming: Nodes, assignments: Assignments, write_feeds: Callable[..., None], store: RedisStorage, port: int
) -> None:
    write_feeds("AAA/USDT", "NONE/SUCH")
    streaming.worker()
    streaming.beat()
    streaming.streams("s1")
    await until(
        lambda: len(store.fetch(KEY)) > 50 and "failed" in {e.state for e in assignments.view().leases.values()}, 40
    )
    out = collection("status").stdout
    assert re.search(r"s1@\S+ +1 +\d+", out)
    assert re.search(rf"{KEY} +running +s1@", out)
    assert re.search(r"trades:binance:NONE/SUCH +failed +s1@.* Invalid symbol.*: NONE/SUCH", out)
    write_feeds("BBB/USDT")
    await until(lambda: len(store.fetch("trades:binance:BBB/USDT")) > 50, 40)
    await until(lambda: assignments.view().leases[KEY].state == "stopped", 10)
    ended = time.time() * 1000
    assert audit(store, port, "BBB/USDT") > 50
    await until(lambda: store.latest("trades:binance:BBB/USDT")[0][0] > ended + 5_000, 20)
    assert store.latest(KEY)[0][0] < ended + 3_000
    assert audit(store, port, "AAA/USDT") > 50


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT", "SIGQUIT"])
async def test_a_signal_ends_the_streams_in_order(
    signal: str,
    streaming: Nodes,
    assignments: Assignments,
    write_feeds: Callable[..., None],
    store: RedisStorage,
    port: int,
) -> None:
    write_feeds("AAA/USDT", "BBB/USDT")
    streaming.worker()
    beat = streaming.beat()
    worker = streaming.streams("s1")
    await until(lambda: all(len(store.fetch(key)) > 50 for key in (KEY, "trades:binance:BBB/USDT")), 40)
    beat.kill("SIGTERM")
    began = time.monotonic()
    worker.kill(signal)
    assert time.monotonic() - began < 8  # 1.4 s where nothing else runs; leases are released within a tenth of that
    assert worker.container.returncode == 0
    assert (assignments.view().leases, assignments.view().workers) == ({}, {})
    assert audit(store, port, "AAA/USDT") > 50
    assert audit(store, port, "BBB/USDT") > 50


async def test_what_cannot_be_streamed_for_long_is_polled(
    streaming: Nodes,
    assignments: Assignments,
    write_feeds: Callable[..., None],
    store: RedisStorage,
    redis_url: str,
    port: int,
) -> None:
    """The stream fails for longer than it takes: its first failure is made older."""
    write_feeds("AAA/USDT")
    blocked = streaming.variables["COLLECTION_EXCHANGES"].replace("/stream", "/nowhere/stream")
    streaming.variables["COLLECTION_EXCHANGES"] = blocked
    worker = streaming.worker()
    streaming.streams("s1")
    await until(lambda: bool(assignments.view().workers), 10)  # where nobody takes streams they are polled at once
    streaming.beat()
    await until(lambda: KEY in assignments.view().leases and assignments.view().leases[KEY].failing > 0, 60)
    assert not store.fetch(KEY)
    with connect(redis_url) as client:
        entry = json.loads(client.hget(LEASES, KEY) or "")
        client.hset(LEASES, KEY, json.dumps({**entry, "failing": entry["failing"] - 120_000}, separators=(",", ":")))
    await until(lambda: len(store.fetch(KEY)) > 50, 20)
    assert audit(store, port, "AAA/USDT") > 50
    await until(lambda: f"1 can't be kept up and are polled: {KEY}" in worker.logs(), 10)
