"""The simulator as clients meet it: unmodified ccxt, and plain HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import ccxt.async_support
import ccxt.pro
import pytest

from collection.errors import ConfigurationError
from collection.records import Trade, digest
from collection.simulator import Simulator
from collection.simulator.generator import Generator
from collection.simulator.protocols.binance.wire import TRADE_IDS
from collection.simulator.tape import COLUMNS
from tests.simulation import until

TAPE = Generator("LTC/ETH", 5, 50.0, 1_600_000_000_000).rows(0, 3_456)
SHORT = aiohttp.ClientWSTimeout(ws_close=0.1)
OPTIONS = {"options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False}, "enableRateLimit": False}


@pytest.fixture
def made_tape(tmp_path: Path) -> Path:
    """A tape of 3,456 trades in 69 s, many of which share a millisecond."""
    path = tmp_path / "tape.csv.gz"
    path.write_bytes(gzip.compress("\n".join([COLUMNS, *(row.line for row in TAPE), ""]).encode()))
    return path


@pytest.fixture
async def sim(made_tape: Path) -> AsyncIterator[Simulator]:
    """Of the tape all is published at once; the generated markets trade as time goes by."""
    async with Simulator(
        tapes={"LTC/ETH": made_tape}, markets=["BTC/USDT", "QUIET/USDT"], speed=1e6, rate=200.0
    ) as running:
        await published(running, "LTC/ETH", len(TAPE))
        yield running


@pytest.fixture
async def http(sim: Simulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sim.url) as session:
        yield session


@pytest.fixture
async def binance(sim: Simulator) -> AsyncIterator[Any]:
    exchange = ccxt.pro.binance({"urls": {"api": sim.ccxt_urls()}, **OPTIONS})
    exchange.number = str
    yield exchange
    await exchange.close()


async def published(sim: Simulator, market: str, count: int) -> None:
    async with asyncio.timeout(10):
        while len(sim.published(market)) < count:
            await asyncio.sleep(0.01)


async def get(http: aiohttp.ClientSession, path: str, **query: str | int) -> Any:
    async with http.get(path, params=query) as response:
        return await response.json()


async def aggregates(http: aiohttp.ClientSession, **query: str | int) -> list[int]:
    rows = await get(http, "/api/v3/aggTrades", symbol="LTCETH", **query)
    return [row["a"] for row in rows]


def record(row: dict[str, Any]) -> Trade:
    side = "sell" if row["m"] else "buy"
    return Trade(row["T"], str(row["a"]), side, Decimal(row["p"]), Decimal(row["q"]))  # type: ignore[arg-type]


class TestCcxt:
    async def test_it_loads_the_markets_and_the_time(self, binance: Any) -> None:
        markets = await binance.load_markets()
        assert set(markets) == {"LTC/ETH", "BTC/USDT", "QUIET/USDT"}
        assert markets["BTC/USDT"]["active"]
        assert markets["BTC/USDT"]["precision"] == {
            "price": "0.01",
            "amount": "0.00001",
            "base": "0.00000001",
            "quote": "0.00000001",
        }
        assert abs(await binance.fetch_time() - time.time() * 1000) < 1000

    async def test_paging_by_id_yields_the_tape_digit_for_digit(self, sim: Simulator, http: Any) -> None:
        exchange = ccxt.async_support.binance({"urls": {"api": sim.ccxt_urls()}, **OPTIONS})
        exchange.number = str
        collected: list[Trade] = []
        try:
            next_id = 0
            while page := await exchange.fetch_trades("LTC/ETH", limit=1000, params={"fromId": next_id}):
                for row in page:
                    price, amount = Decimal(row["price"]), Decimal(row["amount"])
                    collected.append(Trade(row["timestamp"], row["id"], row["side"], price, amount))
                next_id = int(page[-1]["id"]) + 1
        finally:
            await exchange.close()
        shift = collected[0].timestamp - TAPE[0].timestamp
        assert shift % 1000 == 0
        own = [
            Trade(row.timestamp + shift, str(row.id), row.side, Decimal(row.price), Decimal(row.amount)) for row in TAPE
        ]
        truth = await get(http, "/_truth/LTC/ETH")
        assert [trade.line for trade in collected] == [trade.line for trade in own]
        assert truth == {
            "market": "LTC/ETH",
            "count": len(TAPE),
            "first_id": str(TAPE[0].id),
            "last_id": str(TAPE[-1].id),
            "digest": digest(own),
        }

    async def test_other_ways_to_ask_for_trades(self, binance: Any) -> None:
        recent = await binance.fetch_trades("LTC/ETH", limit=3)
        assert [int(row["id"]) for row in recent] == [row.id for row in TAPE[-3:]]
        since = recent[-1]["timestamp"]
        assert (await binance.fetch_trades("LTC/ETH", since=since))[-1]["id"] == recent[-1]["id"]
        binance.apiKey = "any"
        for method in ("publicGetTrades", "publicGetHistoricalTrades"):
            rows = await binance.fetch_trades("LTC/ETH", limit=3, params={"fetchTradesMethod": method})
            assert [int(row["id"]) - TRADE_IDS for row in rows] == [row.id for row in TAPE[-3:]]
            assert [(row["price"], row["amount"]) for row in rows] == [(row["price"], row["amount"]) for row in recent]

    async def test_an_order_book_lies_around_the_last_trade(self, binance: Any) -> None:
        book = await binance.fetch_order_book("LTC/ETH", 5)
        last = Decimal(TAPE[-1].price)
        assert len(book["bids"]) == len(book["asks"]) == 5
        assert Decimal(str(book["bids"][0][0])) < last < Decimal(str(book["asks"][0][0]))
        assert (await binance.fetch_order_book("BTC/USDT"))["bids"]

    async def test_refusals_are_mapped_as_those_of_the_exchange(self, sim: Simulator, binance: Any) -> None:
        await binance.load_markets()
        with pytest.raises(ccxt.BadSymbol, match="-1121"):
            await binance.publicGetAggTrades({"symbol": "NOSUCH"})
        with pytest.raises(ccxt.BadRequest, match="-1128"):
            await binance.fetch_trades("LTC/ETH", since=1, params={"fromId": 1})
        for fault, error in (
            ("rate_limit", ccxt.DDoSProtection),
            ("ban", ccxt.DDoSProtection),
            ("error", ccxt.ExchangeNotAvailable),
        ):
            sim.faults.set({fault: 1, "retry_after": 7})
            with pytest.raises(error):
                await binance.fetch_trades("LTC/ETH")
            assert fault == "error" or binance.last_response_headers["Retry-After"] == "7"
            sim.faults.clear()

    async def test_the_weight_of_a_minute_runs_out(self, made_tape: Path) -> None:
        async with Simulator(tapes={"LTC/ETH": made_tape}, weight_limit=3) as sim:
            exchange = ccxt.async_support.binance({"urls": {"api": sim.ccxt_urls()}, **OPTIONS})
            try:
                with pytest.raises(ccxt.DDoSProtection, match="-1003"):
                    await exchange.publicGetAggTrades({"symbol": "LTCETH"})
                headers = exchange.last_response_headers
            finally:
                await exchange.close()
            assert headers["X-MBX-USED-WEIGHT-1M"] == headers["X-MBX-USED-WEIGHT"] == "4"
            assert 1 <= int(headers["Retry-After"]) <= 60

    @pytest.mark.parametrize("path", ["/stream", "/stream/ws", "/ws/stream"])
    @pytest.mark.parametrize("name", ["trade", "aggTrade"])
    async def test_it_watches_trades_as_they_are_published(self, sim: Simulator, name: str, path: str) -> None:
        urls = sim.ccxt_urls()
        urls["ws"]["spot"] = urls["ws"]["spot"].replace("/stream", path)
        exchange = ccxt.pro.binance({"urls": {"api": urls}, **OPTIONS})
        exchange.number = str
        seen: dict[str, dict[str, Any]] = {}
        try:
            while len(seen) < 40:
                for row in await exchange.watch_trades("BTC/USDT", params={"name": name}):
                    seen[row["id"]] = row
        finally:
            await exchange.close()
        offset = TRADE_IDS if name == "trade" else 0
        first = int(next(iter(seen))) - offset
        true = [trade for trade in sim.published("BTC/USDT") if int(trade.id) >= first][: len(seen)]
        assert [int(id) - offset for id in seen] == [int(trade.id) for trade in true]
        for row, trade in zip(seen.values(), true, strict=True):
            assert (row["timestamp"], row["side"]) == (trade.timestamp, trade.side)
            assert (Decimal(row["price"]), Decimal(row["amount"])) == (trade.price, trade.amount)


class TestRest:
    async def test_pages_are_cut_by_id_and_time_with_both_ends_inclusive(self, http: Any) -> None:
        ids = [row.id for row in TAPE]
        rows = await get(http, "/api/v3/aggTrades", symbol="LTCETH", fromId=ids[0], limit=1000)
        times = [row["T"] for row in rows]
        assert [row["a"] for row in rows] == ids[:1000]
        assert await aggregates(http) == ids[-500:]
        assert await aggregates(http, limit=5000) == ids[-1000:]
        assert await aggregates(http, fromId=ids[-1]) == ids[-1:]
        assert await aggregates(http, fromId=ids[-1] + 1) == []
        assert await aggregates(http, fromId=0, limit=2) == ids[:2]
        assert await aggregates(http, startTime=times[0], limit=3) == ids[:3]
        within = [id for id, at in zip(ids, times, strict=False) if times[20] <= at <= times[200]]
        assert await aggregates(http, startTime=times[20], endTime=times[200]) == within
        assert await aggregates(http, startTime=times[20], endTime=times[200], limit=5) == within[:5]
        before = [id for id, at in zip(ids, times, strict=False) if at <= times[200]]
        assert await aggregates(http, endTime=times[200], limit=5) == before[-5:]
        assert await aggregates(http, startTime=10**17) == await aggregates(http, endTime=1) == []

    async def test_single_trades_have_ids_of_their_own(self, http: Any) -> None:
        [aggregate] = await get(http, "/api/v3/aggTrades", symbol="LTCETH", limit=1)
        [single] = await get(http, "/api/v3/trades", symbol="LTCETH", limit=1)
        assert single["id"] == aggregate["f"] == aggregate["l"] != aggregate["a"]
        assert (single["time"], single["price"], single["qty"]) == (aggregate["T"], aggregate["p"], aggregate["q"])
        first = TAPE[0].id + TRADE_IDS
        rows = await get(http, "/api/v3/historicalTrades", symbol="LTCETH", fromId=first, limit=2)
        assert [row["id"] for row in rows] == [first, first + 1]

    @pytest.mark.parametrize(
        ("path", "code"),
        [
            ("aggTrades", -1102),
            ("aggTrades?symbol=", -1105),
            ("aggTrades?symbol=ltceth", -1100),
            ("aggTrades?symbol=NOSUCH", -1121),
            ("aggTrades?symbol=LTCETH&fromId=x", -1100),
            ("aggTrades?symbol=LTCETH&fromId=-1", -1100),
            ("aggTrades?symbol=LTCETH&limit=0", -1130),
            ("aggTrades?symbol=LTCETH&fromId=1&startTime=1", -1128),
            ("aggTrades?symbol=LTCETH&fromId=1&endTime=1", -1128),
            ("aggTrades?symbol=LTCETH&since=1", -1104),
            ("trades?symbol=LTCETH&limit=1&fromId=1", -1101),
            ("depth?symbol=LTCETH&symbol=LTCETH", -1101),
            ("depth?symbol=LTCETH&limit=x", -1100),
            ("ping?x=1", -1101),
            ("exchangeInfo?symbol=NOSUCH", -1121),
            ("exchangeInfo?symbols=LTCETH", -1100),
        ],
    )
    async def test_wrong_requests_get_the_codes_of_the_exchange(self, http: Any, path: str, code: int) -> None:
        async with http.get(f"/api/v3/{path}") as response:
            assert response.status == 400
            assert (await response.json())["code"] == code

    @pytest.mark.parametrize(
        ("path", "weight"),
        [
            ("ping", 1),
            ("time", 1),
            ("exchangeInfo?symbol=LTCETH", 20),
            ("aggTrades?symbol=LTCETH", 4),
            ("trades?symbol=LTCETH", 25),
            ("historicalTrades?symbol=LTCETH", 25),
            ("depth?symbol=LTCETH", 5),
            ("depth?symbol=LTCETH&limit=500", 25),
            ("depth?symbol=LTCETH&limit=1000", 50),
            ("depth?symbol=LTCETH&limit=5000", 250),
        ],
    )
    async def test_requests_weigh_what_they_weigh(self, http: Any, path: str, weight: int) -> None:
        async with http.get(f"/api/v3/{path}") as response:
            assert response.status == 200
            assert response.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


class TestStreams:
    async def test_subscriptions_are_answered_listed_and_ended(self, http: Any) -> None:
        async with http.ws_connect("/ws") as socket:

            async def ask(**request: Any) -> Any:
                await socket.send_json(request)
                while "e" in (message := await socket.receive_json(timeout=5)):
                    pass
                return message

            streams = ["btcusdt@trade", "nosuch@aggTrade"]
            assert await ask(method="SUBSCRIBE", params=streams, id=1) == {"result": None, "id": 1}
            assert (await socket.receive_json(timeout=5))["e"] == "trade"
            assert await ask(method="LIST_SUBSCRIPTIONS", id="two") == {"result": streams, "id": "two"}
            assert await ask(method="UNSUBSCRIBE", params=streams[:1], id=None) == {"result": None, "id": None}
            assert await ask(method="LIST_SUBSCRIPTIONS", id=3) == {"result": streams[1:], "id": 3}
            assert await ask(method="GET_PROPERTY", params=["combined"], id=4) == {"result": False, "id": 4}
            assert await ask(method="SET_PROPERTY", params=["combined", True], id=5) == {"result": None, "id": 5}
            await ask(method="SUBSCRIBE", params=["btcusdt@aggTrade"], id=6)
            message = await socket.receive_json(timeout=5)
            assert (message["stream"], message["data"]["e"]) == ("btcusdt@aggTrade", "aggTrade")

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("{", 3),
            ("[]", 2),
            ('{"id": 1}', 2),
            ('{"method": "SUBSCRIEB", "params": ["btcusdt@trade"], "id": 1}', 2),
            ('{"method": "SUBSCRIBE", "params": ["btcusdt"], "id": 1}', 2),
            ('{"method": "SUBSCRIBE", "params": [1], "id": 1}', 2),
            ('{"method": "SUBSCRIBE", "params": [], "id": 1}', 2),
            ('{"method": "SUBSCRIBE", "params": "btcusdt@trade", "id": 1}', 2),
            ('{"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1.5}', 2),
            ('{"method": "SUBSCRIBE", "params": ["btcusdt@trade"]}', 2),
            ('{"method": "GET_PROPERTY", "params": [], "id": 1}', 2),
            ('{"method": "GET_PROPERTY", "params": ["other"], "id": 1}', 0),
            ('{"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}', 1),
        ],
    )
    async def test_malformed_messages_get_an_error_and_the_connection_lives_on(
        self, http: Any, text: str, code: int
    ) -> None:
        async with http.ws_connect("/ws") as socket:
            await socket.send_str(text)
            answer = await socket.receive_json(timeout=5)
            assert answer["error"]["code"] == code
            assert answer["id"] == (1 if '"id": 1,' in text or '"id": 1}' in text else None)
            await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 2})
            assert await socket.receive_json(timeout=5) == {"result": [], "id": 2}

    @pytest.mark.parametrize("path", ["/ws/btcusdt@aggTrade", "/stream?streams=btcusdt@aggTrade/nosuch@trade"])
    async def test_a_stream_named_in_the_address_misses_nothing_from_then_on(
        self, sim: Simulator, http: Any, path: str
    ) -> None:
        before = len(sim.published("BTC/USDT"))
        async with http.ws_connect(path) as socket:
            start = len(sim.published("BTC/USDT"))
            rows: list[dict[str, Any]] = []
            while len(rows) < 100:
                message = await socket.receive_json(timeout=5)
                row = message["data"] if path.startswith("/stream") else message
                assert row["T"] <= row["E"] <= time.time() * 1000
                rows.append(row)
        true = sim.published("BTC/USDT")
        first = [trade.id for trade in true].index(str(rows[0]["a"]))
        assert before <= first <= start
        assert [record(row) for row in rows] == true[first : first + 100]

    async def test_a_ping_is_answered(self, http: Any) -> None:
        async with http.ws_connect("/stream", autoping=False) as socket:
            await socket.ping(b"are you there")
            message = await socket.receive(timeout=5)
            assert (message.type, message.data) == (aiohttp.WSMsgType.PONG, b"are you there")


class TestTruth:
    async def test_all_markets_are_listed_and_the_trades_are_a_tape(self, sim: Simulator, http: Any) -> None:
        listed = (await get(http, "/_truth"))["markets"]
        assert [(one["market"], one["kind"]) for one in listed] == [
            ("LTC/ETH", "tape"),
            ("BTC/USDT", "generated"),
            ("QUIET/USDT", "generated"),
        ]
        async with http.get("/_truth/LTC/ETH/trades?format=csv") as response:
            lines = (await response.text()).splitlines()
        assert lines == [COLUMNS, *(trade.line for trade in sim.published("LTC/ETH"))]

    @pytest.mark.parametrize("name", ["LTC/ETH", "LTC%2FETH", "LTCETH"])
    async def test_a_market_is_named_in_any_way_and_cut_by_ids(self, sim: Simulator, http: Any, name: str) -> None:
        from yarl import URL

        url = URL(f"{sim.url}/_truth/{name}?after={TAPE[9].id}&until={TAPE[19].id}", encoded=True)
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            truth = await response.json()
        part = sim.published("LTC/ETH")[10:20]
        assert (truth["count"], truth["first_id"], truth["digest"]) == (10, part[0].id, digest(part))

    @pytest.mark.parametrize("path", ["/_truth/NO/SUCH", "/_truth/L/TCETH", "/_truth/LTC/ETH?until=x"])
    async def test_what_it_does_not_know_it_says(self, http: Any, path: str) -> None:
        async with http.get(path) as response:
            assert response.status in (400, 404)
            assert "known: LTC/ETH" in (said := await response.text()) or "'x' is no id" in said

    async def test_who_listens_is_told_stream_by_stream(self, sim: Simulator, http: Any) -> None:
        async with http.ws_connect("/ws/btcusdt@trade/btcusdt@aggTrade"), http.ws_connect("/ws/btcusdt@trade"):
            assert await get(http, "/_streams") == {"btcusdt@trade": 2, "btcusdt@aggTrade": 1}
        async with asyncio.timeout(5):
            while await get(http, "/_streams"):
                await asyncio.sleep(0.01)


class TestFaults:
    async def test_they_are_set_shown_counted_and_ended_over_http(self, http: Any) -> None:
        async with http.post("/_faults", json={"error": 1, "repeat": 0.5}) as response:
            assert (await response.json())["faults"] == {"error": 1, "repeat": 0.5}
        for _ in range(3):
            async with http.get("/api/v3/ping") as response:
                assert response.status == 503
        shown = await get(http, "/_faults")
        assert (shown["counts"]["error"], shown["counts"]["requests"]) == (3, 3)
        async with http.post("/_faults", json={"eror": 1}) as response:
            assert response.status == 400
            assert "did you mean 'error'?" in (await response.json())["error"]
        async with http.post("/_faults", data=b"{") as response:
            assert response.status == 400
        async with http.delete("/_faults") as response:
            assert (await response.json())["faults"] == {}
        async with http.get("/api/v3/ping") as response:
            assert response.status == 200

    async def test_a_faulty_page_is_the_right_page(self, sim: Simulator, http: Any) -> None:
        sim.faults.set({"repeat": 1, "reorder": 1})
        ids = await aggregates(http, fromId=TAPE[100].id, limit=500)
        assert set(ids) == {row.id for row in TAPE[100:600]}
        assert len(ids) > 500
        assert ids != sorted(ids)
        assert (sim.faults.counts["repeat"], sim.faults.counts["reorder"]) == (1, 1)

    async def test_connections_are_dropped_answers_cut_off_and_clients_left_waiting(
        self, sim: Simulator, http: Any
    ) -> None:
        sim.faults.set({"drop": 1})
        with pytest.raises(aiohttp.ClientConnectionError):
            await get(http, "/api/v3/time")
        sim.faults.clear()
        sim.faults.set({"garbage": 1})
        with pytest.raises(json.JSONDecodeError):
            await get(http, "/api/v3/exchangeInfo")
        sim.faults.clear()
        sim.faults.set({"hang": 1, "hang_seconds": 0.05})
        with pytest.raises(aiohttp.ClientConnectionError):
            await get(http, "/api/v3/time")
        assert sim.faults.counts["drop"] >= 1
        assert (sim.faults.counts["garbage"], sim.faults.counts["hang"] >= 1) == (1, True)

    async def test_streams_repeat_and_reorder_but_lose_nothing(self, sim: Simulator, http: Any) -> None:
        sim.faults.set({"repeat": 0.3, "reorder": 0.3})
        async with http.ws_connect("/ws/btcusdt@aggTrade") as socket:
            ids: list[int] = []
            while len(ids) < 200:
                ids.append((await socket.receive_json(timeout=5))["a"])
        assert len(set(ids)) < len(ids)
        assert ids != sorted(ids)
        assert set(range(min(ids), max(ids) - 3)) <= set(ids)
        assert sim.faults.counts["stream_repeat"] > 0 < sim.faults.counts["stream_reorder"]

    async def test_messages_of_streams_are_lost(self, sim: Simulator, http: Any) -> None:
        sim.faults.set({"lose": 0.5})
        async with http.ws_connect("/ws/btcusdt@aggTrade") as socket:
            ids = [(await socket.receive_json(timeout=5))["a"] for _ in range(100)]
        assert ids == sorted(set(ids))
        assert sim.faults.counts["lose"] >= ids[-1] - ids[0] + 1 - len(ids) > 10

    async def test_messages_of_streams_are_cut_off_or_malformed(self, sim: Simulator, http: Any) -> None:
        sim.faults.set({"cut": 0.2, "malform": 0.2})
        async with http.ws_connect("/stream?streams=btcusdt@aggTrade") as socket:
            texts = [await socket.receive_str(timeout=5) for _ in range(300)]
        cut, malformed, ids = 0, 0, []
        for text in texts:
            try:
                event = json.loads(text)["data"]
            except json.JSONDecodeError:
                cut += 1
                continue
            if isinstance(event, list) or not event.get("p"):
                malformed += 1
            else:
                ids.append(event["a"])
        assert cut > 10 < malformed
        assert ids == sorted(set(ids))
        assert sim.faults.counts["cut"] >= cut
        assert sim.faults.counts["malform"] >= malformed

    async def test_one_subscription_falls_silent_and_a_new_connection_has_it_again(
        self, sim: Simulator, http: Any
    ) -> None:
        subscribe = {"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 1}
        async with http.ws_connect("/stream", autoping=False) as socket:
            await socket.send_json(subscribe)
            sim.faults.set({"deaf": 1})
            await until(lambda: sim.faults.counts["deaf"] == 1)
            sim.faults.clear()
            await socket.send_json(subscribe)
            await socket.send_json({"method": "SUBSCRIBE", "params": ["quietusdt@trade"], "id": 2})
            await socket.ping()
            pongs = 0
            streams: list[str] = []
            while len(streams) < 50 or not pongs:
                message = await socket.receive(timeout=5)
                pongs += message.type == aiohttp.WSMsgType.PONG
                if message.type == aiohttp.WSMsgType.TEXT and "stream" in (said := json.loads(message.data)):
                    streams.append(said["stream"])
            assert set(streams[5:]) == {"quietusdt@trade"}
            async with http.ws_connect("/stream") as other:
                await other.send_json(subscribe)
                assert (await other.receive_json(timeout=5))["id"] == 1
                assert (await other.receive_json(timeout=5))["stream"] == "btcusdt@aggTrade"

    async def test_a_short_history_has_the_newest_trades_only(self, sim: Simulator, http: Any) -> None:
        sim.faults.set({"history": 60})
        newest = [row.id for row in TAPE[-60:]]
        assert await aggregates(http, limit=1000) == newest
        assert await aggregates(http, fromId=0, limit=10) == newest[:10]
        assert await aggregates(http, fromId=newest[50], limit=1000) == newest[50:]
        first = (await get(http, "/api/v3/aggTrades", symbol="LTCETH", fromId=0, limit=1))[0]["T"]
        assert await aggregates(http, startTime=1, limit=5) == newest[:5]
        assert await aggregates(http, endTime=first - 1) == []
        for path, query in (("trades", {}), ("historicalTrades", {}), ("historicalTrades", {"fromId": 1})):
            rows = await get(http, f"/api/v3/{path}", symbol="LTCETH", limit=1000, **query)
            assert [row["id"] - TRADE_IDS for row in rows] == newest

    async def test_streams_are_cut_at_their_age(self, sim: Simulator, http: Any) -> None:
        async with http.ws_connect("/ws/btcusdt@trade") as socket:
            sim.faults.set({"disconnect_every": 0.2})
            async with asyncio.timeout(5):
                while (await socket.receive()).type == aiohttp.WSMsgType.TEXT:
                    pass
        assert sim.faults.counts["disconnect_every"] == 1

    async def test_a_half_open_stream_is_silent_and_answers_no_ping(self, sim: Simulator, http: Any) -> None:
        async with http.ws_connect("/ws/btcusdt@trade", autoping=False, timeout=SHORT) as socket:
            await socket.receive_json(timeout=5)
            sim.faults.set({"halfopen": 1})
            async with asyncio.timeout(5):
                while not sim.faults.counts["halfopen"]:
                    await asyncio.sleep(0.01)
            await socket.ping()
            types = []
            with contextlib.suppress(TimeoutError):
                while True:
                    types.append((await socket.receive(timeout=0.3)).type)
            assert set(types) <= {aiohttp.WSMsgType.TEXT}  # sent before it fell silent; no pong, no close
            assert not socket.closed
        assert sim.faults.counts["halfopen"] == 1

    async def test_a_handshake_meets_faults_like_any_request(self, sim: Simulator, http: Any) -> None:
        sim.faults.set({"error": 1})
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect("/stream")
        sim.faults.clear()
        sim.faults.set({"garbage": 1})
        async with http.ws_connect("/ws/btcusdt@trade") as socket:
            assert (await socket.receive_json(timeout=5))["e"] == "trade"
        assert sim.faults.counts["garbage"] == 0

    @pytest.mark.parametrize(("fault", "status"), [("rate_limit", 429), ("ban", 418)])
    async def test_a_handshake_is_refused_with_how_long_to_wait(
        self, sim: Simulator, http: Any, fault: str, status: int
    ) -> None:
        sim.faults.set({fault: 1, "retry_after": 7})
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect("/stream")
        assert caught.value.status == status
        assert caught.value.headers is not None
        assert caught.value.headers["Retry-After"] == "7"

    async def test_a_handshake_hangs(self, sim: Simulator, http: Any) -> None:
        sim.faults.set({"hang": 1})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await http.ws_connect("/stream")
        assert sim.faults.counts["hang"] == 1


class TestLife:
    async def test_it_stops_at_once_whoever_is_connected_and_starts_again_on_its_port(self, made_tape: Path) -> None:
        sim = Simulator(tapes={"LTC/ETH": made_tape}, markets=["BTC/USDT"], rate=1000.0)
        await sim.start()
        port = int(sim.url.rpartition(":")[2])
        async with aiohttp.ClientSession(sim.url) as http:
            sockets = [await http.ws_connect("/ws/btcusdt@trade", timeout=SHORT) for _ in range(20)]
            sim.faults.set({"halfopen": 0.01})
            async with asyncio.timeout(5):
                while sim.faults.counts["halfopen"] < 5:
                    await asyncio.sleep(0.01)
            sim.faults.set({"hang": 1})
            hanging = [asyncio.create_task(get(http, "/api/v3/time")) for _ in range(5)]
            async with asyncio.timeout(5):
                while sim.faults.counts["hang"] < 5:
                    await asyncio.sleep(0.01)
            before = time.monotonic()
            await sim.stop()
            assert time.monotonic() - before < 1
            answers = await asyncio.gather(*hanging, return_exceptions=True)
            assert all(isinstance(answer, aiohttp.ClientError) for answer in answers)
            for socket in sockets:
                await socket.close()
        await sim.stop()
        async with Simulator(markets=["BTC/USDT"], port=port) as again, aiohttp.ClientSession(again.url) as http:
            assert again.url == f"http://127.0.0.1:{port}"
            assert await get(http, "/api/v3/ping") == {}

    async def test_a_port_in_use_is_named(self, sim: Simulator) -> None:
        port = int(sim.url.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match=f"port {port} of 127.0.0.1 is in use"):
            await Simulator(markets=["BTC/USDT"], port=port).start()

    async def test_killed_and_started_again_it_has_the_same_history(self, made_tape: Path, tmp_path: Path) -> None:
        program = (
            "import asyncio, sys; from pathlib import Path; from collection.simulator import Simulator, serve\n"
            f"sim = Simulator(tapes={{'LTC/ETH': Path({str(made_tape)!r})}}, markets=['BTC/USDT'], speed=20.0,"
            f" rate=100.0, state=Path({str(tmp_path / 'state.json')!r}))\n"
            "asyncio.run(serve(sim, on_ready=lambda url: print(url, flush=True)))"
        )

        async def run() -> tuple[asyncio.subprocess.Process, str]:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, env={**os.environ}
            )
            assert process.stdout is not None
            return process, (await process.stdout.readline()).decode().strip()

        process, url = await run()
        markets = ("LTC/ETH", "BTC/USDT")
        try:
            async with aiohttp.ClientSession(url) as http, asyncio.timeout(10):
                before = [{"count": 0}]
                while any(truth["count"] < 50 for truth in before):
                    before = [await get(http, f"/_truth/{market}") for market in markets]
        finally:
            process.kill()
            await process.wait()

        process, url = await run()
        try:
            async with aiohttp.ClientSession(url) as http:
                for market, truth in zip(markets, before, strict=True):
                    assert await get(http, f"/_truth/{market}", until=truth["last_id"]) == truth
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 5) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def test_the_recording_is_read_and_served_within_a_moment(self, recording: Path) -> None:
        before = time.monotonic()
        async with Simulator(tapes={"XRP/ETH": recording}, speed=20_000.0) as sim:
            assert time.monotonic() - before < 0.5
            assert sim.markets == ["XRP/ETH"]
            assert sim.published("XRP/ETH")
