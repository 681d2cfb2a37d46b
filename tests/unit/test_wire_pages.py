"""How histories are asked for over REST, what answers mean, and the times and numbers in them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from collection.clients.digits import plain
from collection.clients.kraken import Kraken
from collection.clients.times import milliseconds_of, milliseconds_of_seconds
from collection.clients.wire import UNREADABLE, Request
from collection.clients.wires import WIRES
from collection.errors import CollectionError, ConfigurationError, RetryLater
from tests.wire_forms import RECEIVED


@pytest.mark.parametrize(
    ("exchange", "newest", "at"),
    [
        ("coinbaseexchange", Request("/products/A-B/trades", {"limit": 9}),
         Request("/products/A-B/trades", {"limit": 9, "after": 7})),
        ("okx", Request("/api/v5/market/history-trades", {"instId": "A-B", "type": "1", "limit": 9}),
         Request("/api/v5/market/history-trades", {"instId": "A-B", "type": "1", "limit": 9, "after": 7})),
        ("bybit", *[Request("/v5/market/recent-trade", {"category": "spot", "symbol": "AB", "limit": 9})] * 2),
    ],
)  # fmt: skip
def test_pages_are_asked_for_as_each_exchange_wants(exchange: str, newest: Request, at: Request) -> None:
    wire = WIRES[exchange]()
    assert (wire.ask(wire.symbol("A/B"), None, 9), wire.ask(wire.symbol("A/B"), 7, 9)) == (newest, at)


def test_pairs_of_kraken_are_known_by_todays_names() -> None:
    wire = Kraken()
    pairs = {"XXBTZUSD": {"altname": "XBTUSD", "wsname": "XBT/USD"}, "OLD.d": {"altname": "OLD.d"},
             "XDGEUR": {"altname": "XDGEUR", "wsname": "XDG/EUR"}}  # fmt: skip
    wire.learn(msgspec.json.encode({"error": [], "result": pairs}))
    assert wire.ask("BTC/USD", None, 9).params == {"pair": "XBTUSD", "count": 9}
    assert wire.ask("DOGE/EUR", 7, 9).params == {"pair": "XDGEUR", "count": 9, "since": 6_999_999}
    with pytest.raises(ConfigurationError, match="no such pair"):
        wire.ask("XBT/USD", None, 9)
    with pytest.raises(RetryLater, match="EService:Busy"):
        wire.learn(b'{"error":["EService:Busy"]}')
    with pytest.raises(UNREADABLE):
        wire.learn(b'{"error":[]}')


@pytest.mark.parametrize(
    ("exchange", "answer", "kind"),
    [
        ("kraken", {"error": ["EQuery:Unknown asset pair"]}, ConfigurationError),
        ("kraken", {"error": ["EAPI:Rate limit exceeded"]}, RetryLater),
        ("kraken", {"error": ["EGeneral:Too many requests"]}, RetryLater),
        ("kraken", {"error": ["EService:Unavailable"]}, RetryLater),
        ("okx", {"code": "51001", "msg": "Instrument ID does not exist", "data": []}, ConfigurationError),
        ("okx", {"code": "50011", "msg": "Too Many Requests", "data": []}, RetryLater),
        ("okx", {"code": "50001", "msg": "Service temporarily unavailable", "data": []}, RetryLater),
        ("okx", {"code": "50013", "msg": "Systems are busy"}, RetryLater),
        ("bybit", {"retCode": 10001, "retMsg": "Not supported symbols", "result": {}}, ConfigurationError),
        ("bybit", {"retCode": 10006, "retMsg": "Too many visits.", "result": None}, RetryLater),
        ("bybit", {"retCode": 10018, "retMsg": "Exceeded the IP Rate Limit.", "result": {}}, RetryLater),
    ],
)
def test_errors_with_status_200_are_errors(exchange: str, answer: Any, kind: type[CollectionError]) -> None:
    with pytest.raises(kind, match=f"^{exchange}: "):
        WIRES[exchange]().read_page(msgspec.json.encode(answer), "", RECEIVED)


@pytest.mark.parametrize(
    ("exchange", "answer"),
    [
        ("coinbaseexchange", {"message": "x"}),
        ("kraken", {"error": [], "result": {"last": "1"}}),
        ("kraken", {"error": []}),
        ("okx", {"code": "0", "msg": ""}),
        ("okx", {"code": "0", "msg": "", "data": None}),
        ("okx", {"data": []}),
        ("bybit", {"retCode": 0, "retMsg": "OK"}),
        ("bybit", {"retCode": 0, "retMsg": "OK", "result": {}}),
        ("bybit", {"retCode": 0, "retMsg": "OK", "result": {"list": None}}),
    ],
)
def test_an_answer_without_a_list_is_no_empty_page(exchange: str, answer: Any) -> None:
    with pytest.raises(UNREADABLE):
        WIRES[exchange]().read_page(msgspec.json.encode(answer), "", RECEIVED)


@pytest.mark.parametrize(
    ("exchange", "answer"),
    [
        ("coinbaseexchange", []),
        ("kraken", {"error": [], "result": {"XBTUSD": [], "last": "1"}}),
        ("okx", {"code": "0", "data": []}),
        ("bybit", {"retCode": 0, "result": {"list": []}}),
    ],
)
def test_an_empty_page_is_one(exchange: str, answer: Any) -> None:
    assert WIRES[exchange]().read_page(msgspec.json.encode(answer), "", RECEIVED) == ([], [])


@pytest.mark.parametrize(
    ("exchange", "status", "body", "kind"),
    [
        ("binance", 400, {"code": -1121, "msg": "Invalid symbol."}, ConfigurationError),
        ("coinbaseexchange", 404, {"message": "NotFound"}, ConfigurationError),
        ("coinbaseexchange", 500, {"message": "Internal server error"}, type(None)),
        ("okx", 400, {"code": "51000", "msg": "Parameter instId error"}, ConfigurationError),
        ("okx", 503, {"code": "50001", "msg": "Service temporarily unavailable"}, RetryLater),
        ("kraken", 520, {}, type(None)),
        ("bybit", 403, {}, type(None)),
    ],
)
def test_errors_with_another_status(exchange: str, status: int, body: Any, kind: type) -> None:
    wire = WIRES[exchange]()
    assert type(wire.error(status, msgspec.json.encode(body))) is kind
    assert wire.error(status, b"<html>") is None


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2020-01-31T20:03:41.158814Z", 1_580_501_021_158),
        ("2020-01-31T20:03:41.158999999Z", 1_580_501_021_158),
        ("2020-01-31T20:03:41.1Z", 1_580_501_021_100),
        ("2020-01-31T20:03:41Z", 1_580_501_021_000),
        ("1969-12-31T23:59:59.9995Z", -1),
    ],
)
def test_times_are_rounded_down(text: str, milliseconds: int) -> None:
    assert milliseconds_of(text) == milliseconds


@pytest.mark.parametrize("text", ["", "x", "2020-01-31", "2020-01-31T20:03:41", "2020-13-31T20:03:41Z", "1580501021"])
def test_what_is_no_time_is_none(text: str) -> None:
    with pytest.raises(UNREADABLE):
        milliseconds_of(text)


def test_times_in_seconds_are_read_without_floats() -> None:
    for text, milliseconds in (("1534614057.321999999", 1_534_614_057_321), ("1534614057.322", 1_534_614_057_322),
                               ("1534614057", 1_534_614_057_000), ("1.5e9", 1_500_000_000_000)):  # fmt: skip
        assert milliseconds_of_seconds(Decimal(text)) == milliseconds
    for text in ("NaN", "Infinity", "1e999999"):
        with pytest.raises(UNREADABLE):
            milliseconds_of_seconds(Decimal(text))


def test_numbers_are_cut_of_zeros_and_never_rounded() -> None:
    for text, same in (("4100", "4100"), ("4100.00", "4100"), ("0.50", "0.5"), ("-0.0", "0"), ("1E+3", "1000")):
        assert f"{plain(Decimal(text)):f}" == same
    assert plain(Decimal("1." + "1" * 59)) == Decimal("1." + "1" * 59)
    with pytest.raises(UNREADABLE):
        plain(Decimal("1." + "1" * 60))
