"""How far clocks are apart: what is said lies always within the bounds, and is said once."""

from __future__ import annotations

import logging
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collection import clock
from collection.clients.skew import EVERY, LIMIT, SURE, Skew

NOW = 1_767_225_600_000
answers = st.lists(st.tuples(st.integers(1, 5_000), st.integers(0, 3_000), st.integers(0, 3_000)), min_size=1)


@given(st.integers(-600_000, 600_000), answers, st.booleans())
def test_the_difference_is_within_the_bounds_whatever_each_way_takes(
    ahead: int, answers: list[tuple[int, int, int]], dates: bool
) -> None:
    skew, now = Skew("binance"), NOW
    for pause, there, back in answers:
        sent, server, received = now + pause, now + pause + there + ahead, now + pause + there + back
        skew.saw(formatdate(server // 1000, usegmt=True) if dates else server, sent, received)
        now = received
        assert skew.low is not None
        assert skew.high is not None
        assert skew.low <= ahead <= skew.high
        assert skew.high - skew.low <= there + back + 1_000
        assert not skew.over or abs(ahead) > LIMIT


def test_answers_at_different_moments_of_a_second_narrow_the_bounds() -> None:
    skew = Skew("binance")
    for number in range(50):
        sent = NOW + number * 1_017
        skew.saw(formatdate((sent + 20 + 300) // 1000, usegmt=True), sent, sent + 40)
    assert skew.ahead is not None
    assert abs(skew.ahead - 300) < 60


def test_it_is_said_once_when_it_is_over_the_limit_and_when_that_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    skew = Skew("binance")
    for number in range(10):
        skew.saw(NOW + number + 2_500, NOW + number, NOW + number)
    assert skew.over
    assert [record.message for record in caplog.records] == [
        "binance: its clock is at least 2.5 s ahead of this machine's"
    ]
    for number in range(10, 20):
        skew.saw(NOW + number, NOW + number, NOW + number + 10)
    assert not skew.over
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert skew.times_over == 1


def test_one_wrong_answer_is_not_believed() -> None:
    skew = Skew("binance")
    for server in [0, 0, 0, 9_000, 0, 0, 0, 0, -9_000, *[0] * SURE]:
        skew.saw(NOW + server, NOW, NOW)
        assert not skew.over
    assert skew.ahead in (0, 1)


def test_trades_from_the_future_show_that_a_clock_is_ahead() -> None:
    skew = Skew("binance")
    skew.saw(NOW, NOW - 4_000, NOW)
    skew.saw_trade(NOW + 3_000, NOW)
    skew.saw_trade(NOW - 3_000, NOW)
    assert skew.low is not None
    assert 2_999 < skew.low <= 3_000
    assert skew.ahead is not None
    assert 3_000 <= skew.ahead <= 4_001


@pytest.mark.parametrize("wrong", [None, "", "yesterday", "Thu, 99 Foo 2026 00:00:00 GMT", "1"])
def test_what_is_no_date_says_nothing(wrong: str | None) -> None:
    skew = Skew("binance")
    skew.saw(wrong, NOW, NOW)
    assert skew.ahead is None


def test_a_sample_is_given_once_a_minute_however_the_clock_jumps() -> None:
    skew = Skew("binance")
    skew.saw(NOW + 7, NOW - 1, NOW)
    assert [skew.sample(NOW + step) for step in (0, EVERY - 1, EVERY, EVERY + 1)] == [None, None, 8, None]
    assert skew.sample(NOW - 10 * EVERY) is None
    assert skew.sample(NOW - 9 * EVERY) == 8


def test_this_machines_clock_against_redis_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(clock, "_offset", 0)
    monkeypatch.setattr(clock, "_ahead", None)
    assert clock.ahead_of_redis() is None
    for ahead in (0, 5_000, 5_000, 0, 0):
        clock.correct(time.time_ns() // 1_000_000 - ahead)
    assert [record.message for record in caplog.records] == [
        "this machine's clock is 5.0 s ahead of Redis's: records are judged by Redis's",
        "this machine's clock and Redis's agree again",
    ]
    assert abs(clock.ahead_of_redis() or 0) < 100
