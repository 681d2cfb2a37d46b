"""The JSON that Kraken sends of trades and pairs, and what it calls them.

Old assets have a prefix, and outside the WebSocket's version 2 Bitcoin is XBT and Dogecoin XDG.

https://docs.kraken.com/api-reference/market-data/get-tradable-asset-pairs
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collection.simulator.market import Market, Row
from collection.simulator.times import microseconds, nanoseconds

_ALTNAMES = {"BTC": "XBT", "DOGE": "XDG"}
_COINS = ("BTC", "DOGE", "ETC", "ETH", "LTC", "XLM", "XMR", "XRP", "ZEC")
_FIAT = ("AUD", "CAD", "EUR", "GBP", "JPY", "USD")
_UNPREFIXED_PAIRS = ("AUD", "DOGE")
_LEAST_DECIMALS = (5, 8)
"""Of a price and a volume over REST."""


def asset_names(asset: str) -> tuple[str, str]:
    """Return an asset's id and its other name: `XXBT` and `XBT` of BTC, twice the same of new ones."""
    name = _ALTNAMES.get(asset, asset)
    prefix = "X" if asset in _COINS else "Z" if asset in _FIAT else ""
    return prefix + name, name


def altname(market: Market) -> str:
    """Return `XBTUSD` of BTC/USD."""
    return asset_names(market.base)[1] + asset_names(market.quote)[1]


def wsname(market: Market) -> str:
    """Return `XBT/USD` of BTC/USD."""
    return f"{asset_names(market.base)[1]}/{asset_names(market.quote)[1]}"


def pair_id(market: Market) -> str:
    """Return `XXBTZUSD` of BTC/USD: pairs of old coins against old money have the ids of both, all others none."""
    old = market.base in _COINS and (market.quote in _FIAT or market.quote == "BTC")
    if not old or market.base in _UNPREFIXED_PAIRS or market.quote in _UNPREFIXED_PAIRS:
        return altname(market)
    return asset_names(market.base)[0] + asset_names(market.quote)[0]


def message(kind: str, market: Market, rows: Sequence[Row]) -> str:
    """Return a message of the channel `trade`: a `snapshot` or an `update`."""
    return f'{{"channel":"trade","type":"{kind}","data":[{",".join([_event(market, row) for row in rows])}]}}'


def _event(market: Market, row: Row) -> str:
    return (
        f'{{"symbol":"{market.name}","side":"{row.side}","price":{_number(row.price)},"qty":{_number(row.amount)},'
        f'"ord_type":"{"limit" if row.id % 3 else "market"}","trade_id":{row.id},'
        f'"timestamp":"{microseconds(row.timestamp)}"}}'
    )


def _number(text: str) -> str:
    return text if "." in text else f"{text}.0"


def row_text(market: Market, row: Row) -> str:
    """Return a row of `Trades`."""
    seconds, rest = divmod(nanoseconds(row.timestamp), 10**9)
    price, amount = _LEAST_DECIMALS
    return (
        f'["{_padded(row.price, max(price, market.price_decimals))}",'
        f'"{_padded(row.amount, max(amount, market.amount_decimals))}",'
        f'{seconds}.{rest // 100:07d},"{row.side[0]}","{"l" if row.id % 3 else "m"}","",{row.id}]'
    )


def _padded(text: str, decimals: int) -> str:
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest:0<{decimals}}"


def listing(market: Market) -> dict[str, Any]:
    """Return what `AssetPairs` says of a pair."""
    base, quote = asset_names(market.base)[0], asset_names(market.quote)[0]
    return {
        "altname": altname(market),
        "wsname": wsname(market),
        "aclass_base": "currency",
        "base": base,
        "aclass_quote": "currency",
        "quote": quote,
        "lot": "unit",
        "pair_decimals": market.price_decimals,
        "lot_decimals": market.amount_decimals,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.4]],
        "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD",
        "ordermin": "0.0001",
        "status": "online",
    }
