"""How far a backfill is, and what is said of it at the end."""

from __future__ import annotations

import pytest

from collection.storage import Covers, Interval, MemoryStorage
from collection.storage.days import DAY_MS
from workers.backfill_progress import summary
from workers.backfills import Chunk, Progress, State, in_days, overall

KEY = "trades:binance:A/USDT"
DAY = 20_000 * DAY_MS


def chunk(number: int, state: State = "done", **known: object) -> Chunk:
    start = DAY + number * DAY_MS
    return Chunk(start, start + DAY_MS, state, Progress(**known))  # type: ignore[arg-type]


def test_the_share_of_a_chunk_is_that_of_its_positions() -> None:
    assert chunk(0, "waiting").share == 0
    assert chunk(0, "waiting", after=100, upto=200).share == 0
    assert chunk(0, "running", after=100, upto=200, reached=125).share == 0.25
    assert chunk(0, "running", after=100, upto=200, reached=999).share == 1
    assert chunk(0, "running", after=100, upto=100, reached=100).share == 0
    assert chunk(0, "failed").share == 1
    chunks = [chunk(0), chunk(1, "sent"), chunk(2, "running", after=0, upto=10, reached=5), chunk(3, "waiting")]
    assert overall(chunks) == 0.375


def test_what_is_not_there_is_told_once_for_each_reason(capsys: pytest.CaptureFixture[str]) -> None:
    storage = MemoryStorage()
    storage.store_batch(KEY, [], Covers("id", [Interval(0, 10), Interval(20, 30)]))
    chunks = [
        chunk(0, "partly", after=0, reached=0, lacking="the exchange has none before then"),
        chunk(1, "partly", after=0, reached=0, lacking="the exchange has none before then"),
        chunk(2, after=0, upto=10, reached=10, read=10),
        chunk(3, "failed", note="no such market"),
        chunk(4, "cancelled"),
    ]
    assert not summary(storage, KEY, chunks)
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith("not complete; 10 trades were read")
    assert told[1:] == [
        "  2024-10-04 and 1 day more: partly: the exchange has none before then",
        "  2024-10-07: failed: no such market",
        "  2024-10-08: cancelled",
    ]
    assert summary(storage, KEY, chunks[2:3])
    assert not summary(storage, KEY, [chunks[2], chunk(3, after=20, upto=30, reached=30)])
    assert "not known to be complete: 11 to 20" in capsys.readouterr().out


def test_by_time_a_quiet_day_is_proven_by_whoever_reads_through_it() -> None:
    storage, quiet = MemoryStorage(), chunk(1, "partly", lacking="the exchange gives none of that time")
    storage.store_batch(KEY, [], Covers("time", [Interval(DAY + 5, DAY + 3 * DAY_MS)]))
    assert summary(storage, KEY, [quiet])
    assert not summary(storage, KEY, [chunk(0, "partly"), quiet])


def test_days_are_counted_in_words() -> None:
    assert [in_days(number) for number in (0, 1, 1_234)] == ["0 days", "1 day", "1,234 days"]
