"""The schedule: one entry for each polled collector, spread over the interval."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from collection import backoff
from collection.data_collector import phase
from collection.settings import current

FEEDS = '[[feeds]]\nname = "{0}"\ntype = "cex_trades"\nexchange = "binance"\nmarket = "{0}"\nwindow = "5m"\n'


def test_each_polled_collector_has_one_entry_and_all_streams_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from beat_schedule.schedule import RETENTION, SUPERVISE, build_schedule

    Path("feeds.toml").write_text("\n".join(FEEDS.format(market) for market in ("A/B", "C/D")))
    monkeypatch.setenv("COLLECTION_INTERVALS__TRADES", "7s")
    monkeypatch.setenv("COLLECTION_EXCHANGES__BINANCE__TRANSPORT", "poll")
    current.cache_clear()
    schedule = build_schedule()
    assert list(schedule) == ["trades:binance:A/B", "trades:binance:C/D", SUPERVISE, RETENTION]
    assert schedule[SUPERVISE]["args"] == [[]]
    entry = schedule["trades:binance:A/B"]
    assert (entry["task"], entry["schedule"], entry["args"]) == ("workers.tasks.poll", 7.0, ["trades:binance:A/B"])
    assert entry["options"]["queue"] == "polls"
    assert (schedule[RETENTION]["task"], schedule[RETENTION]["schedule"]) == ("workers.tasks.drop_expired", 3600.0)
    monkeypatch.setenv("COLLECTION_EXCHANGES__BINANCE__TRANSPORT", "stream")
    current.cache_clear()
    schedule = build_schedule()
    assert list(schedule) == [SUPERVISE, RETENTION]
    assert schedule[SUPERVISE]["args"] == [["trades:binance:A/B", "trades:binance:C/D"]]


def test_phases_are_spread_over_the_interval_and_stay_the_same() -> None:
    phases = sorted(phase(f"trades:binance:M{number}/USDT", 5.0) for number in range(500))
    assert 0 <= phases[0] < phases[-1] < 5
    assert max(right - left for left, right in pairwise(phases)) < 0.15
    assert phase("trades:binance:BTC/USDT", 5.0) == phase("trades:binance:BTC/USDT", 5.0)


def test_pauses_double_up_to_a_limit_with_full_jitter() -> None:
    for failures, longest in ((1, 0.5), (2, 1.0), (5, 8.0), (7, 30.0), (1000, 30.0)):
        pauses = [backoff.pause(failures) for _ in range(300)]
        assert longest * 0.8 < max(pauses) <= longest
        assert min(pauses) < longest * 0.3
