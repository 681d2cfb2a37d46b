"""Retention through a real worker."""

from __future__ import annotations

import time

import pytest

from collection.storage import Covers, Interval, RedisStorage
from collection.storage.days import DAY_MS
from tests.conftest import trade
from tests.end_to_end.nodes import Nodes
from tests.simulation import until


async def test_a_worker_drops_what_is_older_than_it_is_kept(
    nodes: Nodes, store: RedisStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, now = "trades:binance:AAA/USDT", time.time_ns() // 1_000_000
    trades = [trade(1, now - 40 * DAY_MS), trade(2, now - 35 * DAY_MS), trade(3, now)]
    store.store_batch(key, [(one.timestamp, one) for one in trades], Covers("id", [Interval(0, 3)]))
    store.flush()
    for name, value in nodes.variables.items():
        monkeypatch.setenv(name, value)
    from workers.tasks import drop_expired

    worker = nodes.worker()
    drop_expired.delay()
    await until(lambda: len(store.fetch(key)) == 1, 20)
    await until(lambda: "'2 records dropped'" in worker.logs(), 20)
    assert f"retention: {key}: 2 records before" in worker.logs()
    drop_expired.delay()
    await until(lambda: "'0 records dropped'" in worker.logs(), 20)
