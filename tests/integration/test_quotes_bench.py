"""A round of 200 feeds costs little, and twice as many feeds about twice as much."""

from __future__ import annotations

from bench.quotes import TARGET, rounds


def test_a_round_of_two_hundred_feeds_is_within_the_target(redis_url: str) -> None:
    costs = {count: later for count, _, later in rounds(redis_url, [50, 200], 5)}
    assert costs[200] < TARGET
    assert costs[200] < 12 * costs[50]  # linear is 4
