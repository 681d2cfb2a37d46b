"""Quotes: what each feed type says, in every status; references, cycles and outliers."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from collection.errors import ConfigurationError
from collection.feeds import CompositeFeed, PriceFeed
from collection.loading import load_data_source_collectors, load_feeds
from collection.quotes import Feeder, Moment
from collection.quotes.outliers import outliers
from collection.records import Quote, quote_key
from collection.storage import Covers, Interval, MemoryStorage
from tests.conftest import trade

T = 1_767_225_600_000
DAY = 86_400_000
KEY = "trades:binance:A/B"


def make(*tables: dict[str, Any]) -> dict[str, PriceFeed]:
    """Load feeds from tables; a table without a type is one of trades of A/B in the last ten seconds."""
    lines = []
    for table in tables:
        trades = {"type": "cex_trades", "exchange": "binance", "market": "A/B", "window": "10s"}
        lines += [
            "[[feeds]]",
            *(f"{field} = {value!r}" for field, value in (table if "type" in table else trades | table).items()),
        ]
    Path("feeds.toml").write_text("\n".join(lines))
    return {feed.name: feed for feed in load_feeds("feeds.toml")}


def stored(name: str, key: str | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "stored", "key": key or name, **more}


def numbers(**values: float | str) -> MemoryStorage:
    """A storage with one number for each key, at T."""
    storage = MemoryStorage()
    for key, value in values.items():
        storage.store(key, Decimal(value) if isinstance(value, str) else value, T)
    return storage


def trades(*rows: tuple[int, str, str], by: Covers | None = None) -> MemoryStorage:
    """A storage with trades (milliseconds after T, price, amount), received 40 ms later."""
    storage = MemoryStorage()
    made = [trade(number, T + ms, price=price, amount=amount) for number, (ms, price, amount) in enumerate(rows, 1)]
    storage.store_batch(KEY, [(one.timestamp, one) for one in made], by)
    return storage


def said(feed: PriceFeed, storage: MemoryStorage, at: int = T) -> tuple[str, str | None]:
    quote = feed.quote(storage, at)
    assert (quote.price is None) == (quote.status == "missing")
    assert bool(quote.reason) == (quote.status != "ok")
    assert Feeder([feed], storage).quotes(at)[feed.name] == quote
    return quote.status, None if quote.price is None else str(quote.price)


@pytest.mark.parametrize(
    ("method", "price"),
    [("vwap", "1.25"), ("twap", "1.5"), ("median", "1"), ("last", "2.0")],
)
def test_each_method_of_trades(method: str, price: str) -> None:
    storage = trades((0, "9", "9"), (1, "1", "2"), (1_001, "1", "1"), (5_001, "2.0", "1"))
    [feed] = make({"name": "x", "method": method}).values()
    quote = feed.quote(storage, T + 10_000)
    at = T + 10_000
    expected = {"vwap": "1.25", "twap": str((Decimal(5_000) + 2 * 4_999) / 9_999), "median": "1", "last": "2.0"}[method]
    assert quote.price is not None
    assert abs(quote.price - Decimal(expected)) < Decimal("1e-20")
    assert (quote.timestamp, quote.count, quote.sources, quote.volume) == (T + 5_001, 3, 1, Decimal(4))
    assert quote.at == at
    assert quote.dispersion == pytest.approx(math.sqrt((3 * 0.25**2 + 0.75**2) / 4) / 1.25)


def test_the_window_is_open_at_its_start_and_closed_at_its_end() -> None:
    [feed] = make({"name": "x", "method": "median"}).values()
    storage = trades((0, "1", "1"), (10_000, "3", "1"))
    assert feed.quote(storage, T + 10_040).count == 1
    assert feed.quote(storage, T + 10_000 - 1).price == 1
    assert said(feed, storage, T) == ("missing", None)  # it had not been received
    assert said(feed, storage, T + 40) == ("ok", "1")


def test_a_trade_without_a_time_of_receipt_counts_as_received_when_it_was_made() -> None:
    storage = MemoryStorage()
    storage.store(KEY, trade(1, T, received=0), T)
    storage.store(KEY, trade(2, T + 1, received=T + DAY, price="7"), T + 1)  # read again the day after
    [feed] = make({"name": "x"}).values()
    assert said(feed, storage, T + 5_000) == ("ok", "1.50")


def test_trades_of_the_moment_itself_have_the_price_of_the_last() -> None:
    storage = MemoryStorage()
    for number in (1, 2):
        storage.store(KEY, trade(number, T, received=0, price=str(number)), T)
    [feed] = make({"name": "x", "method": "twap"}).values()
    assert said(feed, storage) == ("ok", "2")


def test_nothing_traded_is_no_price() -> None:
    [vwap, last] = make({"name": "x"}, {"name": "y", "method": "last"}).values()
    empty = MemoryStorage()
    assert vwap.quote(empty, T) == Quote.missing("x", T, "no trade in the last 10s")
    nothing = trades((0, "1", "0"))
    assert vwap.quote(nothing, T + 50) == Quote.missing("x", T + 50, "no volume in the last 10s")
    assert said(last, nothing, T + 50) == ("ok", "1")
    assert last.quote(nothing, T + 50).dispersion is None


def test_what_is_old_is_stale_and_then_missing() -> None:
    [feed] = make({"name": "x", "stale_after": "2s"}).values()
    storage = trades((0, "1", "1"))
    assert said(feed, storage, T + 2_000) == ("ok", "1")
    assert said(feed, storage, T + 2_001) == ("stale", "1")
    assert feed.quote(storage, T + 2_100).reason == "newest datum 2.1s old, limit 2s"
    assert said(feed, storage, T + 10_000) == ("missing", None)


@pytest.mark.parametrize(
    ("covers", "reason"),
    [
        (Covers("id", [Interval(-1, 2), Interval(4, 5)]), "gap in the window (ids 3 to 4)"),
        (Covers("id", [Interval(-1, 0), Interval(1, 5)]), "gap in the window (ids 1 to 1)"),
        (Covers("id", [Interval(0, 5)]), "collected only from id 1 on"),
        (Covers("id", [Interval(-1, 5), Interval(7, 8)]), "gap in the window (ids 6 to 7)"),
        (Covers("id", [Interval(-1, 2), Interval(3, 6), Interval(8, 9)]), "gap in the window (ids 3 to 3)"),
        (
            Covers("time", [Interval(T - DAY, T + 1), Interval(T + 5, T + 99)]),
            f"gap in the window (ms {T + 2} to {T + 5})",
        ),
        (Covers("time", [Interval(T - 5, T + 99)]), f"collected only from {T - 5} ms on"),
        (Covers("time", [Interval(T - DAY, T - DAY + 5), Interval(T - DAY + 9, T + 99)]), ""),
        (None, ""),
    ],
)
def test_a_known_gap_in_the_window_degrades_it(covers: Covers | None, reason: str) -> None:
    storage = trades(*((ms, "1", "1") for ms in range(1, 6)), by=covers)
    [feed] = make({"name": "x"}).values()
    quote = feed.quote(storage, T + 100)
    assert quote.reason == reason
    assert quote.status == ("degraded" if reason else "ok")
    assert quote.price == 1


def test_beyond_what_is_kept_there_is_no_quote() -> None:
    storage = trades((0, "1", "1"), (DAY + 5_000, "1", "1"))
    storage.drop_before(KEY, T + DAY)
    [feed] = make({"name": "x"}).values()
    assert feed.quote(storage, T + DAY + 9_000).reason == "the window begins before the oldest day that is kept"
    assert said(feed, storage, T + DAY + 9_000) == ("missing", None)
    assert said(feed, storage, T + DAY + 10_000) == ("ok", "1")


def test_a_stored_number_is_used_until_it_is_old() -> None:
    [feed] = make(stored("usd", stale_after="1s")).values()
    storage = numbers(usd=0.1)
    assert said(feed, storage, T - 1) == ("missing", None)
    assert said(feed, storage, T + 1_000) == ("ok", "0.1")
    assert said(feed, storage, T + 1_001) == ("stale", "0.1")
    assert said(feed, storage, T + 10_000) == ("missing", None)
    assert said(feed, numbers(usd="0.10000000000000000000001")) == ("ok", "0.10000000000000000000001")


def test_what_is_no_number_is_missing_with_the_reason() -> None:
    [feed] = make(stored("x", KEY)).values()
    assert "not numbers" in feed.quote(trades((0, "1", "1")), T + 50).reason
    storage = MemoryStorage()
    storage.store(KEY, 1.5, T)
    [other] = make({"name": "x"}).values()
    assert other.quote(storage, T).reason == "TypeError: the series holds values of type float, not trades"
    assert said(other, storage) == ("missing", None)


COMPOSITES = [
    ({"type": "median", "feeds": ["a", "b", "c"]}, {"a": 1, "b": 2, "c": 1.5}, ("ok", "1.5")),
    ({"type": "median", "feeds": ["a", "b"]}, {"a": 1, "b": 2}, ("ok", "1.5")),
    ({"type": "median", "feeds": ["a", "b"]}, {"a": 1}, ("degraded", "1.0")),
    ({"type": "median", "feeds": ["a", "b"]}, {}, ("missing", None)),
    ({"type": "convert", "feed": "a", "by": "b"}, {"a": 3, "b": 2}, ("ok", "6.00")),
    ({"type": "convert", "feed": "a", "by": "b", "operation": "divide"}, {"a": 3, "b": 2}, ("ok", "1.5")),
    ({"type": "convert", "feed": "a", "by": "b", "operation": "divide"}, {"a": 3, "b": 0}, ("missing", None)),
    ({"type": "convert", "feed": "a", "by": "b"}, {"a": 3}, ("missing", None)),
    ({"type": "fallback", "feeds": ["a", "b"]}, {"a": 3, "b": 2}, ("ok", "3.0")),
    ({"type": "fallback", "feeds": ["a", "b"]}, {"a": 3}, ("ok", "3.0")),
    ({"type": "fallback", "feeds": ["a", "b"]}, {"b": 2}, ("degraded", "2.0")),
    ({"type": "fallback", "feeds": ["a", "b"]}, {}, ("missing", None)),
    ({"type": "weighted", "feeds": ["a", "b"]}, {"a": 3, "b": 2}, ("missing", None)),
]


@pytest.mark.parametrize(("table", "values", "expected"), COMPOSITES)
def test_composites(table: dict[str, Any], values: dict[str, float], expected: tuple[str, str | None]) -> None:
    parts = [stored(name) for name in "abc"]
    feed = make({"name": "x", **table}, *parts)["x"]
    assert said(feed, numbers(**values)) == expected


def test_composites_of_nothing_but_stale_parts_are_stale() -> None:
    parts = [stored("a"), stored("b")]
    storage = numbers(a=1, b=3)
    tables: list[dict[str, Any]] = [
        {"name": "m", "type": "median", "feeds": ["a", "b"]},
        {"name": "v", "type": "convert", "feed": "a", "by": "b"},
        {"name": "f", "type": "fallback", "feeds": ["a", "b"]},
    ]
    feeds = make(*tables, *parts)
    late = T + 61_000
    assert [said(feeds[name], storage, late) for name in "mvf"] == [
        ("stale", "2.0"),
        ("stale", "3.00"),
        ("stale", "1.0"),
    ]
    storage.store("b", 5.0, late)
    assert [said(feeds[name], storage, late) for name in "mvf"] == [
        ("degraded", "5.0"),
        ("stale", "5.00"),
        ("degraded", "5.0"),
    ]
    assert feeds["m"].quote(storage, late).reason == "a: stale: newest datum 61.0s old, limit 1m"


def test_a_composite_may_ask_for_fresher_parts() -> None:
    feed = make({"name": "x", "type": "median", "feeds": ["a"], "stale_after": "1s"}, stored("a"))["x"]
    assert said(feed, numbers(a=1), T + 1_001) == ("stale", "1.0")


def test_weighted_by_volume() -> None:
    storage = trades((0, "1", "3"))
    storage.store("trades:kraken:A/B", trade(1, T, price="2", amount="1"), T)
    feed = make(
        {"name": "x", "type": "weighted", "feeds": ["a", "b"]}, {"name": "a"}, {"name": "b", "exchange": "kraken"}
    )["x"]
    quote = feed.quote(storage, T + 50)
    assert (quote.price, quote.volume) == (Decimal("1.25"), Decimal(4))
    assert (quote.status, quote.sources) == ("ok", 2)
    assert isinstance(feed, CompositeFeed)
    assert [part.weight for part in feed.parts(Moment(storage, T + 50))] == [Decimal("0.75"), Decimal("0.25")]


def test_outliers_are_left_out_and_named() -> None:
    feed = make({"name": "x", "type": "median", "feeds": ["a", "b", "c", "d"]}, *(stored(name) for name in "abcd"))["x"]
    quote = feed.quote(numbers(a=100, b=101, c=99, d=150), T)
    assert (quote.price, quote.sources, quote.status) == (Decimal(100), 3, "degraded")
    assert quote.reason == "d: outlier: +33.4 median absolute deviations"


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ("100 101 99 110", "...x"),  # median 100.5, MAD 1: 6.4
        ("100 101 99 105", "...."),  # 3.0
        ("100 200", ".."),  # two: nobody can tell
        ("100 100 100 100.06", "...x"),  # MAD 0: a basis point counts
        ("100 100 100 100.05", "...."),
        ("100 100.0001 100.01", "..."),  # so it does where it is next to nothing
        ("0 0 0", "..."),
        ("0 0 1", "..."),
        ("-100 -100 -200", "..x"),
    ],
)
def test_the_rule_for_outliers(prices: str, expected: str) -> None:
    found = outliers([Decimal(price) for price in prices.split()])
    assert "".join("x" if why else "." for why in found) == expected


def test_a_feed_that_fails_is_missing_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    feeds = make(stored("a"), stored("b"), {"name": "x", "type": "median", "feeds": ["a", "b"]})

    def broken(self: PriceFeed, moment: Moment) -> Quote:
        raise ZeroDivisionError("by hand\nand more")

    monkeypatch.setattr(
        type(feeds["a"]),
        "compute",
        lambda self, moment: (
            broken(self, moment)
            if self.name == "a"
            else Quote(name="b", at=T, status="ok", price=Decimal(2), timestamp=T)
        ),
    )
    quotes = Feeder(list(feeds.values()), MemoryStorage()).quotes(T)
    assert [quote.status for quote in quotes.values()] == ["missing", "ok", "degraded"]
    assert quotes["a"].reason == "ZeroDivisionError: by hand"


def test_a_quote_is_stored_and_read_back() -> None:
    storage = MemoryStorage()
    [feed] = make({"name": "x"}).values()
    quote = feed.quote(trades((0, "1", "1"), (1, "3", "0.5")), T + 50)
    storage.store(quote_key(quote.name), quote, quote.at)
    [(at, value)] = storage.fetch("quotes:x")
    assert (at, value) == (T + 50, quote)


def problems(*tables: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        make(*tables)
    return list(caught.value.problems)


def test_unknown_parts_and_cycles_are_all_told() -> None:
    found = problems(
        {"name": "btc", "type": "median", "feeds": ["eth", "usdd"]},
        {"name": "eth", "type": "fallback", "feeds": ["doge", "usd"]},
        {"name": "doge", "type": "convert", "feed": "btc", "by": "usd"},
        {"name": "self", "type": "median", "feeds": ["self", "usd", "usd"]},
        {"name": "own", "type": "fallback", "feeds": ["own"]},
        stored("usd"),
    )
    assert found == [
        "feeds.toml: feeds[1] 'btc': feeds: there is no feed 'usdd'; did you mean 'usd'?",
        "feeds.toml: feeds[4] 'self': feeds: 'usd' is named twice",
        "feeds.toml: feeds are made of one another: btc → eth → doge → btc",
        "feeds.toml: feeds are made of one another: own → own",
    ]


def test_the_collectors_of_a_composite_are_those_of_its_parts() -> None:
    make(
        {"name": "x", "type": "median", "feeds": ["y", "z"]},
        {"name": "y", "type": "fallback", "feeds": ["a"]},
        {"name": "a"},
        {"name": "z"},
    )
    assert [collector.id for collector in load_data_source_collectors("feeds.toml")] == [KEY]
    [x, *_] = load_feeds("feeds.toml")
    assert {collector.id for collector in x.data_source_collectors()} == {KEY}


def test_a_long_chain_of_composites_is_read() -> None:
    chain = [{"name": f"c{n}", "type": "fallback", "feeds": [f"c{n + 1}"]} for n in range(99)]
    feed = make(*chain, stored("c99"))["c0"]
    assert said(feed, numbers(c99=1)) == ("ok", "1.0")
