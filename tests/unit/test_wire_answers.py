"""What exchanges say besides trades: each is heard as what it is. And how they are asked for trades."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from collection.clients.wire import Leaving, Rejected, Subscribed, Trades, Unread
from collection.clients.wires import WIRES
from collection.errors import CollectionError, ConfigurationError, RetryLater
from tests.wire_forms import RECEIVED

NOT_FOUND = "Wrong URL or channel:trades-all,instId:X-USDT doesn't exist. Please use the correct URL, channel and …"
STATUS = {"channel": "status", "type": "update", "data": [{"version": "2.0.10", "system": "online"}]}
MAINTENANCE = {**STATUS, "data": [{"version": "2.0.10", "system": "maintenance"}]}
BYBIT = {"conn_id": "1-2-3", "req_id": "3", "op": "subscribe"}


def hear(exchange: str, message: Any) -> Any:
    text = message if isinstance(message, bytes) else msgspec.json.encode(message)
    return WIRES[exchange]().hear(text, RECEIVED)


@pytest.mark.parametrize(
    ("exchange", "message", "event"),
    [
        ("binance", {"result": None, "id": 3}, Subscribed(request=3)),
        (
            "coinbaseexchange",
            {"type": "subscriptions", "channels": [{"name": "matches", "product_ids": ["A-B", "C-D"]},
                                                   {"name": "heartbeat", "product_ids": ["E-F"]}]},
            Subscribed(["A-B", "C-D"]),
        ),
        ("coinbaseexchange", {"type": "subscriptions", "channels": []}, Subscribed([])),
        (
            "kraken",
            {"method": "subscribe", "req_id": 3, "result": {"channel": "trade", "snapshot": False, "symbol": "A/B"},
             "success": True, "time_in": "2026-01-31T20:03:41.000000Z", "time_out": "2026-01-31T20:03:41.000001Z"},
            Subscribed(["A/B"], 3),
        ),
        (
            "kraken",
            {"error": "Already subscribed", "method": "subscribe", "req_id": 3, "success": False, "symbol": "A/B"},
            Subscribed(["A/B"], 3),
        ),
        (
            "okx",
            {"event": "subscribe", "arg": {"channel": "trades-all", "instId": "A-B"}, "connId": "a4d3ae55"},
            Subscribed(["A-B"]),
        ),
        ("bybit", {"success": True, "ret_msg": "subscribe", **BYBIT}, Subscribed(request=3)),
        (
            "bybit",
            {"success": False, "ret_msg": "error:already subscribed,topic:publicTrade.AB", **BYBIT},
            Subscribed(request=3),
        ),
    ],
)  # fmt: skip
def test_answers_say_what_is_subscribed(exchange: str, message: Any, event: Subscribed) -> None:
    assert hear(exchange, message) == event


@pytest.mark.parametrize(
    ("exchange", "message", "kind", "symbols", "request_"),
    [
        ("binance", {"error": {"code": 2, "msg": "Invalid request"}, "id": 3}, ConfigurationError, (), 3),
        ("coinbaseexchange", {"type": "error", "message": "Failed to subscribe",
                              "reason": "X-USDT is not a valid product"}, ConfigurationError, ["X-USDT"], None),
        ("coinbaseexchange", {"type": "error", "message": "Rate limit exceeded"}, RetryLater, (), None),
        ("kraken", {"error": "Currency pair not supported X/USDT", "method": "subscribe", "req_id": 3, "success": False,
                    "symbol": "X/USDT"}, ConfigurationError, ["X/USDT"], 3),
        ("kraken", {"error": "EService:Unavailable", "method": "subscribe", "req_id": 3, "success": False},
         RetryLater, [], 3),
        ("okx", {"event": "error", "code": "60018", "msg": NOT_FOUND}, ConfigurationError, ["X-USDT"], None),
        ("okx", {"event": "error", "code": "60014", "msg": "Requests too frequent"}, RetryLater, (), None),
        ("bybit", {"success": False, "ret_msg": "Invalid symbol :[XUSDT]", **BYBIT}, ConfigurationError, (), 3),
        ("bybit", {"success": False, "ret_msg": "error:handler not found,topic:publicTrade.X", **BYBIT},
         ConfigurationError, (), 3),
        ("bybit", {"success": False, "ret_msg": "Too many visits", **BYBIT}, RetryLater, (), 3),
    ],
)  # fmt: skip
def test_errors_say_what_is_not_and_whether_to_try_again(
    exchange: str, message: Any, kind: type[CollectionError], symbols: Any, request_: int | None
) -> None:
    event = hear(exchange, message)
    assert isinstance(event, Rejected)
    assert (type(event.error), event.symbols, event.request) == (kind, symbols, request_)
    assert str(event.error).startswith(f"{exchange}: ")


@pytest.mark.parametrize(
    ("exchange", "message"),
    [
        ("coinbaseexchange", {"type": "heartbeat", "last_trade_id": 7, "product_id": "A-B", "sequence": 9,
                              "time": "2026-01-31T20:03:41.000000Z"}),
        ("kraken", {"channel": "heartbeat"}),
        ("kraken", STATUS),
        ("kraken", {"method": "pong", "req_id": 1, "time_in": "2026-01-31T20:03:41.000000Z"}),
        ("kraken", {"method": "unsubscribe", "req_id": 4, "result": {"symbol": "A/B"}, "success": True}),
        ("okx", b"pong"),
        ("okx", {"event": "unsubscribe", "arg": {"channel": "trades-all", "instId": "A-B"}}),
        ("bybit", {"success": True, "ret_msg": "pong", **BYBIT, "op": "ping"}),
        ("bybit", {"req_id": "3", "op": "pong", "args": ["1672916271846"], "conn_id": "1-2-3"}),
        ("bybit", {"success": True, "ret_msg": "", **BYBIT, "op": "unsubscribe"}),
    ],
)  # fmt: skip
def test_what_keeps_a_connection_alive_says_nothing(exchange: str, message: Any) -> None:
    assert hear(exchange, message) is None


@pytest.mark.parametrize(
    ("exchange", "message"),
    [
        ("binance", {"e": "serverShutdown", "E": 1}),
        ("kraken", MAINTENANCE),
        ("okx", {"event": "notice", "code": "64008", "msg": "The connection will soon be closed."}),
    ],
)  # fmt: skip
def test_who_goes_away_says_so(exchange: str, message: Any) -> None:
    assert isinstance(hear(exchange, message), Leaving)


@pytest.mark.parametrize(
    ("exchange", "message"),
    [
        ("binance", {"e": "trade", "s": "AB", "t": 1, "a": 5, "p": "1", "q": "1", "T": 1_700_000_000_000, "m": True}),
        ("coinbaseexchange", {"type": "ticker", "product_id": "A-B"}),
        ("coinbaseexchange", {"type": "match", "trade_id": 7, "side": "buy", "size": "1", "price": "1",
                              "time": "2020-01-31T20:03:41.158814Z"}),
        ("kraken", {"channel": "book", "data": []}),
        ("kraken", {"channel": "trade", "type": "update", "data": []}),
        ("kraken", {"error": "Malformed", "success": False}),
        ("okx", {"arg": {"channel": "trades", "instId": "A-B"}, "data": [{}]}),
        ("okx", {"arg": {"channel": "trades-all", "instId": "A-B"}, "data": []}),
        ("okx", {"arg": {"channel": "trades-all", "instId": "A-B"}}),
        ("bybit", {"topic": "tickers.AB", "data": {}}),
        ("bybit", {"topic": "publicTrade.AB", "data": []}),
        ("bybit", {"topic": "publicTrade.", "data": [{}]}),
    ],
)  # fmt: skip
def test_what_is_not_known_is_unread(exchange: str, message: Any) -> None:
    assert isinstance(hear(exchange, message), Unread)


def test_a_snapshot_of_older_trades_is_trades() -> None:
    row = {"symbol": "A/B", "side": "buy", "price": 5.0, "qty": 1e-05, "ord_type": "limit", "trade_id": 7,
           "timestamp": "2020-01-31T20:03:41.158814Z"}  # fmt: skip
    event = hear("kraken", {"channel": "trade", "type": "snapshot", "data": [row]})
    assert isinstance(event, Trades)
    assert [trade.line for trade in event.trades] == ["1580501021158,7,buy,5,0.00001"]


@pytest.mark.parametrize(
    ("exchange", "asked", "ended"),
    [
        ("coinbaseexchange", {"type": "subscribe", "product_ids": ["A-B", "C-B"], "channels": ["matches"]},
         {"type": "unsubscribe", "product_ids": ["A-B", "C-B"], "channels": ["matches"]}),
        ("kraken", {"method": "subscribe", "params": {"channel": "trade", "symbol": ["A/B", "C/B"], "snapshot": False},
                    "req_id": 3},
         {"method": "unsubscribe", "params": {"channel": "trade", "symbol": ["A/B", "C/B"]}, "req_id": 3}),
        ("okx", {"op": "subscribe", "args": [{"channel": "trades-all", "instId": "A-B"},
                                             {"channel": "trades-all", "instId": "C-B"}]},
         {"op": "unsubscribe", "args": [{"channel": "trades-all", "instId": "A-B"},
                                        {"channel": "trades-all", "instId": "C-B"}]}),
        ("bybit", {"op": "subscribe", "args": ["publicTrade.AB", "publicTrade.CB"], "req_id": "3"},
         {"op": "unsubscribe", "args": ["publicTrade.AB", "publicTrade.CB"], "req_id": "3"}),
    ],
)  # fmt: skip
def test_subscriptions_are_asked_for_as_each_exchange_wants(exchange: str, asked: Any, ended: Any) -> None:
    wire = WIRES[exchange]()
    symbols = [wire.symbol(market) for market in ("A/B", "C/B")]
    assert json.loads(wire.subscribe(symbols, 3)) == asked
    assert json.loads(wire.unsubscribe(symbols, 3)) == ended
