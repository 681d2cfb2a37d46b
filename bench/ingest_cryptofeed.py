"""cryptofeed as its documentation has it: Binance's trades to Redis streams.

Run by the Python that has it: python ingest_cryptofeed.py HOST:PORT REDIS_URL MARKET [MARKET …]
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Any

import cryptofeed.connection as connection
from cryptofeed import FeedHandler
from cryptofeed.backends.redis import TradeStream
from cryptofeed.defines import TRADES
from cryptofeed.exchanges import Binance
from websockets.asyncio.client import connect


def main() -> None:
    address, url, *markets = sys.argv[1:]
    Binance.websocket_endpoints = [connection.WebsocketEndpoint(f"wss://{address}")]
    routes = connection.Routes("/api/v3/exchangeInfo")
    Binance.rest_endpoints = [connection.RestEndpoint(f"http://{address}", routes=routes)]
    connection.connect = partial(_connect, connect)  # it takes no address but wss://
    backend = TradeStream()
    backend.redis = url  # it makes no URL of a Unix socket or a password
    symbols = [market.replace("/", "-") for market in markets]
    handler = FeedHandler()  # which takes uvloop, of which newer versions make no loop by themselves
    asyncio.set_event_loop(asyncio.new_event_loop())
    handler.add_feed(Binance(symbols=symbols, channels=[TRADES], callbacks={TRADES: backend}))
    handler.run()


def _connect(connect: Any, address: str, **options: Any) -> Any:
    return connect(address.replace("wss://", "ws://"), **options)


if __name__ == "__main__":
    main()
