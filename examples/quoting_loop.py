"""A quoting loop: a bid and an ask around each price that is published, withdrawn while it can't be trusted.

python examples/quoting_loop.py BTC-USD ETH-USD      (all feeds where none is named)
"""

import asyncio
import contextlib
import sys
from decimal import Decimal

from collection.quotes import follow
from collection.settings import load_settings

SPREAD = Decimal("0.001")  # relative, half of it on either side


async def main(names: list[str]) -> None:
    async for quote in follow(load_settings().storage(), names):
        if quote.price is None or quote.status == "stale":
            print(f"{quote.name}: withdrawn, {quote.status}: {quote.reason}", flush=True)
            continue
        bid, ask = quote.price * (1 - SPREAD / 2), quote.price * (1 + SPREAD / 2)
        print(f"{quote.name}: bid {bid:.8g} ask {ask:.8g} {quote.status}", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1:]))
