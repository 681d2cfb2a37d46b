"""What the messages of five exchanges mean, and what is sent to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from collection.clients.wire import Event, Leaving, Rejected, Subscribed, Trades, Unread
from collection.clients.wires import WIRES
from collection.errors import ConfigurationError, RetryLater
from tests.wire_messages import DIALECTS, MARKET, RECEIVED, Row, made

ROWS = [Row(number, (RECEIVED - 1) * 10**6, "buy", "2.5", "0.1") for number in (7, 8)]


def hear(exchange: str, message: Any) -> Event | None:
    text = message if isinstance(message, str) else json.dumps(message)
    return made(exchange).hear(text.encode(), RECEIVED)


def kraken(method: str, **more: Any) -> dict[str, Any]:
    return {"method": method, "time_in": "2026-11-23T01:02:03.1Z", "time_out": "2026-11-23T01:02:03.2Z", **more}


def bybit(op: str, success: bool, msg: str, number: str = "3") -> dict[str, Any]:
    return {"success": success, "ret_msg": msg, "conn_id": "c", "req_id": number, "op": op}


def okx(event: str, **more: Any) -> dict[str, Any]:
    return {"event": event, "connId": "a4d3ae55", **more}


ARGUMENT = {"channel": "trades-all", "instId": "BTC-USDT"}
CHANNELS = [{"name": "matches", "product_ids": ["BTC-USDT", "ETH-USDT"], "account_ids": None}]


@pytest.mark.parametrize(
    ("exchange", "message", "event"),
    [
        ("binance", {"result": None, "id": 3}, Subscribed(request=3)),
        ("coinbaseexchange", {"type": "subscriptions", "channels": CHANNELS}, Subscribed(["BTC-USDT", "ETH-USDT"])),
        ("coinbaseexchange", {"type": "subscriptions", "channels": []}, Subscribed([])),
        (
            "kraken",
            kraken("subscribe", result={"channel": "trade", "symbol": "BTC/USDT"}, success=True, req_id=3),
            Subscribed(["BTC/USDT"], 3),
        ),
        (
            "kraken",
            kraken("subscribe", error="Already subscribed", symbol="BTC/USDT", success=False, req_id=3),
            Subscribed(["BTC/USDT"], 3),
        ),
        ("okx", okx("subscribe", arg=ARGUMENT), Subscribed(["BTC-USDT"])),
        ("bybit", bybit("subscribe", True, "subscribe"), Subscribed(request=3)),
        ("bybit", bybit("subscribe", True, "", ""), Subscribed()),
        (
            "bybit",
            bybit("subscribe", False, "error:topic:publicTrade.BTCUSDT already subscribed"),
            Subscribed(request=3),
        ),
    ],
)
def test_subscriptions_are_confirmed(exchange: str, message: Any, event: Event) -> None:
    assert hear(exchange, message) == event


@pytest.mark.parametrize(
    ("exchange", "message", "symbols", "request_", "kind"),
    [
        ("binance", {"error": {"code": 2, "msg": "Invalid request"}, "id": 3}, (), 3, ConfigurationError),
        ("binance", {"code": 2, "msg": "Invalid request", "id": 3}, (), 3, ConfigurationError),
        ("binance", {"code": 3, "msg": "Invalid JSON"}, (), None, ConfigurationError),
        (
            "coinbaseexchange",
            {"type": "error", "message": "Failed to subscribe", "reason": "FOO-BAR is not a valid product"},
            ["FOO-BAR"],
            None,
            ConfigurationError,
        ),
        ("coinbaseexchange", {"type": "error", "message": "rate limit exceeded"}, (), None, RetryLater),
        (
            "kraken",
            kraken("subscribe", error="Currency pair not supported FOO/BAR", symbol="FOO/BAR", success=False, req_id=3),
            ["FOO/BAR"],
            3,
            ConfigurationError,
        ),
        (
            "kraken",
            kraken("subscribe", error="Exceeded msg rate", success=False, req_id=3),
            [],
            3,
            RetryLater,
        ),
        (
            "okx",
            okx("error", code="60018", msg="Wrong URL or channel:trades-all,instId:FOO-BAR doesn't exist."),
            ["FOO-BAR"],
            None,
            ConfigurationError,
        ),
        ("okx", okx("error", code="60012", msg='Illegal request: {"op":"x"}'), (), None, ConfigurationError),
        ("okx", okx("error", code="60014", msg="Requests too frequent"), (), None, RetryLater),
        ("bybit", bybit("subscribe", False, "Invalid symbol :[publicTrade.FOOBAR]"), (), 3, ConfigurationError),
        ("bybit", bybit("subscribe", False, "error:handler not found,topic:x"), (), 3, ConfigurationError),
        ("bybit", bybit("subscribe", False, "args size >10"), (), 3, ConfigurationError),
        ("bybit", bybit("subscribe", False, "Internal error"), (), 3, RetryLater),
    ],
)
def test_subscriptions_are_refused(
    exchange: str, message: Any, symbols: Any, request_: int | None, kind: type[Exception]
) -> None:
    event = hear(exchange, message)
    assert isinstance(event, Rejected), event
    assert isinstance(event.error, kind)
    assert str(event.error).startswith(f"{exchange}: ")
    assert (list(event.symbols), event.request) == (list(symbols), request_)


@pytest.mark.parametrize(
    ("exchange", "message"),
    [
        ("coinbaseexchange", {"type": "heartbeat", "sequence": 90, "last_trade_id": 20, "product_id": "BTC-USDT"}),
        ("kraken", {"channel": "heartbeat"}),
        ("kraken", kraken("pong", req_id=3)),
        ("kraken", kraken("unsubscribe", result={"channel": "trade", "symbol": "BTC/USDT"}, success=True)),
        ("kraken", kraken("unsubscribe", error="Subscription Not Found", symbol="BTC/USDT", success=False)),
        ("kraken", {"channel": "status", "type": "update", "data": [{"api_version": "v2", "system": "online"}]}),
        ("okx", "pong"),
        ("okx", okx("unsubscribe", arg=ARGUMENT)),
        ("okx", okx("notice", code="1", msg="of no interest")),
        ("okx", okx("channel-conn-count", channel="trades-all", connCount="1")),
        ("bybit", bybit("ping", True, "pong", "")),
        ("bybit", {"op": "pong", "args": ["1675418560633"], "conn_id": "c", "req_id": ""}),
        ("bybit", bybit("unsubscribe", True, "")),
    ],
)
def test_some_messages_are_of_no_interest(exchange: str, message: Any) -> None:
    assert hear(exchange, message) is None


@pytest.mark.parametrize(
    ("exchange", "message"),
    [
        ("binance", {"e": "serverShutdown", "E": RECEIVED}),
        ("kraken", {"channel": "status", "type": "update", "data": [{"api_version": "v2", "system": "maintenance"}]}),
        ("okx", okx("notice", code="64008", msg="The connection will soon be closed for a service upgrade.")),
    ],
)
def test_an_exchange_says_that_it_leaves(exchange: str, message: Any) -> None:
    assert isinstance(hear(exchange, message), Leaving)


@pytest.mark.parametrize(
    ("exchange", "old", "new"),
    [
        ("binance", '"data":', '"data":'),
        ("coinbaseexchange", '"match"', '"last_match"'),
        ("coinbaseexchange", '{"type":"match",', '{ "type": "match", '),
        ("kraken", '"update"', '"snapshot"'),
        ("bybit", '"snapshot"', '"delta"'),
    ],
)
def test_older_trades_are_trades(exchange: str, old: str, new: str) -> None:
    message = DIALECTS[exchange].live(ROWS)[0].decode()
    event, same = hear(exchange, message.replace(old, new)), hear(exchange, message)
    assert isinstance(event, Trades)
    assert event == same


def test_messages_of_binance_need_no_wrapping() -> None:
    message = json.loads(DIALECTS["binance"].live(ROWS)[0])
    assert hear("binance", message["data"]) == hear("binance", message)


@pytest.mark.parametrize(
    ("exchange", "old", "new", "symbol"),
    [
        ("binance", '"aggTrade"', '"trade"', "BTCUSDT"),
        ("coinbaseexchange", '"match"', '"received"', "BTC-USDT"),
        ("kraken", '"trade"', '"ticker"', "BTC/USDT"),
        ("okx", '"trades-all"', '"trades"', "BTC-USDT"),
        ("bybit", '"publicTrade.', '"tickers.', "tickers.BTCUSDT"),
    ],
)
def test_messages_of_other_kinds_are_not_read(exchange: str, old: str, new: str, symbol: str) -> None:
    event = hear(exchange, DIALECTS[exchange].live(ROWS)[0].decode().replace(old, new))
    assert isinstance(event, Unread), event
    assert event.symbol == symbol


@pytest.mark.parametrize("exchange", ["okx", "bybit"])
def test_a_page_of_another_market_is_refused(exchange: str) -> None:
    trades, refused = made(exchange).read_page(DIALECTS[exchange].page(ROWS), "ETH", RECEIVED)
    assert not trades
    assert [one.reason for one in refused] == ["other_market"] * 2


@pytest.mark.parametrize(("exchange", "symbol"), [("kraken", "BTC/USDT"), ("okx", "BTC-USDT"), ("bybit", "BTCUSDT")])
def test_a_row_of_another_market_is_refused(exchange: str, symbol: str) -> None:
    before, last, after = DIALECTS[exchange].live(ROWS)[0].decode().rpartition(f'"{symbol}"')
    event = hear(exchange, before + last.replace("BTC", "ETH") + after)
    assert isinstance(event, Trades)
    assert event.symbol == symbol
    assert ([trade.id for trade in event.trades], [one.reason for one in event.refused]) == (["7"], ["other_market"])


@pytest.mark.parametrize(
    ("exchange", "subscribe", "unsubscribe"),
    [
        (
            "binance",
            {"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 3},
            {"method": "UNSUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 3},
        ),
        (
            "coinbaseexchange",
            {"type": "subscribe", "product_ids": ["BTC-USDT"], "channels": ["matches"]},
            {"type": "unsubscribe", "product_ids": ["BTC-USDT"], "channels": ["matches"]},
        ),
        (
            "kraken",
            {
                "method": "subscribe",
                "params": {"channel": "trade", "symbol": ["BTC/USDT"], "snapshot": False},
                "req_id": 3,
            },
            {"method": "unsubscribe", "params": {"channel": "trade", "symbol": ["BTC/USDT"]}, "req_id": 3},
        ),
        ("okx", {"op": "subscribe", "args": [ARGUMENT]}, {"op": "unsubscribe", "args": [ARGUMENT]}),
        (
            "bybit",
            {"op": "subscribe", "args": ["publicTrade.BTCUSDT"], "req_id": "3"},
            {"op": "unsubscribe", "args": ["publicTrade.BTCUSDT"], "req_id": "3"},
        ),
    ],
)
def test_what_is_sent(exchange: str, subscribe: Any, unsubscribe: Any) -> None:
    wire = made(exchange)
    symbols = [wire.symbol(MARKET)]
    assert json.loads(wire.subscribe(symbols, 3)) == subscribe
    assert json.loads(wire.unsubscribe(symbols, 3)) == unsubscribe


@pytest.mark.parametrize(
    ("exchange", "at", "path", "params"),
    [
        ("binance", None, "/aggTrades", {"symbol": "BTCUSDT", "limit": 9}),
        ("binance", 0, "/aggTrades", {"symbol": "BTCUSDT", "limit": 9, "fromId": 0}),
        ("coinbaseexchange", None, "/products/BTC-USDT/trades", {"limit": 9}),
        ("coinbaseexchange", 70, "/products/BTC-USDT/trades", {"limit": 9, "after": 70}),
        ("kraken", None, "/0/public/Trades", {"pair": "XBTUSDT", "count": 9}),
        ("kraken", 0, "/0/public/Trades", {"pair": "XBTUSDT", "count": 9, "since": 0}),
        ("kraken", 1_000, "/0/public/Trades", {"pair": "XBTUSDT", "count": 9, "since": 999_999_999}),
        ("okx", None, "/api/v5/market/history-trades", {"instId": "BTC-USDT", "type": "1", "limit": 9}),
        ("okx", 70, "/api/v5/market/history-trades", {"instId": "BTC-USDT", "type": "1", "limit": 9, "after": 70}),
        ("bybit", None, "/v5/market/recent-trade", {"category": "spot", "symbol": "BTCUSDT", "limit": 9}),
    ],
)
def test_what_is_asked(exchange: str, at: int | None, path: str, params: Any) -> None:
    wire = made(exchange)
    request = wire.ask(wire.symbol(MARKET), at, 9)
    assert (request.path, request.params) == (path, params)


def test_kraken_knows_the_pairs_that_are_listed() -> None:
    wire = WIRES["kraken"]()
    listing = wire.listing()
    assert listing is not None
    assert listing.path == "/0/public/AssetPairs"
    pairs = {"XDGUSD": {"altname": "XDGUSD", "wsname": "XDG/USD"}, "X.d": {"altname": "X.d"}}
    wire.learn(json.dumps({"error": [], "result": pairs}).encode())
    assert wire.ask("DOGE/USD", None, 1).params["pair"] == "XDGUSD"
    with pytest.raises(ConfigurationError, match="no such pair"):
        wire.ask("BTC/USDT", None, 1)
    with pytest.raises(RetryLater, match="EService:Unavailable"):
        wire.learn(b'{"error":["EService:Unavailable"]}')


@pytest.mark.parametrize(
    ("exchange", "body", "kind"),
    [
        ("kraken", {"error": ["EQuery:Unknown asset pair"]}, ConfigurationError),
        ("kraken", {"error": ["EGeneral:Invalid arguments"]}, ConfigurationError),
        ("kraken", {"error": ["EService:Unavailable"]}, RetryLater),
        ("kraken", {"error": ["EGeneral:Too many requests"]}, RetryLater),
        ("okx", {"code": "51001", "msg": "Instrument ID does not exist", "data": []}, ConfigurationError),
        ("okx", {"code": "50011", "msg": "Too Many Requests", "data": []}, RetryLater),
        ("bybit", {"retCode": 10001, "retMsg": "Not supported symbols", "result": {}}, ConfigurationError),
        ("bybit", {"retCode": 10006, "retMsg": "Too many visits!", "result": {}}, RetryLater),
    ],
)
def test_an_answer_can_be_an_error_though_its_status_is_not(exchange: str, body: Any, kind: type[Exception]) -> None:
    wire = made(exchange)
    with pytest.raises(kind, match=f"^{exchange}: "):
        wire.read_page(json.dumps(body).encode(), wire.symbol(MARKET), RECEIVED)


@pytest.mark.parametrize(
    ("exchange", "status", "body", "kind"),
    [
        ("binance", 400, {"code": -1121, "msg": "Invalid symbol."}, ConfigurationError),
        ("binance", 400, {"code": -1100, "msg": "Illegal characters found in parameter."}, ConfigurationError),
        ("binance", 400, {"code": -1003, "msg": "Too much request weight used."}, RetryLater),
        ("binance", 503, {"code": -1001, "msg": "Internal error."}, None),
        ("coinbaseexchange", 404, {"message": "NotFound"}, ConfigurationError),
        ("coinbaseexchange", 500, {"message": "Internal server error"}, None),
        ("kraken", 500, {"error": []}, None),
        ("okx", 400, {"code": "51001", "msg": "Instrument ID does not exist"}, ConfigurationError),
        ("okx", 503, {"code": "50001", "msg": "Service temporarily unavailable"}, RetryLater),
        ("bybit", 403, {}, None),
    ],
)
def test_what_a_status_means(exchange: str, status: int, body: Any, kind: type[Exception] | None) -> None:
    error = made(exchange).error(status, json.dumps(body).encode())
    assert type(error) is (kind or type(None))
