"""What can be stored comes back as it was; what can't is refused at once, by name, and harms nothing."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collection.errors import RecordRefused
from collection.records import Quote, Trade
from collection.storage import Covers, DataCollectionStorage, Interval
from tests.conftest import trade
from tests.properties.conftest import PATIENCE, Again
from tests.properties.machine import check, pairs
from tests.properties.model import SeriesModel, exactly, is_number
from tests.properties.places import Place

pytestmark = pytest.mark.timeout(PATIENCE)
NOON = 1_767_268_800_000
KEY = "trades:binance:BTC/USDT"


class Colour(enum.IntEnum):
    RED = 3


class Name(str):
    __slots__ = ()


class Taker(enum.StrEnum):
    BUY = "buy"


class Oddity:
    def __repr__(self) -> str:
        return "odd\none"


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


BAD_VALUES: list[Any] = [
    math.nan,
    math.inf,
    -math.inf,
    2**53 + 1,
    -(2**53) - 1,
    10**5_000,
    [10**5_000],
    {"a": -(10**5_000)},
    {10**5_000: 1},
    {"a": math.nan},
    [2**64],
    [-(2**63) - 1],
    {1: 2},
    {b"a": 2},
    {"\udfff": 1},
    "\ud800",
    ["\ud800"],
    nested(33),
    nested(5_000),
    endless(),
    {1, 2},
    bytearray(b"a"),
    memoryview(b"a"),
    1j,
    Fraction(1, 3),
    Oddity(),
    {"a": Oddity()},
    {Oddity(): "a"},
    object,
    range(3),
]


@pytest.mark.parametrize("value", BAD_VALUES, ids=lambda value: type(value).__name__)
def test_a_value_that_cannot_be_kept_is_refused_in_one_short_line(place: Place, value: Any) -> None:
    with place.fresh() as storage:
        refuses(storage, [(NOON, "good"), (NOON, value)])
        refuses(storage, [(NOON, value)])
        assert storage.series() == []


HUGE = Decimal("1E+999999999")
BAD_TRADES: dict[str, dict[str, Any]] = {
    "id_empty": {"id": ""},
    "id_empty_price_huge": {"id": "", "price": HUGE},
    "id_none": {"id": None},
    "id_number": {"id": 7},
    "id_bytes": {"id": b"7"},
    "id_text_bytes": {"id": b"abc"},
    "id_surrogate": {"id": "\ud800"},
    "side_wrong": {"side": "BUY"},
    "side_empty": {"side": ""},
    "side_number": {"side": 1},
    "side_bool": {"side": True},
    "side_list": {"side": []},
    "price_float": {"price": 1.5},
    "price_int": {"price": 1},
    "price_text": {"price": "1.5"},
    "price_bytes": {"price": b"1.5"},
    "price_none": {"price": None},
    "price_bool": {"price": True},
    "price_fraction": {"price": Fraction(1, 3)},
    "price_nan": {"price": Decimal("NaN")},
    "price_snan": {"price": Decimal("sNaN")},
    "price_snan_payload": {"price": Decimal("-sNaN" + "1" * 100)},
    "price_infinite": {"price": Decimal("-Infinity")},
    "price_huge": {"price": HUGE},
    "price_tiny": {"price": Decimal("1E-999999999")},
    "price_endless": {"price": Decimal("1" * 5_000)},
    "amount_nan": {"amount": Decimal("NaN")},
    "amount_float": {"amount": 0.5},
    "received_float": {"received": NOON + 0.5},
    "received_whole_float": {"received": float(NOON)},
    "received_nan": {"received": math.nan},
    "received_infinite": {"received": math.inf},
    "received_decimal": {"received": Decimal(NOON)},
    "received_text": {"received": str(NOON)},
    "received_bool": {"received": True},
    "received_huge": {"received": 2**70},
    "received_beyond_int64": {"received": 2**63},
    "received_microseconds": {"received": NOON * 1_000},
    "received_endless": {"received": 10**5_000},
    "received_negative": {"received": -1},
}


@pytest.mark.parametrize("fields", BAD_TRADES.values(), ids=BAD_TRADES)
def test_a_trade_that_cannot_be_one_is_refused_and_harms_no_other(place: Place, fields: dict[str, Any]) -> None:
    with place.fresh() as storage:
        model = SeriesModel()
        good = pairs([trade(1, NOON), trade(2, NOON + 1)])
        storage.store_batch(KEY, good)
        model.store(good)
        bad = Trade(**{**trade_fields(), **fields})
        refuses(storage, [(NOON, trade(3, NOON)), (NOON, bad), (NOON, trade(4, NOON))])
        storage.flush()
        check(storage, KEY, model)


BAD_TIMES: list[Any] = [
    0,
    -1,
    1.5,
    float(NOON),
    math.nan,
    True,
    None,
    "1",
    str(NOON),
    b"1",
    Decimal(NOON),
    NOON * 1_000,
    NOON * 10**6,
]
BAD_TIMES.extend([253_402_300_800_000, 2**63, 2**64, -(2**63), 10**5_000, Colour.RED, [NOON], NOON / 1_000])


@pytest.mark.parametrize("timestamp", BAD_TIMES, ids=lambda time: f"{type(time).__name__}")
@pytest.mark.parametrize("value", ["text", 1.5, "trade"])
def test_a_bad_time_is_refused(place: Place, timestamp: Any, value: Any) -> None:
    with place.fresh() as storage:
        made = Trade(**{**trade_fields(), "timestamp": timestamp}) if value == "trade" else value
        refuses(storage, [(timestamp, made)], "bad_timestamp")
        assert storage.series() == []


def test_a_generator_that_fails_half_way_stores_nothing(place: Place) -> None:
    def failing() -> Iterator[tuple[int, Any]]:
        yield NOON, "a"
        raise ZeroDivisionError

    with place.fresh() as storage:
        with pytest.raises(ZeroDivisionError):
            storage.store_batch("state", failing(), Covers("id", [Interval(1, 2)]))
        storage.store("state", "b", NOON)
        storage.flush()
        assert storage.fetch("state") == [(NOON, "b")]
        assert storage.coverage("state").intervals == ()


@pytest.mark.parametrize("batch", [[(NOON,)], [(NOON, "a", "b")], [NOON], None, 5, ["ab"]], ids=repr)
def test_a_batch_that_is_none_is_an_error_and_stores_nothing(place: Place, batch: Any) -> None:
    with place.fresh() as storage:
        with pytest.raises((RecordRefused, TypeError, ValueError)):
            storage.store_batch("state", batch)
        assert storage.series() == []


odd_parts: st.SearchStrategy[Any] = st.one_of(
    st.one_of(st.integers(), st.floats(), st.integers(2**52, 2**65), st.integers(-(2**65), -(2**52))),
    st.text(st.characters(), max_size=4),
    st.binary(max_size=4),
    st.booleans(),
    st.none(),
    st.decimals(),
    st.sampled_from([Colour.RED, Name("n"), Taker.BUY, bytearray(b"x"), 1j, Decimal("sNaN12")]),
)
anything: st.SearchStrategy[Any] = st.recursive(
    odd_parts,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(st.characters(), max_size=3), st.integers(0, 3)), inner, max_size=4),
        inner.map(lambda value: [value, *nested(28)]),
    ),
    max_leaves=12,
)


def test_any_value_is_refused_or_comes_back_as_the_table_of_values_says(place: Place, again: Again) -> None:
    with place.fresh() as storage:
        count = 0

        @given(value=anything)
        def comes_back(value: Any) -> None:
            nonlocal count
            count += 1
            key = f"value:{count}"
            refused = ""
            try:
                storage.store(key, value, NOON)
            except RecordRefused as error:
                refused = str(error)
            assert not (refused and is_kept(value)), refused
            if not refused:
                storage.flush()
                [(timestamp, back)] = storage.fetch(key)
                assert timestamp == NOON
                assert exactly(back) == exactly(float(value) if is_number(value) else of_plain_types(value))

        again(comes_back)


def is_kept(value: Any, depth: int = 0) -> bool:
    """Whether the table of values says that a value is kept, but for subclasses of what it names."""
    if type(value) in (int, float) and depth == 0:
        return -(2**53) <= value <= 2**53 if type(value) is int else math.isfinite(value)
    if depth > 32:
        return False
    if type(value) is int:
        return -(2**63) <= value < 2**64
    if type(value) is float:
        return math.isfinite(value)
    if type(value) is str:
        return not any("\ud800" <= letter <= "\udfff" for letter in value)
    if type(value) in (list, tuple):
        return all(is_kept(part, depth + 1) for part in value)
    if type(value) is dict:
        return all(type(name) is str and is_kept(name) for name in value) and all(
            is_kept(part, depth + 1) for part in value.values()
        )
    return value is None or type(value) in (bytes, bool, Decimal)


def of_plain_types(value: Any) -> Any:
    """The value without the subclasses in it."""
    if isinstance(value, list | tuple):
        return [of_plain_types(part) for part in value]
    if isinstance(value, dict):
        return {name: of_plain_types(part) for name, part in value.items()}
    return next((kind(value) for kind in (int, str) if isinstance(value, kind) and type(value) is not bool), value)


def trade_fields() -> dict[str, Any]:
    return {
        "timestamp": NOON,
        "id": "7",
        "side": "buy",
        "price": Decimal("1.5"),
        "amount": Decimal(2),
        "received": NOON,
    }


def refuses(storage: DataCollectionStorage, batch: list[tuple[Any, Any]], reason: str = "") -> None:
    """Check that a batch is refused, in one short line that can be printed."""
    with pytest.raises(RecordRefused) as refused:
        storage.store_batch(KEY, batch)
    message = str(refused.value)
    assert message.startswith(f"{refused.value.reason}: ")
    assert reason in ("", refused.value.reason)
    assert message.isprintable()
    assert len(message) < 250


QUOTE = Quote(name="BTC-USD", at=NOON, status="ok", price=Decimal("1.50"), timestamp=NOON - 7, count=3, sources=2)
BAD_QUOTES: dict[str, dict[str, Any]] = {
    "status_wrong": {"status": "good"},
    "price_object": {"price": object()},
    "price_float_text": {"price": "one"},
    "count_text": {"count": "3"},
    "volume_list": {"volume": [1]},
    "dispersion_nan": {"dispersion": math.nan},
    "dispersion_infinite": {"dispersion": math.inf},
    "timestamp_float": {"timestamp": 1.5},
    "name_none": {"name": None},
    "reason_surrogate": {"reason": "\ud800"},
}


@pytest.mark.parametrize("fields", BAD_QUOTES.values(), ids=BAD_QUOTES)
def test_a_quote_that_cannot_be_one_is_refused(place: Place, fields: dict[str, Any]) -> None:
    with place.fresh() as storage:
        refuses(storage, [(NOON, QUOTE), (NOON, msgspec.structs.replace(QUOTE, **fields))])
        assert storage.series() == []


def test_quotes_come_back_with_every_digit_alone_and_within_others(place: Place) -> None:
    quotes = [
        QUOTE,
        msgspec.structs.replace(QUOTE, price=Decimal("-0E-40"), volume=Decimal("1E+30"), dispersion=5e-324, reason="☃"),
        Quote.missing("x", NOON, "no trade in the last 5m"),
    ]
    with place.fresh() as storage:
        storage.store_batch(KEY, [*((NOON + place, quote) for place, quote in enumerate(quotes)), (NOON + 9, quotes)])
        storage.flush()
        assert repr(storage.fetch(KEY)) == repr(
            [*((NOON + place, quote) for place, quote in enumerate(quotes)), (NOON + 9, quotes)]
        )
