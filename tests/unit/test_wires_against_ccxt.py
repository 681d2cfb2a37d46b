"""Native clients and ccxt read the same records from the same messages, live and over REST."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collection.clients.ccxt_exchange import make_exchange, read_trades
from collection.clients.digits import plain
from collection.clients.wire import Trades
from collection.clients.wires import WIRES
from collection.records import Trade
from collection.setting_groups import ExchangeSettings
from tests.wire_messages import DIALECTS, MARKET, RECEIVED, Row, lines, made, rows

ANY_EXCHANGE = st.sampled_from(sorted(WIRES))


@pytest.fixture(scope="module")
def ccxt() -> Iterator[dict[str, Any]]:
    """ccxt's objects as the ccxt client has them, each with one market."""

    async def make() -> dict[str, Any]:
        return {name: _listed(make_exchange(name, ExchangeSettings()), name) for name in WIRES}

    with asyncio.Runner() as runner:
        exchanges = runner.run(make())
        yield {name: (runner, exchange) for name, exchange in exchanges.items()}
        for exchange in exchanges.values():
            runner.run(exchange.close())


def _listed(exchange: Any, name: str) -> Any:
    id = "XBTUSDT" if name == "kraken" else made(name).symbol(MARKET)
    kinds = {"type": "spot", "spot": True, "contract": False}
    market = {"id": id, "symbol": MARKET, "base": "BTC", "quote": "USDT", "baseId": "BTC", "quoteId": "USDT", **kinds}
    exchange.set_markets([exchange.safe_market_structure(market)])
    exchange.number = str  # as the ccxt client does: exact digits
    return exchange


def _through_ccxt(exchange: Any, messages: Sequence[bytes]) -> list[Trade]:
    """Read live messages."""
    address = exchange.urls["api"]["ws"]
    while isinstance(address, dict):
        address = address.get("spot") or address.get("public") or next(iter(address.values()))
    client = exchange.client(exchange.implode_hostname(address))
    exchange.trades = exchange.create_safe_dictionary()
    for message in messages:
        exchange.handle_message(client, json.JSONDecoder(parse_float=str).decode(message.decode()))
    return _records(exchange.trades[MARKET])


def _page_through_ccxt(exchange: Any, body: bytes) -> list[Trade]:
    answer: Any = exchange.on_json_response(body.decode())
    match exchange.id:
        case "kraken":
            answer = answer["result"]["XBTUSDT"]
        case "okx":
            answer = answer["data"]
        case "bybit":
            answer = answer["result"]["list"]
    return _records(exchange.parse_trades(answer, exchange.market(MARKET)))


def _records(parsed: Any) -> list[Trade]:
    trades, refused = read_trades(parsed, MARKET, RECEIVED, numbered=True)
    assert not refused
    return sorted(trades, key=lambda trade: int(trade.id))


def _heard(exchange: str, messages: Sequence[bytes]) -> list[Trade]:
    wire = made(exchange)
    trades: list[Trade] = []
    for message in messages:
        event = wire.hear(message, RECEIVED)
        assert isinstance(event, Trades), event
        assert event.symbol == wire.symbol(MARKET)
        assert not event.refused
        trades += event.trades
    return trades


def _paged(exchange: str, body: bytes) -> list[Trade]:
    wire = made(exchange)
    trades, refused = wire.read_page(body, wire.symbol(MARKET), RECEIVED)
    assert not refused
    return trades


def _lines(exchange: str, trades: Sequence[Trade]) -> list[str]:
    """Return the lines of what ccxt read: without zeros at the ends of numbers where native clients cut them off.

    On Coinbase and Kraken messages and REST write one number with more or fewer of them.
    """
    if DIALECTS[exchange].cuts_zeros:
        trades = [
            msgspec.structs.replace(trade, price=plain(trade.price), amount=plain(trade.amount)) for trade in trades
        ]
    return [trade.line for trade in trades]


@given(ANY_EXCHANGE, rows())
def test_messages_become_the_records_that_were_published(exchange: str, sent: list[Row]) -> None:
    heard = _heard(exchange, DIALECTS[exchange].live(sent))
    assert [trade.line for trade in heard] == lines(exchange, sent)
    assert {trade.received for trade in heard} == {RECEIVED}


@given(ANY_EXCHANGE, rows())
def test_a_trade_is_one_record_live_and_over_rest(exchange: str, sent: list[Row]) -> None:
    dialect = DIALECTS[exchange]
    live, paged = _heard(exchange, dialect.live(sent)), _paged(exchange, dialect.page(sent))
    assert [trade.line for trade in paged] == [trade.line for trade in live] == lines(exchange, sent)


@given(exchange=ANY_EXCHANGE, sent=rows())
def test_live_messages_mean_what_they_mean_to_ccxt(ccxt: dict[str, Any], exchange: str, sent: list[Row]) -> None:
    messages = DIALECTS[exchange].live(sent)
    runner, parser = ccxt[exchange]

    async def read() -> list[Trade]:
        return _through_ccxt(parser, messages)

    theirs = _lines(exchange, runner.run(read()))
    assert [trade.line for trade in _heard(exchange, messages)] == theirs


@given(exchange=ANY_EXCHANGE, sent=rows())
def test_answers_of_rest_mean_what_they_mean_to_ccxt(ccxt: dict[str, Any], exchange: str, sent: list[Row]) -> None:
    if exchange == "kraken":
        # ccxt multiplies seconds by 1000 as floats: it may round up in the last microseconds of a millisecond.
        sent = [row._replace(time=row.time // 10**6 * 10**6 + min(row.time % 10**6, 990_000)) for row in sent]
    body = DIALECTS[exchange].page(sent)
    _, parser = ccxt[exchange]
    theirs = _lines(exchange, _page_through_ccxt(parser, body))
    assert [trade.line for trade in _paged(exchange, body)] == theirs


@given(st.text("0123456789", min_size=1, max_size=12), st.integers(0, 12), st.integers(-12, 12))
def test_a_number_is_one_text_with_whatever_zeros_and_exponent(digits: str, zeros: int, exponent: int) -> None:
    number = Decimal(digits).scaleb(exponent)
    longer = Decimal(f"{number:f}" + ("" if "." in f"{number:f}" else ".") + "0" * zeros)
    assert f"{plain(number):f}" == f"{plain(longer):f}" == f"{plain(Decimal(f'{number:e}')):f}"
    assert plain(number) == number
