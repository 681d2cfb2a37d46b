"""Which quotes are news."""

from __future__ import annotations

from decimal import Decimal

import pytest

from collection import clock
from collection.quotes import Publisher
from collection.records import Quote, Status

T = 1_767_225_600_000


def quote(seconds: float, price: str | None, status: Status = "ok", name: str = "x") -> Quote:
    at = T + round(seconds * 1000)
    return Quote(name=name, at=at, price=None if price is None else Decimal(price), status=status)


@pytest.mark.parametrize(
    ("then", "is_news"),
    [
        (quote(1, "100.01"), False),  # a basis point is not more than one
        (quote(1, "100.0100000000000000000000000001"), True),
        (quote(1, "99.99"), False),
        (quote(1, "99.98"), True),
        (quote(9.999, "100"), False),
        (quote(10, "100"), True),
        (quote(1, "100", "stale"), True),
        (quote(1, None, "missing"), True),
        (quote(0, "200"), False),  # it is not newer
        (quote(-1, "200", "stale"), False),
        (quote(-60, "200", "stale"), False),  # whoever made it was frozen meanwhile
        (quote(0, "100", name="y"), True),
    ],
)
def test_what_moved_or_changed_or_was_not_heard_of_for_long_is_news(then: Quote, is_news: bool) -> None:
    publisher = Publisher(deviation=0.0001, heartbeat=10)
    assert publisher.publish([quote(0, "100")]) == [quote(0, "100")]
    assert publisher.publish([then]) == ([then] if is_news else [])


@pytest.mark.parametrize(("ahead", "is_news"), [(9.9, False), (10.1, True)])
def test_a_quote_of_the_future_does_not_keep_others_from_being_told(
    ahead: float, is_news: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: T)
    publisher = Publisher(deviation=0.0001, heartbeat=10)
    publisher.publish([quote(ahead, "100")])
    assert bool(publisher.publish([quote(0, "200")])) == is_news


def test_small_moves_add_up() -> None:
    publisher = Publisher(deviation=0.0001, heartbeat=10)
    prices = [f"100.00{digit}" for digit in range(10)] + ["100.010", "100.011", "100.012"]
    told = [publisher.publish([quote(number / 100, price)]) for number, price in enumerate(prices)]
    assert [len(news) for news in told] == [1, *[0] * 10, 1, 0]


def test_any_move_is_news_without_a_deviation_and_nothing_is_still_nothing() -> None:
    publisher = Publisher(deviation=0, heartbeat=10)
    publisher.publish([quote(0, "1"), quote(0, None, "missing", "y"), quote(0, "0", name="z")])
    assert publisher.publish([quote(1, "1.000")]) == []
    assert publisher.publish([quote(2, "1.00000000000000000000000000001")])
    assert publisher.publish([quote(1, None, "missing", "y")]) == []
    assert publisher.publish([quote(1, "0.0", name="z")]) == []
    assert publisher.publish([quote(2, "-0.1", name="z")])
