"""The JSON that Binance spot sends: rows, stream messages, symbols and order books.

REST: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
Streams: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import Any

from collection.simulator.market import Market, Row

TRADE_IDS = 250_000_000
"""How far the ids of trades are ahead of those of aggregate trades: on the exchange, too, the two differ."""
_EIGHT = Decimal("0.00000001")


def aggregate(row: Row) -> str:
    """A row of `aggTrades`."""
    trade = row.id + TRADE_IDS
    return (
        f'{{"a":{row.id},"p":"{row.price}","q":"{row.amount}","f":{trade},"l":{trade},'
        f'"T":{row.timestamp},"m":{"true" if row.side == "sell" else "false"},"M":true}}'
    )


def single(row: Row) -> str:
    """A row of `trades` and `historicalTrades`."""
    cost = (Decimal(row.price) * Decimal(row.amount)).quantize(_EIGHT, ROUND_DOWN)
    return (
        f'{{"id":{row.id + TRADE_IDS},"price":"{row.price}","qty":"{row.amount}","quoteQty":"{cost:f}",'
        f'"time":{row.timestamp},"isBuyerMaker":{"true" if row.side == "sell" else "false"},"isBestMatch":true}}'
    )


def event(market: Market, kind: str, row: Row, now: int) -> str:
    """A message of the stream `<symbol>@trade` or `<symbol>@aggTrade`, sent at `now`."""
    trade = row.id + TRADE_IDS
    ids = f'"t":{trade}' if kind == "trade" else f'"a":{row.id}'
    more = "" if kind == "trade" else f'"f":{trade},"l":{trade},'
    return (
        f'{{"e":"{kind}","E":{now},"s":"{market.symbol}",{ids},"p":"{row.price}","q":"{row.amount}",{more}'
        f'"T":{row.timestamp},"m":{"true" if row.side == "sell" else "false"},"M":true}}'
    )


def listing(market: Market) -> dict[str, Any]:
    """What `exchangeInfo` says of a symbol."""
    tick, lot = (f"{Decimal(1).scaleb(-places):f}" for places in (market.price_decimals, market.amount_decimals))
    return {
        "symbol": market.symbol,
        "status": "TRADING",
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "90000000.00000000", "stepSize": lot},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


def book(market: Market, last: Row | None, limit: int) -> dict[str, Any]:
    """An order book around the last trade: `limit` levels a side, one tick apart, amounts that follow from it."""
    tick, lot = Decimal(1).scaleb(-market.price_decimals), Decimal(1).scaleb(-market.amount_decimals)
    middle = Decimal(last.price if last else market.reference_price).quantize(tick)
    state = last.id if last else 0

    def level(number: int, sign: int) -> list[str]:
        units = 1 + (state * 31 + number * 7919 + sign) % 997
        return [f"{(middle + sign * number * tick).quantize(_EIGHT):f}", f"{(units * lot).quantize(_EIGHT):f}"]

    depth = min(limit, int(middle / tick) - 1)
    return {
        "lastUpdateId": state,
        "bids": [level(number, -1) for number in range(1, depth + 1)],
        "asks": [level(number, 1) for number in range(1, limit + 1)],
    }
