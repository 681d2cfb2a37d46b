"""The JSON that Coinbase Exchange sends of trades and products; sides are the maker's.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
"""

from __future__ import annotations

from typing import Any

from collection.simulator.market import Market, Row
from collection.simulator.times import microseconds
from collection.simulator.views import step

PADDED = 8
"""Decimals of a number over REST."""
_MAKERS = {"buy": "sell", "sell": "buy"}


def sequence(id: int) -> int:
    """Return a trade's number in the feed: other messages of it, which nobody asked for, have those between."""
    return 7 * id + 11


def match(kind: str, market: Market, row: Row) -> str:
    """Return a message of the channel `matches`: a `match`, or the `last_match` again."""
    order = f"{row.id:08x}-0000-4000-8000-{row.timestamp:012x}"
    return (
        f'{{"type":"{kind}","trade_id":{row.id},"maker_order_id":"1{order[1:]}","taker_order_id":"2{order[1:]}",'
        f'"side":"{_MAKERS[row.side]}","size":"{row.amount}","price":"{row.price}",'
        f'"product_id":"{market.base}-{market.quote}","sequence":{sequence(row.id)},'
        f'"time":"{microseconds(row.timestamp)}"}}'
    )


def row_text(row: Row) -> str:
    """Return a row of a product's trades."""
    return (
        f'{{"trade_id":{row.id},"side":"{_MAKERS[row.side]}","size":"{_pad(row.amount)}","price":"{_pad(row.price)}",'
        f'"time":"{microseconds(row.timestamp)}"}}'
    )


def _pad(text: str) -> str:
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals:0<{PADDED}}"


def listing(id: str, market: Market) -> dict[str, Any]:
    """Return what `products` says of one."""
    return {
        "id": id,
        "base_currency": market.base,
        "quote_currency": market.quote,
        "quote_increment": step(market.price_decimals),
        "base_increment": step(market.amount_decimals),
        "display_name": f"{market.base}/{market.quote}",
        "min_market_funds": "1",
        "margin_enabled": False,
        "post_only": False,
        "limit_only": False,
        "cancel_only": False,
        "status": "online",
        "status_message": "",
        "trading_disabled": False,
        "fx_stablecoin": False,
        "auction_mode": False,
    }
