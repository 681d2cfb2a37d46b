"""Wires and what is not as it should be: nothing raises, and nothing becomes a record that was not published."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collection.clients.wire import UNREADABLE, Event, Trades, Unread
from collection.errors import ConfigurationError, RetryLater
from collection.records import Trade
from collection.storage.values import integer_id
from tests.wire_forms import FORMS, RECEIVED, Form, Row
from tests.wire_parsers import ccxt_of, wire_of

every_exchange = pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
ROWS = [Row(12, 1_700_000_000_123_456, "buy", "4100.5", "1"), Row(13, 1_700_000_000_124_456, "sell", "4100.25", "2.5")]
NESTED: Any = None
for _ in range(500):
    NESTED = [NESTED]
JUNK = [None, True, "", "x", "NaN", "sNaN", "Infinity", "-Infinity", "-1", -1, 0, "0", 0.5, -0.5, 1e300, 10**30, "1e5",
        "007", " 7", "7 ", "1_0", "+7", "٣", "2020-01-31", "2020-01-31T20:03:41", [], {}, ["7"], NESTED]  # fmt: skip
PUBLISHED = {"1700000000123,12,buy,4100.5,1", "1700000000124,13,sell,4100.25,2.5"}
GONE = object()
LEFT_ALONE = {"maker_order_id", "taker_order_id"}
"""ccxt takes a match of Coinbase without these for one of the other side."""
bad = settings(deadline=None, max_examples=100)


def hear(form: Form, message: bytes) -> Event | None:
    return wire_of(form).hear(message, RECEIVED)


def spots(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all that a message or an answer is made of."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path, *(spot for key, value in inner for spot in spots(value, (*path, key)))]


def changed(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return {} if value is GONE else value
    content = copy.deepcopy(content)
    place = content
    for key in path[:-1]:
        place = place[key]
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return content


@st.composite
def mutations(draw: st.DrawFn, text: str) -> str:
    """The text with one to three of its parts changed, or left out."""
    content = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([path for path in spots(content) if not {*path} & LEFT_ALONE]))
        content = changed(content, path, draw(st.sampled_from([*JUNK, GONE])))
    return json.dumps(content, ensure_ascii=False)


def theirs(form: Form, message: str) -> set[str]:
    """What ccxt makes of each row: of a bad one it makes nothing, or loses the others with it."""
    content = json.loads(message)
    several = isinstance(content, dict) and isinstance(content.get("data"), list)
    alone = [{**content, "data": [row]} for row in content["data"]] if several else [content]
    lines = set()
    for one in alone:
        with contextlib.suppress(Exception):  # its parsers fail in many ways
            lines |= {trade.line for trade in ccxt_of(form).hear(json.dumps(one))[0]}
    return lines


def check(form: Form, trades: list[Trade]) -> None:
    for trade in trades:
        assert trade.price > 0 <= trade.amount
        assert trade.price.is_finite()
        assert trade.amount.is_finite()
        assert trade.side in ("buy", "sell")
        assert 0 < trade.timestamp <= RECEIVED + 60_000
        assert trade.id
        assert wire_of(form).by == "time" or integer_id(trade.id) is not None


@every_exchange
@bad
@given(st.data())
def test_messages_with_parts_that_are_wrong_make_no_record_that_ccxt_does_not_make(
    form: Form, data: st.DataObject
) -> None:
    message = data.draw(mutations(form.messages(ROWS)[0]))
    event = hear(form, message.encode())
    if isinstance(event, Trades):
        assert event.symbol
        assert event.trades or event.refused
        check(form, list(event.trades))
        if event.symbol == wire_of(form).symbol(form.market):  # nobody listens to others
            assert {trade.line for trade in event.trades} <= theirs(form, message) | PUBLISHED


@every_exchange
@bad
@given(st.data())
def test_answers_with_parts_that_are_wrong_make_no_wrong_record(form: Form, data: st.DataObject) -> None:
    answer = data.draw(mutations(form.page(ROWS)))
    symbol = wire_of(form).symbol(form.market)
    try:
        trades, refused = wire_of(form).read_page(answer.encode(), symbol, RECEIVED)
    except (*UNREADABLE, RetryLater, ConfigurationError):
        return
    check(form, trades)
    assert all(record.source for record in refused)


@every_exchange
@bad
@given(st.data())
def test_nothing_that_comes_raises(form: Form, data: st.DataObject) -> None:
    text = form.messages(ROWS)[0].encode()
    place, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 8))
    message = text[:place] + data.draw(st.binary(max_size=8)) + text[place + length :]
    hear(form, message)
    wire_of(form).error(data.draw(st.sampled_from([400, 403, 404, 429, 500])), message)


@every_exchange
@given(
    st.one_of(st.binary(), st.sampled_from([b"", b"[]", b"{}", b"null", b"1", b'""', b"[" * 10**5, b'{"a":' * 10**5]))
)
@example(b'{"data":[]}')
@settings(deadline=None)
def test_what_is_no_message_of_the_exchange_is_unread(form: Form, message: bytes) -> None:
    assert isinstance(hear(form, message), Unread)
    with pytest.raises((*UNREADABLE, RetryLater)):
        wire_of(form).read_page(b"{" + message, "", RECEIVED)


@every_exchange
def test_a_message_is_unread_for_whom_it_was(form: Form) -> None:
    content = json.loads(form.messages(ROWS)[0])
    event = hear(form, json.dumps(changed(content, wrong(form), "x")).encode())
    if isinstance(event, Trades):
        assert [record.reason for record in event.refused] == ["unreadable"]
    assert isinstance(event, Trades | Unread)
    assert event.symbol == wire_of(form).symbol(form.market)


def wrong(form: Form) -> tuple[Any, ...]:
    """Where the price of the first row is."""
    name = {"okx": "px", "binance": "p", "bybit": "p"}.get(form.exchange, "price")
    inner = {"binance": ("data",), "coinbaseexchange": ()}.get(form.exchange, ("data", 0))
    return (*inner, name)


@pytest.mark.parametrize("exchange", ["kraken", "okx", "bybit"])
def test_one_bad_row_harms_no_other(exchange: str) -> None:
    form = FORMS[exchange]
    content = json.loads(form.messages(ROWS)[0])
    for value, reason in (("NaN", "bad_price"), ("x", "unreadable"), (GONE, "unreadable"), ("-1", "bad_price")):
        event = hear(form, json.dumps(changed(content, wrong(form), value)).encode())
        assert isinstance(event, Trades)
        assert [trade.id for trade in event.trades] == ["13"]
        assert [record.reason for record in event.refused] == [reason]


@pytest.mark.parametrize("id", ["007", "x", "", "-7", " 7", "1e3", "7.0"])
def test_ids_that_are_no_numbers_are_refused_where_positions_are_ids(id: str) -> None:
    form = FORMS["okx"]
    for message in (form.messages(ROWS[:1])[0], form.page(ROWS[:1])):
        text = message.replace('"tradeId":"12"', f'"tradeId":"{id}"').encode()
        if message.startswith('{"arg"'):
            event = hear(form, text)
            assert isinstance(event, Trades)
            refused = list(event.refused)
        else:
            trades, refused = wire_of(form).read_page(text, "BTC-USDT", RECEIVED)
            assert not trades
        assert [(record.reason, record.id) for record in refused] == [("no_id", "")]


@pytest.mark.parametrize("exchange", ["kraken", "okx", "bybit"])
def test_rows_of_another_market_are_refused(exchange: str) -> None:
    form = FORMS[exchange]
    content = json.loads(form.messages(ROWS)[0])
    name = {"kraken": "symbol", "okx": "instId", "bybit": "s"}[exchange]
    event = hear(form, json.dumps(changed(content, ("data", 1, name), "ETH")).encode())
    assert isinstance(event, Trades)
    assert [trade.id for trade in event.trades] == ["12"]
    assert [record.reason for record in event.refused] == ["other_market"]


def test_a_message_of_another_version_of_bybit_is_refused() -> None:
    data = {"v": "2100000000007764263", "t": 1652193022372, "p": "31900.5", "q": "0.000655", "m": True}
    event = hear(FORMS["bybit"], json.dumps({"topic": "publicTrade.BTCUSDT", "ts": 1, "data": [data]}).encode())
    assert isinstance(event, Trades)
    assert [record.reason for record in event.refused] == ["unreadable"]
    assert "2100000000007764263" in event.refused[0].source
    assert isinstance(hear(FORMS["bybit"], json.dumps({"topic": "trade", "data": data}).encode()), Unread)
