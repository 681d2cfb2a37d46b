"""A Binance that costs little: trades at an even pace, each written to its socket alone, with the time of each kept."""

from __future__ import annotations

import json
import threading
import time
from array import array
from typing import Any, Self

from bench.ingest_http import Connection, Handler, Server

FIRST = 3_000_000_000
"""The id of the first trade of each market."""
PRICES = [f"{64_000 + n * 0.37:.8f}" for n in range(97)]
AMOUNTS = [f"{0.0001 + n * 0.0173:.8f}" for n in range(101)]
KINDS = ("aggTrade", "trade")


class Market:
    """The trades of one market: all that differs between them is a function of their ids, but their times."""

    def __init__(self, number: int) -> None:
        self.base, self.quote = f"M{number:03}", "USDT"
        self.symbol = f"{self.base}{self.quote}"
        self.streams = {f"{self.symbol.lower()}@{kind}": kind for kind in KINDS}
        self.times = array("q")
        """When each was executed and sent, in Unix milliseconds."""
        self.sent = array("q")
        """The same by the monotonic clock, in nanoseconds."""

    def make(self) -> int:
        """Execute a trade now, and return its id."""
        self.times.append(time.time_ns() // 1_000_000)
        self.sent.append(time.monotonic_ns())
        return FIRST + len(self.times) - 1

    def row(self, id: int) -> str:
        """The part that an answer of REST and a message of a stream have in common."""
        side = "true" if id % 3 else "false"
        price, amount = PRICES[id % 97], AMOUNTS[id % 101]
        return f'"p":"{price}","q":"{amount}","f":{id},"l":{id},"T":{self.times[id - FIRST]},"m":{side},"M":true}}'

    def event(self, id: int, kind: str) -> str:
        letter = "a" if kind == "aggTrade" else "t"
        now = self.times[id - FIRST]
        return f'{{"e":"{kind}","E":{now},"s":"{self.symbol}","{letter}":{id},{self.row(id)}'


class Exchange:
    """`markets` markets, M000/USDT and so on, at a port of 127.0.0.1 of its own, from `with` to its end."""

    def __init__(self, markets: int) -> None:
        self.markets = [Market(number) for number in range(markets)]
        for market in self.markets:
            market.make()  # one that was there before
        self._by_symbol = {market.symbol: market for market in self.markets}
        self._subscribed: dict[str, list[Connection]] = {}
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.exchange = self
        self._pacer: threading.Thread | None = None
        self._pacing = False
        self.behind = 0.0
        """Seconds that the last trade was sent after it was due: a client that does not read holds the pace up."""

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    @property
    def names(self) -> list[str]:
        return [f"{market.base}/{market.quote}" for market in self.markets]

    @property
    def made(self) -> int:
        """How many trades were made since the beginning, but those that were there before."""
        return sum(len(market.times) - 1 for market in self.markets)

    @property
    def subscribed(self) -> int:
        """How many markets somebody listens to."""
        return len({name.partition("@")[0] for name, connections in self._subscribed.items() if connections})

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._server.shutdown()
        self._server.server_close()

    def start(self, rate: float) -> None:
        """Publish `rate` trades a second, evenly, market by market, until `stop`."""
        self._pacing = True
        self._pacer = threading.Thread(target=self._publish, args=(rate,), daemon=True)
        self._pacer.start()

    def stop(self) -> None:
        self._pacing = False
        if self._pacer:
            self._pacer.join()
            self._pacer = None

    def _publish(self, rate: float) -> None:
        began, number, count = time.monotonic(), 0, len(self.markets)
        while self._pacing:
            due = began + number / rate
            self.behind = time.monotonic() - due
            if self.behind < 0:
                time.sleep(-self.behind)
            market = self.markets[number % count]
            number += 1
            id = market.make()
            for stream, kind in market.streams.items():
                if connections := self._subscribed.get(stream):
                    event = market.event(id, kind)
                    for connection in connections:
                        connection.publish(stream, event)

    def subscribe(self, connection: Connection, streams: list[str]) -> None:
        for stream in streams:
            self._subscribed[stream] = [*self._subscribed.get(stream, ()), connection]

    def forget(self, connection: Connection) -> None:
        for stream, connections in self._subscribed.items():
            self._subscribed[stream] = [one for one in connections if one is not connection]

    def answer(self, path: str, asked: dict[str, list[str]]) -> str:
        """What REST says."""
        if path.endswith("/exchangeInfo"):
            return json.dumps({"timezone": "UTC", "rateLimits": [], "symbols": [*map(_listing, self.markets)]})
        if path.endswith("/aggTrades"):
            market = self._by_symbol[asked["symbol"][0]]
            limit, end = int(asked.get("limit", ["500"])[0]), FIRST + len(market.times)
            first = max(int(asked["fromId"][0]) if "fromId" in asked else end - limit, FIRST)
            rows = [f'{{"a":{id},{market.row(id)}' for id in range(first, min(first + limit, end))]
            return f"[{','.join(rows)}]"
        return json.dumps({"serverTime": time.time_ns() // 1_000_000})


def _listing(market: Market) -> dict[str, Any]:
    return {
        "symbol": market.symbol,
        "status": "TRADING",
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.0001", "maxQty": "90000000.00000000", "stepSize": "0.0001"},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }
