"""What one would write first with ccxt.pro: a loop for each market that adds what came to a Redis stream.

python -m bench.ingest_ccxt HOST:PORT REDIS_URL MARKET [MARKET …]
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import ccxt.pro
import redis.asyncio
import uvloop


async def main(address: str, url: str, *markets: str) -> None:
    exchange = ccxt.pro.binance(
        {
            "urls": {"api": {"public": f"http://{address}/api/v3", "ws": {"spot": f"ws://{address}/stream/ws"}}},
            "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
        }
    )
    client = redis.asyncio.from_url(url)
    await exchange.load_markets()
    await asyncio.gather(*(collect(exchange, client, market) for market in markets))


async def collect(exchange: Any, client: Any, market: str) -> None:
    while True:
        trades = await exchange.watch_trades(market)
        async with client.pipeline(transaction=False) as pipe:
            for trade in trades:
                fields = {name: trade[name] for name in ("id", "timestamp", "side", "price", "amount")}
                pipe.xadd(f"trades-binance-{market}", fields)
            await pipe.execute()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
