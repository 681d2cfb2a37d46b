"""A round of 200 feeds costs little, and twice as many feeds about twice as much."""

from __future__ import annotations

from bench.quotes import TARGET, rounds


def test_a_round_of_two_hundred_feeds_is_within_the_target(redis_url: str) -> None:
    few, many = rounds(redis_url, [50, 200], 5)
    assert many.update < TARGET
    assert many.quotes < 12 * few.quotes  # linear is 4
