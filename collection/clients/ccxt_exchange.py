"""ccxt's object of an exchange, kept to reading: exact digits, every row, and nothing dropped in silence."""

from __future__ import annotations

import importlib
import json
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from collection.errors import RecordRefused
from collection.records import Trade
from collection.settings import ExchangeSettings

TIMEOUT = 15.0
"""Seconds for one HTTP request."""
FUTURE_MS = 60_000
"""A trade further ahead of this machine's clock is refused."""


class Unreadable(NamedTuple):
    """A row that ccxt could not read."""

    source: str
    error: str


def make_exchange(exchange: str, settings: ExchangeSettings) -> Any:
    """Make ccxt's object of an exchange, with what ccxt does to trades beyond reading them turned off."""
    module = importlib.import_module(f"ccxt.async_support.{exchange}")
    secrets = {"apiKey": settings.api_key, "secret": settings.secret, "password": settings.password}
    config: dict[str, Any] = {name: value.get_secret_value() for name, value in secrets.items() if value}
    if settings.proxy:
        proxy = settings.proxy.get_secret_value()
        scheme = proxy.partition("://")[0]
        config["socksProxy" if scheme.startswith("socks") else f"{scheme}Proxy"] = proxy
    if settings.urls:
        config["urls"] = {"api": settings.urls}
    made = getattr(module, exchange)({**config, "options": settings.options, "timeout": TIMEOUT * 1000})

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

    made.parse_trades = parse_trades
    made.fetch = fetch_json
    # ccxt's parser makes floats of numbers: digits are lost, and ids of more than 64 bits become one another.
    made.on_json_response = lambda text: json.loads(text, parse_float=str)
    return made


def read_trade(row: Any, market: str, received: int) -> Trade:
    """Turn what ccxt read of a trade into a record; raises RecordRefused for what can't have been published."""
    if isinstance(row, Unreadable):
        raise RecordRefused("unreadable", f"{row.source} ({row.error})")
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
