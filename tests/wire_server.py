"""A WebSocket server that says what a test tells it to, for the protocols that the simulator does not speak."""

from __future__ import annotations

import json
from typing import Any, Self

from aiohttp import WSMsgType, web

from collection.clients.ccxt_client import CCXTClient
from collection.clients.ccxt_exchange import make_exchange
from collection.setting_groups import ExchangeSettings
from tests.simulation import until


class WireServer:
    """Keeps what clients send, and sends them what it is given."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.url = ""
        self.pings = 0
        self.answers_pings = True
        self.connected = 0
        """How often anybody connected."""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([web.get("/{path:.*}", self._connect)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for socket in self.sockets:
            await socket.close()
        await self._runner.cleanup()

    async def _connect(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=0.1, autoping=False)
        await socket.prepare(request)
        self.sockets.append(socket)
        self.connected += 1
        async for message in socket:
            if message.type == WSMsgType.PING:
                self.pings += 1
                if self.answers_pings:
                    await socket.pong(message.data)
            elif message.type == WSMsgType.TEXT:
                self.received.append(json.loads(message.data) if message.data[0] in "{[" else message.data)
        self.sockets.remove(socket)
        return socket

    async def say(self, *messages: Any) -> None:
        """Send texts, bytes or what becomes JSON, to all that are connected."""
        for socket in list(self.sockets):
            for message in messages:
                if isinstance(message, bytes):
                    await socket.send_bytes(message)
                else:
                    await socket.send_str(message if isinstance(message, str) else json.dumps(message))

    async def asked(self, *words: str) -> None:
        """Wait until a message came in which all the words are."""
        await until(lambda: any(all(word in str(message) for word in words) for message in list(self.received)))


def wire_client(exchange: str, urls: dict[str, Any], markets: dict[str, str], **options: Any) -> CCXTClient:
    """A client that knows the markets, by symbol, without asking for them; `urls` are as in ccxt's `urls["api"]`."""
    client = CCXTClient(exchange, ExchangeSettings(urls=urls, options=options))
    client._ccxt = wire_exchange(make_exchange(exchange, client._settings), markets)
    client._ccxt.number = str
    return client


def wire_exchange(made: Any, markets: dict[str, str]) -> Any:
    """ccxt's object, that knows the markets."""
    rows = []
    for symbol, id in markets.items():
        base, quote = symbol.split("/")
        names = {"symbol": symbol, "base": base, "quote": quote, "baseId": base, "quoteId": quote}
        kinds = {"type": "spot", "spot": True, **dict.fromkeys(("swap", "future", "option", "contract"), False)}
        rows.append(made.safe_market_structure({"id": id, "lowercaseId": id.lower(), **names, **kinds}))
    made.set_markets(rows)
    return made
