"""What is drawn: trades that collide in every way, decimals of every size, and what they make complete."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from collection.records import Side, Trade
from collection.storage import Covers, Interval
from tests.properties.model import DAY, record_id

FIRST_DAY = 1_767_225_600_000  # 2026-01-01T00:00Z
DAYS = 4
SECONDS = (0, 1, 2, 59, 43_200, 86_399)
MILLISECONDS = (0, 1, 249, 250, 999)


def decimal(digits: int, exponent: int) -> Decimal:
    """A decimal as it is written, without a context's rounding."""
    return Decimal((int(digits < 0), tuple(map(int, str(abs(digits)))), exponent))


usual_times = st.builds(
    lambda day, second, ms: FIRST_DAY + day * DAY + second * 1000 + ms,
    st.integers(0, DAYS - 1),
    st.sampled_from(SECONDS),
    st.sampled_from(MILLISECONDS),
)
odd_times = st.sampled_from((1_000, 9_999, 10_000, 999_999, 1_000_000, DAY - 1, DAY, 250_000_000_000_999))
"""Of few and of many digits."""
timestamps = st.one_of(usual_times, usual_times, usual_times, odd_times)
hashed_ids = ("007", "a-b", "~x.1", "é☃", "٣", "-1", "+1", "1e3", str(2**64), "1" * 27, "1" * 26 + "2", " ", "7 ")
ids = st.one_of(
    st.integers(0, 20).map(str),
    st.integers(10**9, 10**9 + 5).map(str),
    st.sampled_from((*hashed_ids, str(2**53 + 1), str(2**63), str(2**64 - 1), str(record_id("a-b")))),
)
plain = st.builds(decimal, st.integers(1, 10**6), st.integers(-8, 0))
fine = st.builds(decimal, st.integers(-(10**30), 10**30), st.integers(-18, 0))
odd = st.sampled_from(
    [*map(Decimal, ("0", "-0", "0E-8", "1E-8", "5E+3", "-1.50", "1E-18", "9007199254740993", "0.1", "1E+22", "1E-40"))]
)
decimals = st.one_of(plain, fine, odd)
sides: st.SearchStrategy[Side | None] = st.sampled_from(("buy", "sell", None))
delays = st.sampled_from((None, 0, 40, -3, 10**9))


@st.composite
def trades(draw: st.DrawFn) -> Trade:
    timestamp, delay = draw(timestamps), draw(delays)
    received = 0 if delay is None else timestamp + delay
    return Trade(timestamp, draw(ids), draw(sides), draw(decimals), draw(decimals), received)


batches = st.lists(trades(), max_size=12)
samples = st.lists(
    st.tuples(timestamps, st.one_of(st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False))), max_size=12
)
texts = st.one_of(st.sampled_from(("", "a", "b")), st.binary(max_size=3), st.booleans(), st.none(), decimals)
values: st.SearchStrategy[Any] = st.recursive(
    texts,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=2), inner, max_size=3),
    ),
    max_leaves=4,
)
states = st.lists(st.tuples(timestamps, values), max_size=8)

positions = st.one_of(st.integers(-1, 30), st.sampled_from((2**53, 2**63, 2**64 - 2, 2**64 - 1)))
intervals = st.lists(st.tuples(positions, positions).map(lambda pair: Interval(min(pair), max(pair))), max_size=4)
covers_by_id = st.builds(Covers, st.just("id"), intervals)
covers_by_time = st.builds(
    Covers,
    st.just("time"),
    st.lists(st.tuples(timestamps, timestamps).map(lambda pair: Interval(min(pair), max(pair))), max_size=4),
)
widths = st.one_of(st.sampled_from((1_000, 60_000, 250, 1_500, DAY, 1)), st.integers(1, 3 * DAY))
bounds = st.one_of(st.none(), timestamps, st.sampled_from((-(2**70), 0, 2**70)))


def many(seed: int, count: int) -> list[Trade]:
    """So many trades that they are written in pieces: over all days, with repeated ids and full milliseconds."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        timestamp = FIRST_DAY + chance.randrange(DAYS) * DAY + chance.randrange(3) * 1000 + chance.randrange(200)
        text = f"x{number}" if chance.random() < 0.1 else str(chance.randrange(count))
        price, amount = decimal(chance.randint(1, 10**9), -8), decimal(chance.randint(1, 10**6), -chance.randrange(19))
        made.append(Trade(timestamp, text, chance.choice(("buy", "sell")), price, amount, timestamp + 5))
    return made
