"""Streams as a worker process runs them: its event loop, its storage with a spool, a collector for each market.

python -m bench.ingest_ours (native|ccxt) HOST:PORT REDIS_URL MARKET [MARKET …]
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvloop

from collection.data_collectors import CollectorFactory
from collection.setting_groups import ExchangeSettings
from collection.settings import Settings
from collection.storage import open_storage

HAS_NATIVE = "client" in ExchangeSettings.model_fields


async def main(client: str, address: str, url: str, *markets: str) -> None:
    exchange: dict[str, Any] = {
        "urls": {
            "public": f"http://{address}/api/v3",
            "ws": {"spot": f"ws://{address}/stream" + ("/ws" if client == "ccxt" else "")},
        },
        "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
        "transport": "stream",
    }
    if HAS_NATIVE:
        exchange["client"] = "ccxt" if client == "ccxt" else "auto"
    factory = CollectorFactory(Settings(exchanges={"binance": ExchangeSettings(**exchange)}))
    storage = open_storage(url, spool=Path("spool"))
    try:
        await asyncio.gather(*(factory.build(f"trades:binance:{market}").run(storage) for market in markets))
    finally:
        await factory.clients.close()
        storage.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
