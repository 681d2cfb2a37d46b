"""A Binance that costs little: trades at an even pace, each written to its socket alone, with the time of each kept.

Threads and blocking sockets, as its few connections need: a client is told nothing by it that the exchange would not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from array import array
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

FIRST = 3_000_000_000
"""The id of the first trade of each market."""
PRICES = [f"{64_000 + n * 0.37:.8f}" for n in range(97)]
AMOUNTS = [f"{0.0001 + n * 0.0173:.8f}" for n in range(101)]
KINDS = ("aggTrade", "trade")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA


class Connection:
    """A WebSocket, and which streams it subscribed to."""

    def __init__(self, sock: socket.socket, combined: bool) -> None:
        self._socket = sock
        self._combined = combined
        self._lock = threading.Lock()

    def send(self, payload: bytes, opcode: int = _TEXT) -> None:
        """Send a message, in one write."""
        size = len(payload)
        head = struct.pack("!BB", 0x80 | opcode, size) if size < 126 else struct.pack("!BBH", 0x80 | opcode, 126, size)
        with self._lock, suppress(OSError):  # whose reader notices
            self._socket.sendall(head + payload)

    def publish(self, stream: str, event: str) -> None:
        self.send((f'{{"stream":"{stream}","data":{event}}}' if self._combined else event).encode())


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
        self._server = _Server(("127.0.0.1", 0), _Handler)
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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    exchange: Exchange

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients are stopped in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if self.headers.get("Upgrade", "").lower() == "websocket":
            return self._listen(parts.path, parse_qs(parts.query).get("streams", [""])[0])
        body = self.server.exchange.answer(parts.path, parse_qs(parts.query)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def _listen(self, path: str, streams: str) -> None:
        self.close_connection = True
        accepted = base64.b64encode(hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + _GUID).digest()).decode()
        self.send_response(101)
        for name, value in {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accepted}.items():
            self.send_header(name, value)
        self.end_headers()
        connection = Connection(self.connection, combined="/ws" not in path)
        exchange = self.server.exchange
        exchange.subscribe(connection, [name for name in streams.split("/") if name])
        try:
            while (message := self._read()) is not None:
                opcode, payload = message
                if opcode == _PING:
                    connection.send(payload, _PONG)
                elif opcode == _TEXT:
                    request = json.loads(payload)
                    if request["method"] == "SUBSCRIBE":
                        exchange.subscribe(connection, request["params"])
                    connection.send(json.dumps({"result": None, "id": request["id"]}).encode())
        finally:
            exchange.forget(connection)

    def _read(self) -> tuple[int, bytes] | None:
        """Read a frame of the client; None at the end."""
        try:
            first, second = self.rfile.read(2)
            size = second & 0x7F
            if size > 125:
                size = int.from_bytes(self.rfile.read(2 if size == 126 else 8))
            mask = self.rfile.read(4)
            data = bytes(byte ^ mask[place % 4] for place, byte in enumerate(self.rfile.read(size)))
        except (OSError, ValueError):
            return None
        return None if first & 0xF == _CLOSE else (first & 0xF, data)


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
