"""Whatever exchanges send, nothing of it becomes a record of what was not published, and nothing takes long."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collection.clients.wire import UNREADABLE, Leaving, Rejected, Subscribed, Trades, Unread
from collection.clients.wires import WIRES
from collection.errors import ConfigurationError, RetryLater
from collection.records import Trade
from tests.wire_messages import DIALECTS, MARKET, RECEIVED, Row, made, rows

ANY_EXCHANGE = st.sampled_from(sorted(WIRES))
DEEP = "[" * 5_000 + "]" * 5_000
NAMES: dict[str, tuple[str | int, ...]] = {
    "binance": ("a", "T", "p", "q"),
    "coinbaseexchange": ("trade_id", "time", "price", "size"),
    "kraken": ("trade_id", "timestamp", "price", "qty"),
    "okx": ("tradeId", "ts", "px", "sz"),
    "bybit": ("i", "T", "p", "v"),
}
"""What exchanges call the id, the time, the price and the amount of a live trade."""
PAGE_NAMES = {**NAMES, "kraken": (6, 2, 0, 1), "bybit": ("execId", "time", "price", "size")}
SIDES: dict[str, tuple[Any, dict[Any, str]]] = {
    "binance": ("m", {True: "sell", False: "buy"}),
    "coinbaseexchange": ("side", {"buy": "sell", "sell": "buy"}),
    "kraken": ("side", {"buy": "buy", "sell": "sell"}),
    "okx": ("side", {"buy": "buy", "sell": "sell"}),
    "bybit": ("S", {"Buy": "buy", "Sell": "sell"}),
}
PAGE_SIDES: dict[str, tuple[Any, dict[Any, str]]] = {
    **SIDES,
    "kraken": (3, {"b": "buy", "s": "sell"}),
    "bybit": ("side", {"Buy": "buy", "Sell": "sell"}),
}
STRANGE = [
    *(
        "null",
        "true",
        "false",
        "{}",
        "[]",
        '""',
        '" "',
        "0",
        "-0",
        "-1",
        "1",
        "1.0",
        "1.5",
        "NaN",
        "-Infinity",
        "1e999",
    ),
    *('"NaN"', '"sNaN"', '"Infinity"', '"-1"', '"0"', '"-0"', '"1e5"', '"1_000"', '" 7"', '"+7"', '"007"', '"7.0"'),
    *("1e-999", "1e999999999", "-1e999999999", "1e-999999999", "0e999999999", '"1e999999999"', '"1E-999999999"'),
    *('"0E+999999999"', str(10**400), f'"{10**400}"', f"1.{'3' * 400}", str(2**63), str(2**64), f'"{2**64}"', "007"),
    *("9" * 5_000, f'"{"9" * 5_000}"', f"0.{'0' * 5_000}1", '"٣"', '"²"', r'"\ud800"', r'"\u0000"', '"buy"', '"Sell"'),
    *('"0x10"', '"1970-01-01T00:00:00Z"', '"3000-01-01T00:00:00Z"', '"2016-12-31T23:59:60Z"', '"2026-11-23"'),
    *(
        '"2026-11-23T01:02:03"',
        '"2026-11-23T01:02:03.9999999999Z"',
        '"2026-11-23T01:02:03+05:30"',
        '"20261123T010203Z"',
    ),
    *("32503680000000", '"32503680000000"', "32503680000.5", DEEP, f'"{"x" * 10_000}"', '"BTC-EUR"', '"ETH/USDT"'),
]
"""JSON, and what only looks like it, to stand where something else is expected."""
quickly = settings(deadline=1_000)


def _texts(value: Any, at: Sequence[Any], new: str | None, path: tuple[Any, ...] = ()) -> str:
    """Write JSON with `new` at a place, or without that place where `new` is None."""
    if path == tuple(at) and new is not None:
        return new
    if isinstance(value, dict):
        kept = [name for name in value if new is not None or (*path, name) != tuple(at)]
        return f"{{{','.join(f'{json.dumps(name)}:{_texts(value[name], at, new, (*path, name))}' for name in kept)}}}"
    if isinstance(value, list):
        places = [place for place in range(len(value)) if new is not None or (*path, place) != tuple(at)]
        return f"[{','.join(_texts(value[place], at, new, (*path, place)) for place in places)}]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(part, (*path, name))


@st.composite
def _mutations(draw: st.DrawFn, message: bytes) -> bytes:
    """Draw what a message becomes where something of it is lost, or becomes something strange."""
    text = message.decode()
    for _ in range(draw(st.integers(1, 2))):
        if len(text) > 6_000:  # one thing of that length or depth is enough
            break
        try:
            read = _parsed(text)
        except ValueError:
            break
        at = draw(st.sampled_from(list(_places(read))))
        match draw(st.sampled_from(("other", "other", "other", "none", "name", "quote"))):
            case "other":
                text = _texts(read, at, draw(st.sampled_from(STRANGE)))
            case "none":
                text = _texts(read, at, None)
            case "name" if at and isinstance(at[-1], str):
                text = text.replace(f'"{at[-1]}":', f'"{at[-1]}_":', 1)
            case "quote":
                text = _quoted(read, at)
    return text.encode(errors="surrogatepass")


def _quoted(read: Any, at: Sequence[Any]) -> str:
    """Make a text of a number, and a number of a text."""
    value = read
    for name in at:
        value = value[name]
    bare = isinstance(value, str) and value.replace(".", "").isdecimal()
    return _texts(read, at, value if bare else json.dumps(str(value)))


def _parsed(text: str) -> Any:
    return json.loads(
        text, parse_float=Decimal, parse_int=lambda digits: int(digits) if len(digits) < 4_000 else digits
    )


def _rows_in(value: Any) -> Iterator[Any]:
    """Find all that may be rows."""
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _rows_in(part)
    if isinstance(value, list):
        yield value
        for part in value:
            yield from _rows_in(part)


def _says(row: Any, trade: Trade, names: Sequence[Any], sides: tuple[Any, dict[Any, str]]) -> bool:
    """Whether a row says what a record does, read in another way than clients do."""
    try:
        id, at, price, amount = [row[name] for name in names]
        name, meaning = sides
        same = (str(id) if isinstance(id, str) else str(int(id))) == trade.id and meaning[row[name]] == trade.side
        same = same and Decimal(price) == trade.price and Decimal(amount) == trade.amount
        # Kraken has seconds over REST.
        return same and trade.timestamp == (int(Decimal(at) * 1_000) if isinstance(row, list) else _time(at))
    except (LookupError, TypeError, ValueError, ArithmeticError):
        return False


def _time(value: Any) -> int:
    if isinstance(value, str) and not value.isdecimal():
        since = datetime.fromisoformat(value) - datetime(1970, 1, 1, tzinfo=UTC)
        return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000
    return int(value)


def _check(trades: Sequence[Trade], message: bytes, names: Sequence[Any], sides: tuple[Any, dict[Any, str]]) -> None:
    if not trades:
        return
    sent = list(_rows_in(_parsed(message.decode())))
    for trade in trades:
        assert any(_says(row, trade, names, sides) for row in sent), trade
        assert trade.price > 0
        assert trade.amount >= 0
        assert 0 < trade.timestamp <= RECEIVED + 60_000
        assert len(trade.line) < 1_000


def _hear(exchange: str, message: bytes) -> Sequence[Trade]:
    event = made(exchange).hear(message, RECEIVED)
    assert event is None or isinstance(event, Trades | Subscribed | Rejected | Leaving | Unread)
    if isinstance(event, Unread):
        assert len(event.text) <= 500
    if not isinstance(event, Trades):
        return ()
    assert event.symbol
    assert event.trades or event.refused
    _check(event.trades, message, NAMES[exchange], SIDES[exchange])
    return event.trades


def _read_page(exchange: str, body: bytes) -> Sequence[Trade]:
    wire = made(exchange)
    try:
        trades, _ = wire.read_page(body, wire.symbol(MARKET), RECEIVED)
    except (*UNREADABLE, RetryLater, ConfigurationError):
        return ()
    _check(trades, body, PAGE_NAMES[exchange], PAGE_SIDES[exchange])
    return trades


@quickly
@given(ANY_EXCHANGE, rows(), st.data())
def test_what_is_heard_was_sent(exchange: str, sent: list[Row], data: st.DataObject) -> None:
    message = data.draw(st.sampled_from(DIALECTS[exchange].live(sent)))
    _hear(exchange, data.draw(_mutations(message)))


@quickly
@given(ANY_EXCHANGE, rows(), st.data())
def test_what_is_read_of_a_page_was_sent(exchange: str, sent: list[Row], data: st.DataObject) -> None:
    _read_page(exchange, data.draw(_mutations(DIALECTS[exchange].page(sent))))


@quickly
@given(ANY_EXCHANGE, rows(), st.data())
def test_half_of_a_message_is_nothing(exchange: str, sent: list[Row], data: st.DataObject) -> None:
    message, page = DIALECTS[exchange].live(sent)[0], DIALECTS[exchange].page(sent)
    assert not _hear(exchange, message[: data.draw(st.integers(0, len(message) - 1))])
    assert not _read_page(exchange, page[: data.draw(st.integers(0, len(page) - 1))])


@quickly
@given(ANY_EXCHANGE, st.binary() | st.text().map(str.encode) | st.sampled_from(STRANGE).map(str.encode))
def test_noise_is_nothing(exchange: str, noise: bytes) -> None:
    assert not _hear(exchange, noise)
    assert not _read_page(exchange, noise)
    wire = made(exchange)
    for status in (400, 404, 429, 500):
        assert wire.error(status, noise) is None or isinstance(
            wire.error(status, noise), RetryLater | ConfigurationError
        )


@pytest.mark.parametrize("exchange", sorted(WIRES))
@pytest.mark.parametrize("strange", [*STRANGE, "[" * 1_000_000, '{"a":' * 1_000_000], ids=lambda text: text[:20])
def test_nothing_takes_long_anywhere(exchange: str, strange: str) -> None:
    row = Row(7, (RECEIVED - 1) * 10**6, "buy", "2.5", "0.1")
    began = time.process_time()
    dialect = DIALECTS[exchange]
    for message, read in ((dialect.live([row])[0], _hear), (dialect.page([row]), _read_page)):
        value = _parsed(message.decode())
        for place in _places(value):
            read(exchange, _texts(value, place, strange).encode())
    for name in ("code", "retCode", "message", "msg", "data", "error"):
        made(exchange).error(400, f'{{"{name}":{strange}}}'.encode())
    assert time.process_time() - began < 2


@pytest.mark.parametrize("exchange", sorted(WIRES))
def test_a_bad_row_harms_no_other(exchange: str) -> None:
    sent = [Row(number, (RECEIVED - 1) * 10**6, "buy", "2.5", "0.1") for number in (1, 2, 3)]
    bad = re.compile(rb'"?2\.5"?')
    page, [*messages] = DIALECTS[exchange].page(sent), DIALECTS[exchange].live(sent)
    wire = made(exchange)
    trades, refused = wire.read_page(bad.sub(b'"much"', page, count=1), wire.symbol(MARKET), RECEIVED)
    assert (len(trades), [one.reason for one in refused]) == (2, ["unreadable"])
    if len(messages) == 1:
        event = wire.hear(bad.sub(b'"much"', messages[0], count=1), RECEIVED)
        assert isinstance(event, Trades)
        assert ([trade.id for trade in event.trades], [one.reason for one in event.refused]) == (
            ["2", "3"],
            ["unreadable"],
        )


@pytest.mark.parametrize("exchange", sorted(WIRES))
@pytest.mark.parametrize(
    ("price", "amount", "reason"),
    [
        ("1e41", "1", "bad_price"),
        ("1e-41", "1", "bad_price"),
        ("0", "1", "bad_price"),
        ("-1", "1", "bad_price"),
        ("1", "-1", "negative_amount"),
        ("1", "1e41", "bad_amount"),
        ("1", "1e-41", "bad_amount"),
    ],
)
def test_numbers_that_no_exchange_trades_at_are_refused(exchange: str, price: str, amount: str, reason: str) -> None:
    wire = made(exchange)
    body = DIALECTS[exchange].page([Row(7, (RECEIVED - 1) * 10**6, "buy", price, amount)])
    trades, refused = wire.read_page(body, wire.symbol(MARKET), RECEIVED)
    assert (trades, [one.reason for one in refused]) == ([], [reason])
