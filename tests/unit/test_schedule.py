"""The schedule: one entry for each polled collector, spread over the interval."""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from collection import backoff
from collection.data_collector import phase
from collection.settings import current

FEEDS = '[[feeds]]\nname = "{0}"\ntype = "cex_trades"\nexchange = "binance"\nmarket = "{0}"\nwindow = "5m"\n'


def test_each_polled_collector_has_one_entry_and_all_streams_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from beat_schedule.schedule import RETENTION, SUPERVISE, UPDATE_QUOTES, build_schedule
    from workers.repair_times import entry_name

    Path("feeds.toml").write_text("\n".join(FEEDS.format(market) for market in ("A/B", "C/D")))
    monkeypatch.setenv("COLLECTION_INTERVALS__TRADES", "7s")
    monkeypatch.setenv("COLLECTION_EXCHANGES__BINANCE__TRANSPORT", "poll")
    current.cache_clear()
    schedule = build_schedule()
    keys = ["trades:binance:A/B", "trades:binance:C/D"]
    assert list(schedule) == [*keys, SUPERVISE, *map(entry_name, keys), UPDATE_QUOTES, RETENTION]
    assert schedule[SUPERVISE]["args"] == [[]]
    entry = schedule["trades:binance:A/B"]
    assert (entry["task"], entry["schedule"], entry["args"]) == ("workers.tasks.poll", 7.0, ["trades:binance:A/B"])
    assert entry["options"]["queue"] == "polls"
    assert (schedule[RETENTION]["task"], schedule[RETENTION]["schedule"]) == ("workers.tasks.drop_expired", 3600.0)
    monkeypatch.setenv("COLLECTION_EXCHANGES__BINANCE__TRANSPORT", "stream")
    current.cache_clear()
    schedule = build_schedule()
    assert list(schedule) == [SUPERVISE, *map(entry_name, keys), UPDATE_QUOTES, RETENTION]
    entry = schedule[entry_name(keys[0])]
    assert (entry["task"], entry["schedule"], entry["args"]) == ("workers.tasks.repair", 600.0, keys[:1])
    assert schedule[SUPERVISE]["args"] == [["trades:binance:A/B", "trades:binance:C/D"]]
    entry = schedule[UPDATE_QUOTES]
    assert (entry["task"], entry["schedule"]) == ("workers.tasks.update_quotes", 1.0)
    assert entry["args"] == [tomllib.loads(Path("feeds.toml").read_text())["feeds"]]


def test_one_of_thirty_six_repairs_is_thorough_and_not_that_of_all_series_at_once() -> None:
    from workers.repair_times import EVERY, THOROUGH, entry_name, is_thorough

    keys, thorough = [f"trades:binance:M{number}/USDT" for number in range(200)], [0] * THOROUGH
    for key in keys:
        due = 1_767_225_600 + phase(entry_name(key), EVERY)
        turns = [is_thorough(key, due + turn * EVERY + late) for turn in range(THOROUGH) for late in (0.1, 500.0)]
        assert sum(turns) == 2
        assert turns[::2] == turns[1::2]
        thorough[turns.index(True) // 2] += 1
    assert max(thorough) < 20


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
