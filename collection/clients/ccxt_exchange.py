"""ccxt's object of an exchange, kept to reading: exact digits, every row, and nothing dropped in silence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from collection.clients.base import Refused
from collection.clients.budget import Budget, Rate
from collection.clients.ccxt_import import exchange_class
from collection.errors import RecordRefused
from collection.names import streams_trades
from collection.records import Trade, identified
from collection.setting_groups import ExchangeSettings
from collection.storage.values import integer_id

TIMEOUT = 15.0
"""Seconds for one HTTP request."""
FUTURE_MS = 60_000
"""A trade further ahead of this machine's clock is refused."""


_AGGREGATES = {"watchTrades": {"name": "aggTrade"}, "watchTradesForSymbols": {"name": "aggTrade"}}
_ALL_TRADES = {"watchTrades": {"channel": "trades-all"}}
SAME_TRADES: dict[str, dict[str, Any]] = {
    "binance": _AGGREGATES,
    "binanceus": _AGGREGATES,
    "binanceusdm": _AGGREGATES,
    "binancecoinm": _AGGREGATES,
    # The channel `trades` has one message for what one order took at one price, with the id of the last trade.
    "okx": _ALL_TRADES,
    "okxus": _ALL_TRADES,
    "myokx": _ALL_TRADES,
}
"""Options with which ccxt streams the same trades, under the same ids, that it reads over REST."""
SAME_IDS = {
    # https://www.htx.com/en-us/opend/newApiPages/?id=7ec53b69-7773-11ed-9966-0242ac110003
    "htx": ("tradeId", "trade-id"),
    # https://www.kucoin.com/docs-new/3470072w0: live, the two are equal; over REST, there is only this one.
    "kucoin": ("sequence", "tradeId"),
    "kucoinfutures": ("sequence", "tradeId"),
}
"""Where live trades and those of REST have the same id under other names: what ccxt overlooks, and where it looks."""


class Unreadable(NamedTuple):
    """A row that ccxt could not read."""

    source: str
    error: str


def make_exchange(exchange: str, settings: ExchangeSettings) -> Any:
    """Make ccxt's object of an exchange, with what ccxt does to trades beyond reading them turned off."""
    secrets = {"apiKey": settings.api_key, "secret": settings.secret, "password": settings.password}
    config: dict[str, Any] = {name: value.get_secret_value() for name, value in secrets.items() if value}
    if settings.proxy:
        proxy = settings.proxy.get_secret_value()
        scheme = proxy.partition("://")[0]
        config["socksProxy" if scheme.startswith("socks") else f"{scheme}Proxy"] = proxy
        config[{"http": "wsProxy", "https": "wssProxy"}.get(scheme, "wsSocksProxy")] = proxy
    if settings.urls:
        config["urls"] = {"api": settings.urls}
    kind = exchange_class(exchange, pro=streams_trades(exchange))
    options = kind.deep_extend(SAME_TRADES.get(exchange, {}), settings.options)
    made = kind({**config, "options": options, "timeout": TIMEOUT * 1000})

    def parse_trades(rows: Any, market: Any = None, *_: Any, **__: Any) -> list[Any]:
        # ccxt's own filters by `since` and cuts to `limit`: repeated rows push others out, unread ones vanish.
        return [_attempt(made, row, market) for row in made.to_array(rows)]

    fetch = made.fetch

    async def fetch_json(*args: Any, **named: Any) -> Any:
        # An answer that is no JSON (cut off, a firewall's page) comes back as text, in which ccxt finds no trades.
        answer = await fetch(*args, **named)
        if not isinstance(answer, dict | list):
            raise TypeError(f"no JSON: {str(answer)[:100]!r}")
        return answer

    if exchange in SAME_IDS:
        made.parse_trade = _with_same_id(made.parse_trade, *SAME_IDS[exchange])
    made.parse_trades = parse_trades
    made.fetch = fetch_json
    # ccxt's parser makes floats of numbers: digits are lost, and ids of more than 64 bits become one another.
    made.on_json_response = lambda text: json.loads(text, parse_float=str)
    return made


def wait_for(budgets: Callable[[str, Rate], Budget], made: Any) -> None:
    """Have each request of ccxt's object wait for a budget: its own throttle knows of no other process.

    ccxt's `rateLimit` is in milliseconds for each unit of cost.
    """
    seconds = made.rateLimit / 1000
    units = max(1.0, 1 / seconds)  # a second's, or one
    budget = budgets(f"{made.id}:ccxt", Rate(units, units * seconds))

    async def throttle(cost: float | None = None) -> None:
        await budget.take(1.0 if cost is None else cost)

    made.throttle = throttle


def read_trades(rows: Iterable[Any], market: str, received: int, numbered: bool) -> tuple[list[Trade], list[Refused]]:
    """Turn what ccxt read of one message into records, and say what of it is refused.

    `numbered` says whether each trade must have an integer id.
    """
    trades, refused = [], []
    for row in rows:
        try:
            trade = read_trade(row, market, received)
            if numbered and integer_id(trade.id) is None:
                raise RecordRefused("no_id", repr(row.get("info"))[:500])
            trades.append(trade)
        except RecordRefused as error:
            number = row.get("id") if isinstance(row, dict) else None
            refused.append(Refused(error.reason, str(error), str(number or "")))
    return identified(trades), refused


def read_trade(row: Any, market: str, received: int) -> Trade:
    """Turn what ccxt read of a trade into a record; raises RecordRefused for what can't have been published."""
    if isinstance(row, Unreadable):
        raise RecordRefused("unreadable", f"{row.source} ({row.error})")
    if not isinstance(row, dict):
        raise RecordRefused("unreadable", repr(row)[:500])
    try:
        return _trade(row, market, received)
    except ValueError as error:
        raise RecordRefused(str(error), repr(row.get("info"))[:500]) from None


def _trade(row: Any, market: str, received: int) -> Trade:
    """As `read_trade`, but raises ValueError with the reason alone."""
    timestamp, side = row.get("timestamp"), row.get("side")
    if row.get("symbol") != market:
        raise ValueError("other_market")
    if not isinstance(timestamp, int) or timestamp <= 0:
        raise ValueError("no_time")
    if timestamp > received + FUTURE_MS:
        raise ValueError("in_the_future")
    price, amount = _decimal(row.get("price"), "price"), _decimal(row.get("amount"), "amount")
    if price <= 0:
        raise ValueError("bad_price")
    if amount < 0:
        raise ValueError("negative_amount")
    if side not in ("buy", "sell", None):
        raise ValueError("bad_side")
    return Trade(timestamp, str(row.get("id") or ""), side, price, amount, received)


def _with_same_id(parse_trade: Callable[..., Any], overlooked: str, name: str) -> Callable[..., Any]:
    def parse(row: Any, market: Any = None) -> Any:
        if isinstance(row, dict) and overlooked in row and name not in row:
            row = {**row, name: row[overlooked]}
        return parse_trade(row, market)

    return parse


def _attempt(exchange: Any, row: Any, market: Any) -> Any:
    try:
        return exchange.parse_trade(row, market)
    except Exception as error:  # ccxt's parsers fail in many ways; one row must not take the others with it
        return Unreadable(repr(row)[:500], repr(error))


def _decimal(text: Any, field: str) -> Decimal:
    if text is None or text == "":
        raise ValueError(f"no_{field}")
    try:
        number = Decimal(text)
    except (InvalidOperation, TypeError, ValueError):
        raise ValueError(f"bad_{field}") from None
    if not number.is_finite():
        raise ValueError(f"bad_{field}")
    return number
