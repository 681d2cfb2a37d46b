"""The connections of native clients, with a server that says what a test tells it to; the protocol is Binance's."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server
from pydantic import SecretStr

from collection.clients import Live, Start, TradeStream, dialling, socket
from collection.clients.binance import Binance
from collection.clients.budget import LocalBudget, Rate
from collection.clients.native_client import NativeClient
from collection.errors import ConfigurationError, RetryLater
from collection.setting_groups import ExchangeSettings
from tests.simulation import until
from tests.wire_server import WireServer

MARKETS = ["AAA/USDT", "BBB/USDT", "CCC/USDT"]


@contextlib.asynccontextmanager
async def connected(url: str, wire: Binance | None = None) -> AsyncIterator[NativeClient]:
    settings = ExchangeSettings(urls={"ws": {"spot": url}, "public": "http://127.0.0.1:9"})
    client = NativeClient(wire or Binance(), settings, lambda _, rate: LocalBudget(rate))
    yield client
    await client.close()


def aggregate(id: int, symbol: str = "AAAUSDT", **changed: Any) -> dict[str, Any]:
    row = {"e": "aggTrade", "s": symbol, "a": id, "p": "1.50", "q": "2", "T": 1_600_000_000_000 + id, "m": False}
    return {"stream": f"{symbol.lower()}@aggTrade", "data": row | changed}


async def answer(server: WireServer, request: int = 1, error: str = "") -> None:
    """Wait for a request and answer it."""
    await until(lambda: any(one.get("id") == request for one in server.received))
    await server.say({"error": {"code": 2, "msg": error}, "id": request} if error else {"result": None, "id": request})


async def some(stream: TradeStream) -> Live:
    async with asyncio.timeout(5):
        return await stream.next()


async def until_trades(stream: TradeStream) -> Live:
    while not (live := await some(stream)).trades:
        pass
    return live


async def test_markets_share_a_socket_and_a_message_and_the_last_one_hangs_up() -> None:
    async with WireServer() as server, connected(server.url) as client:
        streams = [client.stream_trades(market) for market in MARKETS]
        await answer(server)
        assert [(await some(stream)).fresh for stream in streams] == [True] * 3
        assert server.connected == 1
        assert sorted(server.received[0]["params"]) == ["aaausdt@aggTrade", "bbbusdt@aggTrade", "cccusdt@aggTrade"]
        await server.say(aggregate(7), aggregate(8, "BBBUSDT"))
        assert [(await until_trades(stream)).trades[0].id for stream in streams[:2]] == ["7", "8"]
        for stream in streams[:2]:
            await stream.close()
        await server.asked("UNSUBSCRIBE", "aaausdt")
        assert server.sockets
        await streams[2].close()
        await until(lambda: not server.sockets)


async def test_a_second_stream_of_a_market_is_fresh_at_once() -> None:
    async with WireServer() as server, connected(server.url) as client, client.stream_trades(MARKETS[0]) as first:
        await answer(server)
        await some(first)
        async with client.stream_trades(MARKETS[0]) as second:
            assert (await some(second)).fresh
            await server.say(aggregate(7))
            assert (await until_trades(first)).trades == (await until_trades(second)).trades
        assert len(server.received) == 1


async def test_there_are_no_more_markets_on_a_socket_than_the_exchange_allows() -> None:
    wire = Binance()
    wire.limits = wire.limits._replace(markets=2, together=1)  # type: ignore[misc]
    async with WireServer() as server, connected(server.url, wire) as client:
        for market in MARKETS:
            client.stream_trades(market)
        await until(lambda: len(server.received) == 3)
        assert server.connected == 2
        assert all(len(message["params"]) == 1 for message in server.received)


async def test_no_more_messages_are_sent_than_the_exchange_allows() -> None:
    wire = Binance()
    wire.limits = wire.limits._replace(together=1, messages=Rate(2, 0.5))  # type: ignore[misc]
    async with WireServer() as server, connected(server.url, wire) as client:
        began = asyncio.get_running_loop().time()
        for number in range(5):
            client.stream_trades(f"A{number}/USDT")
        await until(lambda: len(server.received) == 5)
        assert asyncio.get_running_loop().time() - began > 0.7


async def test_one_refused_market_does_not_take_others_with_it() -> None:
    async with WireServer() as server, connected(server.url) as client:
        good, bad = client.stream_trades(MARKETS[0]), client.stream_trades(MARKETS[1])
        await answer(server, 1, "Invalid request: invalid stream")
        await answer(server, 2)
        await answer(server, 3, "Invalid request: invalid stream")
        assert (await some(good)).fresh
        with pytest.raises(ConfigurationError, match="invalid stream"):
            await some(bad)


async def test_a_request_that_is_not_answered_is_made_again_on_another_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "ANSWERED", 0.2)
    async with WireServer() as server, connected(server.url) as client, client.stream_trades(MARKETS[0]) as stream:
        await until(lambda: server.connected == 2)
        server.received.clear()
        await answer(server, 1 + server.connected - 1)
        assert (await some(stream)).fresh


async def test_a_market_that_is_opened_again_at_once_is_fresh_again() -> None:
    async with WireServer() as server, connected(server.url) as client, client.stream_trades(MARKETS[1]) as other:
        async with client.stream_trades(MARKETS[0]) as first:
            await answer(server)
            assert (await some(first)).fresh
            assert (await some(other)).fresh
        async with client.stream_trades(MARKETS[0]) as again:
            await server.asked("UNSUBSCRIBE", "aaausdt")
            await answer(server, 3)
            assert (await some(again)).fresh
            assert again.live
        assert server.connected == 1


async def test_a_market_that_the_exchange_says_nothing_of_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "ANSWERED", 0.2)
    async with WireServer() as server, connected(server.url) as client, client.stream_trades(MARKETS[0]) as good:
        await answer(server)
        assert (await some(good)).fresh
        async with client.stream_trades(MARKETS[1]) as ignored, client.stream_trades(MARKETS[2]) as late:
            await answer(server, 4)  # 2 was for both, 3 and 4 for each
            assert (await some(late)).fresh
            with pytest.raises(RetryLater, match="is not answered"):
                await some(ignored)
        assert good.live
        assert server.connected == 1


async def test_a_proxy_that_fails_is_tried_less_and_less_and_its_password_is_never_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tried
        tried += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
    address = f"http://user:s3cret@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    settings = ExchangeSettings(proxy=SecretStr(address))
    client = NativeClient(Binance(), settings, lambda _, rate: LocalBudget(rate))
    with pytest.raises(RetryLater, match="407") as caught:
        await client.fetch_trades(MARKETS[0], Start("now"))
    client.stream_trades(MARKETS[0])
    await until(lambda: "connecting in" in caplog.text)
    await asyncio.sleep(0.5)
    assert tried < 10
    assert "s3cret" not in f"{caught.value} {caplog.text} {client!r}"
    await client.close()
    proxy.close()


async def test_a_half_open_connection_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "IDLE", 0.2)
    monkeypatch.setattr(dialling, "ANSWER", 0.2)
    async with WireServer() as server, connected(server.url) as client, client.stream_trades(MARKETS[0]) as stream:
        await answer(server)
        await some(stream)
        await until(lambda: server.pings > 2)
        assert server.connected == 1
        server.answers_pings = False
        await until(lambda: server.connected == 2)
        server.answers_pings = True
        await answer(server, 2)
        assert (await some(stream)).fresh


async def test_without_a_connection_a_stream_fails_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "PATIENCE", 0.3)
    async with connected("ws://127.0.0.1:9") as client, client.stream_trades(MARKETS[0]) as stream:
        with pytest.raises(RetryLater, match="binance: no connection"):
            await some(stream)
        assert not stream.live


async def test_who_wants_to_be_left_alone_is() -> None:
    tried = 0

    async def refuse(_: web.Request) -> web.Response:
        nonlocal tried
        tried += 1
        return web.Response(status=429, headers={"Retry-After": "30"})

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", refuse)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with connected(f"ws://127.0.0.1:{runner.addresses[0][1]}") as client:
        with pytest.raises(RetryLater, match="answered 429 to a WebSocket's handshake") as caught:
            await some(client.stream_trades(MARKETS[0]))
        assert caught.value.after == 30
        client.stream_trades(MARKETS[1])
        await asyncio.sleep(0)
        assert tried == 1
    await runner.cleanup()


async def test_what_cannot_be_read_is_counted_and_kept_and_ends_nothing() -> None:
    async with WireServer() as server, connected(server.url) as client, client.stream_trades(MARKETS[0]) as stream:
        await answer(server)
        await some(stream)
        await server.say("{", aggregate(7, p="x"), aggregate(8, p="-1"), aggregate(9, p="NaN"), [], aggregate(10))
        live = await until_trades(stream)
        refused = [*live.refused]
        assert [trade.id for trade in live.trades] == ["10"]
        assert [(one.reason, one.id) for one in refused] == [
            ("unreadable", ""),
            ("unreadable", ""),
            ("bad_price", "8"),
            ("bad_price", "9"),
            ("unreadable", ""),
        ]
        assert client.unreadable_count == 3
        assert client.unreadable[0] == "{"
        assert server.connected == 1


async def test_messages_in_pieces_and_of_bytes_are_read() -> None:
    class Server(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type != WSMsgType.TEXT:
                return
            request = json.loads(frame.get_payload_as_bytes())["id"]
            transport.send(WSMsgType.TEXT, json.dumps({"result": None, "id": request}).encode())
            message = json.dumps(aggregate(7)).encode()
            transport.send(WSMsgType.TEXT, message[:20], fin=False)
            transport.send(WSMsgType.CONTINUATION, message[20:40], fin=False)
            transport.send(WSMsgType.PING, b"between")
            transport.send(WSMsgType.CONTINUATION, message[40:])
            transport.send(WSMsgType.BINARY, json.dumps(aggregate(8)).encode())

    server = await ws_create_server(lambda _: Server(), "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with connected(url) as client, client.stream_trades(MARKETS[0]) as stream:
        assert [trade.id for trade in (await until_trades(stream)).trades] == ["7", "8"]
    server.close()


async def test_a_dead_subscription_is_renewed_on_another_connection() -> None:
    async with WireServer() as server, connected(server.url) as client:
        dead, other = client.stream_trades(MARKETS[0]), client.stream_trades(MARKETS[1])
        await answer(server)
        await some(dead)
        await some(other)
        server.received.clear()
        dead.renew()
        assert not dead.live
        await server.asked("UNSUBSCRIBE", "aaausdt")
        await answer(server, 1)
        assert (await some(dead)).fresh
        assert server.connected == 2
        assert other.live


async def test_a_closed_client_ends_its_streams() -> None:
    async with WireServer() as server:
        async with connected(server.url) as client:
            stream = client.stream_trades(MARKETS[0])
            await answer(server)
            await some(stream)
        with pytest.raises(RetryLater, match="closed"):
            await some(stream)
        await until(lambda: not server.sockets)
