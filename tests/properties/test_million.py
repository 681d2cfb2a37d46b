"""Many trades, late and repeated, from two writers at once, while Redis is killed: all of it is there, and right."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pytest

from collection.records import Trade
from collection.storage import Coverage, DataCollectionStorage
from tests.properties import million
from tests.properties.conftest import PATIENCE, SOAK_MINUTES
from tests.properties.machine import pairs
from tests.properties.model import bar, exactly, merged
from tests.properties.places import redis_place, settle

pytestmark = pytest.mark.timeout(PATIENCE)
COUNT = 1_000_000 if SOAK_MINUTES else 20_000
KILLS = 5
AHEAD = 20_000
"""Records that a writer stores before it waits until they are durable."""


@pytest.mark.parametrize("modules", [True, False], ids=["redis_with_timeseries", "redis_without_timeseries"])
def test_many_trades_are_all_there_though_redis_is_killed(tmp_path: Path, modules: bool) -> None:
    seed = random.randrange(10**6) if SOAK_MINUTES else 1
    print(f"seed {seed}")
    began = time.monotonic()
    feeds = {key: million.market(key, COUNT // len(million.DECIMALS), seed) for key in million.DECIMALS}
    feed = [batch for key, trades in feeds.items() for batch in million.batches(key, trades, seed)]
    feed.sort(key=lambda batch: batch.trades[-1].timestamp if batch.trades else 0)
    hands = million.shared(feed, seed)
    made = time.monotonic()
    with redis_place(tmp_path / "million", modules=modules) as place:
        storages = [place.open(), place.open()]
        done = [0, 0]

        def write(which: int) -> None:
            waiting = 0
            for batch in hands[which]:
                storages[which].store_batch(batch.key, pairs(batch.trades), batch.covers)
                done[which] += len(batch.trades)
                waiting += len(batch.trades)
                if waiting > min(AHEAD, COUNT // 50):
                    settle(storages[which], 60)
                    waiting = 0
            settle(storages[which], 60)

        writers = [threading.Thread(target=write, args=(which,)) for which in (0, 1)]
        for writer in writers:
            writer.start()
        total = sum(len(batch.trades) for batch in feed)
        for number in range(1, KILLS + 1):
            while sum(done) < total * number // (KILLS + 1) and any(writer.is_alive() for writer in writers):
                time.sleep(0.002)
            place.kill()
        for writer in writers:
            writer.join()
        written = time.monotonic()
        for key, trades in feeds.items():
            check(storages[0], key, trades, [batch for batch in feed if batch.key == key])
        for storage in storages:
            storage.close()
    checked = time.monotonic()
    print(f"{total} trades, of which {sum(map(len, feeds.values()))} different ones, made in {made - began:.1f} s, ")
    print(f"written in {written - made:.1f} s, checked in {checked - written:.1f} s")


def check(storage: DataCollectionStorage, key: str, trades: Sequence[Trade], feed: Sequence[million.Batch]) -> None:
    expected = iter(trades)  # ids ascend with time
    count = 0
    for page in storage.pages(key):
        for _, trade in page:
            assert exactly(trade) == exactly(next(expected))
            count += 1
    assert count == len(trades)
    bars = [bar(at * 1_000, group) for at, group in groupby(trades, lambda trade: trade.timestamp // 1_000)]
    assert storage.bars(key) == bars
    assert storage.check_bars(key) == (len(bars), ())
    assert storage.coverage(key) == Coverage("id", merged([part for batch in feed for part in batch.covers.intervals]))
    assert len(storage.gaps(key)) == 1
    counters = storage.counters(key)
    assert counters["new"] == len(trades)
    assert counters.get("duplicate", 0) >= sum(len(batch.trades) for batch in feed) - len(trades)
    assert counters["late"] > 0
    assert set(counters) <= {"new", "duplicate", "late"}
    position = ""
    told: set[str] = set()
    while True:
        tail = storage.tail({key: position}, 5_000)[key]
        position = tail.position
        assert tail.complete
        assert not told & {trade.id for _, trade in tail.values}
        told |= {trade.id for _, trade in tail.values}
        if not tail.more:
            break
    assert told == {trade.id for trade in trades}
