"""The exact forms of the simulator's protocols beside Binance's: answers, errors, pings, and pages at their ends."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from collection.simulator import Simulator
from collection.simulator.generator import Generator
from collection.simulator.tape import COLUMNS
from tests.simulation import until

TAPE = Generator("LTC/ETH", 5, 50.0, 1_600_000_000_000).rows(0, 1_234)
IDS = [row.id for row in TAPE]
HEARTBEAT = {"channel": "heartbeat"}
MICROSECONDS = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Place:
    """A running simulator of a tape, all of it published, and of BTC/USDT; and plain HTTP to it."""

    def __init__(self, sim: Simulator, http: aiohttp.ClientSession) -> None:
        self.sim, self.http = sim, http

    async def get(self, path: str, **query: str | int) -> Any:
        async with self.http.get(path, params=query) as response:
            self.status, self.headers = response.status, response.headers
            return await response.json()

    @contextlib.asynccontextmanager
    async def socket(self, path: str) -> AsyncIterator[Socket]:
        async with self.http.ws_connect(path, autoping=False) as socket:
            yield Socket(socket)

    def published(self) -> list[int]:
        return [int(trade.id) for trade in self.sim.published("BTC/USDT")]


class Socket:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def next(self) -> Any:
        """Return the next message that is no heartbeat of Kraken."""
        while (message := await self.socket.receive_json(timeout=5)) == HEARTBEAT:
            pass
        return message

    async def ask(self, request: Any, answers: int = 1) -> list[Any]:
        await (self.socket.send_str(request) if isinstance(request, str) else self.socket.send_json(request))
        return [await self.next() for _ in range(answers)]


@pytest.fixture
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    tape = tmp_path / "tape.csv.gz"
    tape.write_bytes(gzip.compress("\n".join([COLUMNS, *(row.line for row in TAPE), ""]).encode()))
    async with (
        Simulator(protocol=request.param, tapes={"LTC/ETH": tape}, markets=["BTC/USDT"], speed=1e6, rate=200.0) as sim,
        aiohttp.ClientSession(sim.url) as http,
    ):
        await until(lambda: len(sim.published("LTC/ETH")) == len(TAPE) and bool(sim.published("BTC/USDT")))
        yield Place(sim, http)


def on(protocol: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("place", [protocol], indirect=True)


@on("coinbaseexchange")
class TestCoinbaseExchange:
    async def page(self, place: Place, **query: str | int) -> list[int]:
        return [row["trade_id"] for row in await place.get("/products/LTC-ETH/trades", **query)]

    async def test_pages_are_cut_by_cursors_that_are_ids(self, place: Place) -> None:
        assert await self.page(place) == await self.page(place, limit=5_000) == IDS[:-1001:-1]
        assert (place.headers["CB-BEFORE"], place.headers["CB-AFTER"]) == (str(IDS[-1]), str(IDS[-1000]))
        assert await self.page(place, after=IDS[10], limit=3) == IDS[9:6:-1]
        assert await self.page(place, after=IDS[2]) == IDS[1::-1]
        assert await self.page(place, after=IDS[0]) == []
        assert "CB-AFTER" not in place.headers
        assert await self.page(place, before=IDS[-3]) == IDS[:-3:-1]
        assert await self.page(place, before=IDS[0], limit=2) == IDS[:-3:-1]
        assert await self.page(place, before=IDS[-1]) == []
        assert await self.page(place, after=IDS[20], before=IDS[15]) == IDS[19:15:-1]

    async def test_a_row_has_padded_numbers_and_the_makers_side(self, place: Place) -> None:
        [row] = await place.get("/products/LTC-ETH/trades", after=IDS[1])
        assert row["side"] == {"buy": "sell", "sell": "buy"}[TAPE[0].side]
        assert (row["price"], row["size"]) == (TAPE[0].price, TAPE[0].amount)
        assert MICROSECONDS.fullmatch(row["time"])

    @pytest.mark.parametrize(
        ("path", "status", "message"),
        [
            ("/products/NO-SUCH/trades", 404, "NotFound"),
            ("/products/LTC-ETH/trades?limit=x", 400, "Invalid limit"),
            ("/products/LTC-ETH/trades?after=-1", 400, "Invalid after"),
        ],
    )
    async def test_errors(self, place: Place, path: str, status: int, message: str) -> None:
        assert await place.get(path) == {"message": message}
        assert place.status == status

    async def test_subscribing_sends_the_last_match_again_and_then_each(self, place: Place) -> None:
        async with place.socket("/") as socket:
            before = place.published()[-1]
            said = await socket.ask({"type": "subscribe", "product_ids": ["BTC-USDT"], "channels": ["matches"]}, 2)
            assert said[0] == {
                "type": "subscriptions",
                "channels": [{"name": "matches", "product_ids": ["BTC-USDT"], "account_ids": None}],
            }
            last, first = said[1], await socket.next()
            assert (last["type"], first["type"]) == ("last_match", "match")
            assert before <= last["trade_id"] == first["trade_id"] - 1
            assert last["sequence"] < first["sequence"]
            assert list(first) == [
                "type", "trade_id", "maker_order_id", "taker_order_id", "side", "size", "price", "product_id",
                "sequence", "time",
            ]  # fmt: skip
            true = next(t for t in place.sim.published("BTC/USDT") if t.id == str(first["trade_id"]))
            assert (first["price"], first["size"]) == (f"{true.price:f}", f"{true.amount:f}")
            assert first["side"] != true.side
            [left] = await self.after_matches(
                socket, {"type": "unsubscribe", "product_ids": ["BTC-USDT"], "channels": ["matches"]}
            )
            assert left == {"type": "subscriptions", "channels": []}

    async def after_matches(self, socket: Socket, request: Any) -> list[Any]:
        await socket.socket.send_json(request)
        while (message := await socket.next())["type"] == "match":
            pass
        return [message]

    async def test_heartbeats_tell_the_last_trade_id_that_was_sent(self, place: Place) -> None:
        async with place.socket("/") as socket:
            channels = [{"name": "heartbeat", "product_ids": ["BTC-USDT"]}, "matches"]
            await socket.ask({"type": "subscribe", "product_ids": ["BTC-USDT"], "channels": channels})
            last = 0
            while (message := await socket.next())["type"] != "heartbeat":
                last = message["trade_id"]
            assert message["last_trade_id"] == last
            assert message["product_id"] == "BTC-USDT"
            assert MICROSECONDS.fullmatch(message["time"])

    @pytest.mark.parametrize(
        ("request_", "error"),
        [
            ("{", {"message": "Malformed JSON"}),
            ("[]", {"message": "Malformed JSON"}),
            ('{"type": "x"}', {"message": "Type has to be either subscribe or unsubscribe"}),
            ('{"type":"subscribe","product_ids":["A-B"],"channels":["matches"]}',
             {"reason": "A-B is not a valid product"}),
            ('{"type":"subscribe","product_ids":[[]],"channels":["matches"]}', {"reason": "[] is not a valid product"}),
            ('{"type":"subscribe","product_ids":["BTC-USDT"],"channels":["x"]}',
             {"reason": "x is not a valid channel"}),
            ('{"type":"subscribe","channels":["matches"]}', {"message": "Failed to subscribe"}),
            ('{"type":"subscribe","channels":5,"product_ids":5}', {"message": "Failed to subscribe"}),
            ('{"type":"subscribe","product_ids":["BTC-USDT"]}', {"message": "Failed to subscribe"}),
        ],
    )  # fmt: skip
    async def test_messages_that_are_refused(self, place: Place, request_: str, error: dict[str, str]) -> None:
        async with place.socket("/") as socket:
            [said] = await socket.ask(request_)
            assert said.items() >= {"type": "error", **error}.items()
            assert (await socket.ask({"type": "unsubscribe", "product_ids": ["BTC-USDT"], "channels": ["matches"]}))[0]


@on("kraken")
class TestKraken:
    async def rows(self, place: Place, **query: str | int) -> list[list[Any]]:
        answer = await place.get("/0/public/Trades", pair="LTCETH", **query)
        assert answer["error"] == []
        self.last = int(answer["result"]["last"])
        return list(answer["result"]["LTCETH"])

    async def test_pages_are_of_what_is_later_than_since(self, place: Place) -> None:
        first = await self.rows(place, since=0)
        assert [row[6] for row in first] == IDS[:1000]
        assert [row[6] for row in await self.rows(place)] == IDS[-1000:]
        assert [row[6] for row in await self.rows(place, count=3)] == IDS[-3:]
        await self.rows(place, since=0, count=100)
        last = self.last
        assert abs(last - first[99][2] * 10**9) < 1000
        moments = [row[2] for row in first]
        later = next(n for n in range(100, 1000) if moments[n] > moments[99])
        assert (await self.rows(place, since=last, count=1))[0][6] == IDS[later]
        same = moments.index(moments[99])
        assert (await self.rows(place, since=last - 1, count=1))[0][6] == IDS[same]
        seconds = int(moments[500])
        assert (await self.rows(place, since=seconds, count=1))[0][2] > seconds
        now = place.sim.now() * 10**6
        assert await self.rows(place, since=now) == []
        assert self.last == now

    async def test_a_row_has_padded_numbers_and_an_id(self, place: Place) -> None:
        [row] = await self.rows(place, since=0, count=1)
        price, amount, _, side, kind, misc, id = row
        assert (price, amount, id) == (TAPE[0].price[: len(price)], TAPE[0].amount, IDS[0])
        assert (side, misc) == (TAPE[0].side[0], "")
        assert kind in ("l", "m")

    @pytest.mark.parametrize("pair", ["XBTUSDT", "XBT/USDT", "BTC/USDT"])
    async def test_a_pair_has_many_names(self, place: Place, pair: str) -> None:
        assert list((await place.get("/0/public/Trades", pair=pair))["result"]) == ["XBTUSDT", "last"]
        assert (await place.get("/0/public/AssetPairs", pair=pair))["result"]["XBTUSDT"]["wsname"] == "XBT/USDT"
        assert (await place.get("/0/public/Assets"))["result"]["XXBT"]["altname"] == "XBT"

    @pytest.mark.parametrize(
        ("query", "error"),
        [
            ("", "EGeneral:Invalid arguments"),
            ("?pair=NOSUCH", "EQuery:Unknown asset pair"),
            ("?pair=LTCETH&since=x", "EGeneral:Invalid arguments:since"),
            ("?pair=LTCETH&count=1001", "EGeneral:Invalid arguments:count"),
            ("?pair=LTCETH&count=0", "EGeneral:Invalid arguments:count"),
        ],
    )
    async def test_errors_come_with_status_200(self, place: Place, query: str, error: str) -> None:
        assert await place.get(f"/0/public/Trades{query}") == {"error": [error]}
        assert place.status == 200

    async def test_each_symbol_is_answered_for_and_a_snapshot_ends_where_updates_begin(self, place: Place) -> None:
        async with place.socket("/v2") as socket:
            status = await socket.next()
            assert (status["channel"], status["type"], status["data"][0]["system"]) == ("status", "update", "online")
            params = {"channel": "trade", "symbol": ["NO/SUCH", "BTC/USDT", "LTC/ETH"], "snapshot": True}
            answers = await socket.ask({"method": "subscribe", "params": params, "req_id": 7}, 5)
            for answer in (answers[0], answers[1], answers[3]):
                assert (answer["method"], answer["req_id"]) == ("subscribe", 7)
                assert MICROSECONDS.fullmatch(answer["time_in"])
                assert MICROSECONDS.fullmatch(answer["time_out"])
            assert answers[0]["error"] == "Currency pair not supported NO/SUCH"
            assert (answers[0]["success"], answers[0]["symbol"]) == (False, "NO/SUCH")
            assert answers[1]["result"] == {"channel": "trade", "symbol": "BTC/USDT", "snapshot": True}
            assert answers[4]["type"] == "snapshot"
            assert [trade["trade_id"] for trade in answers[4]["data"]] == IDS[-50:]
            snapshot = answers[2]["data"]
            update = await socket.next()
            assert update["type"] == "update"
            assert snapshot[-1]["trade_id"] == update["data"][0]["trade_id"] - 1
            assert set(update["data"][0]) == {"symbol", "side", "price", "qty", "ord_type", "trade_id", "timestamp"}
            assert isinstance(update["data"][0]["price"], float)

    async def test_requests_are_answered_and_heartbeats_come(self, place: Place) -> None:
        async with place.socket("/v2") as socket:
            await socket.next()
            [pong] = await socket.ask({"method": "ping", "req_id": 3})
            assert (pong["method"], pong["req_id"]) == ("pong", 3)
            trade = {"channel": "trade", "symbol": ["LTC/ETH"]}
            assert (await socket.ask({"method": "subscribe", "params": trade}))[0]["result"]["snapshot"] is False
            [again] = await socket.ask({"method": "subscribe", "params": trade})
            assert (again["success"], again["error"]) == (False, "Already subscribed")
            assert await socket.socket.receive_json(timeout=5) == HEARTBEAT
            [ended] = await socket.ask({"method": "unsubscribe", "params": trade, "req_id": 5})
            assert (ended["method"], ended["success"], ended["req_id"]) == ("unsubscribe", True, 5)
            [again] = await socket.ask({"method": "unsubscribe", "params": trade})
            assert (again["success"], again["error"]) == (False, "Subscription Not Found")

    @pytest.mark.parametrize(
        ("request_", "error"),
        [
            ("{", "Malformed request"),
            ('{"method": "subscribe"}', "Unsupported method or missing params"),
            ('{"method": "subscribe", "params": {"channel": "x", "symbol": ["BTC/USDT"]}}', "Unsupported channel x"),
            ('{"method": "subscribe", "params": {"channel": "trade"}}', "Symbol(s) not found"),
            ('{"method": "subscribe", "params": {"channel": "trade", "symbol": 5}}', "Symbol(s) not found"),
            ('{"method": "subscribe", "params": {"channel": "trade", "symbol": [1]}}', "Currency pair not supported 1"),
        ],
    )  # fmt: skip
    async def test_messages_that_are_refused(self, place: Place, request_: str, error: str) -> None:
        async with place.socket("/v2") as socket:
            await socket.next()
            [said] = await socket.ask(request_)
            assert (said["error"], said["success"]) == (error, False)


@on("okx")
class TestOkx:
    async def page(self, place: Place, path: str = "history-trades", **query: str | int) -> list[int]:
        answer = await place.get(f"/api/v5/market/{path}", instId="LTC-ETH", **query)
        assert (answer["code"], answer["msg"]) == ("0", "")
        return [int(row["tradeId"]) for row in answer["data"]]

    async def test_pages_are_cut_by_id_and_time(self, place: Place) -> None:
        assert await self.page(place) == IDS[:-101:-1]
        assert await self.page(place, after=IDS[10], limit=3) == IDS[9:6:-1]
        assert await self.page(place, after=IDS[2], type=1) == IDS[1::-1]
        assert await self.page(place, after=IDS[0]) == []
        assert await self.page(place, before=IDS[-3]) == IDS[:-3:-1]
        assert await self.page(place, before=IDS[0], limit=2) == IDS[:-3:-1]
        trades = place.sim.published("LTC/ETH")
        older = [int(trade.id) for trade in trades if trade.timestamp < trades[50].timestamp]
        assert await self.page(place, type=2, after=trades[50].timestamp) == older[::-1]
        assert await self.page(place, "trades", limit=500) == IDS[:-501:-1]
        assert await self.page(place, "trades") == IDS[:-101:-1]

    async def test_a_row_has_the_digits_of_the_source(self, place: Place) -> None:
        [row] = (await place.get("/api/v5/market/history-trades", instId="LTC-ETH", after=IDS[1]))["data"]
        true = place.sim.published("LTC/ETH")[0]
        assert row == {
            "instId": "LTC-ETH", "tradeId": true.id, "px": f"{true.price:f}", "sz": f"{true.amount:f}",
            "side": true.side, "source": "0", "ts": str(true.timestamp),
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            ("market/history-trades", 400, "50014"),
            ("market/history-trades?instId=NO-SUCH", 200, "51001"),
            ("market/history-trades?instId=LTC-ETH&limit=101", 400, "51000"),
            ("market/history-trades?instId=LTC-ETH&after=x", 400, "51000"),
            ("market/history-trades?instId=LTC-ETH&type=3", 400, "51000"),
            ("market/history-trades?instId=LTC-ETH&type=2&before=1", 400, "51000"),
            ("market/trades?instId=LTC-ETH&limit=501", 400, "51000"),
            ("public/instruments", 400, "51000"),
            ("public/instruments?instType=SPOT&instId=NO-SUCH", 200, "51001"),
        ],
    )
    async def test_errors(self, place: Place, path: str, status: int, code: str) -> None:
        answer = await place.get(f"/api/v5/{path}")
        assert (place.status, answer["code"], answer["data"]) == (status, code, [])

    async def test_each_channel_is_answered_for(self, place: Place) -> None:
        async with place.socket("/ws/v5/business") as socket:
            await socket.socket.send_str("ping")
            assert await socket.socket.receive_str(timeout=5) == "pong"
            args = [{"channel": "trades-all", "instId": id} for id in ("NO-SUCH", "BTC-USDT")]
            wrong, right = await socket.ask({"id": "9", "op": "subscribe", "args": args}, 2)
            assert (wrong["event"], wrong["code"], wrong["id"]) == ("error", "60018", "9")
            assert wrong["msg"].startswith("Wrong URL or channel:trades-all,instId:NO-SUCH doesn't exist.")
            assert (right["event"], right["arg"], right["connId"]) == ("subscribe", args[1], wrong["connId"])
            trade = await socket.next()
            assert trade["arg"] == args[1]
            assert set(trade["data"][0]) == {"instId", "tradeId", "px", "sz", "side", "source", "ts"}
            await socket.socket.send_json({"op": "unsubscribe", "args": args[1:]})
            while "data" in (said := await socket.next()):
                pass
            assert (said["event"], said["arg"]) == ("unsubscribe", args[1])

    async def test_older_trades_come_again_where_they_are_told_to(self, place: Place) -> None:
        place.sim.faults.set({"replay": 5})
        async with place.socket("/ws/v5/business") as socket:
            args = [{"channel": "trades-all", "instId": "LTC-ETH"}]
            said = await socket.ask({"op": "subscribe", "args": args}, 6)
            assert [int(message["data"][0]["tradeId"]) for message in said[1:]] == IDS[-5:]

    @pytest.mark.parametrize(
        ("path", "request_", "code"),
        [
            ("business", "{", "60012"),
            ("business", '{"op": "subscribe"}', "60012"),
            ("business", '{"op": "x", "args": []}', "60012"),
            ("business", '{"op": "subscribe", "args": ["trades-all:BTC-USDT"]}', "60018"),
            ("business", '{"op": "subscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]}', "60018"),
            ("public", '{"op": "subscribe", "args": [{"channel": "trades-all", "instId": "BTC-USDT"}]}', "60018"),
            ("public", '{"op": "subscribe", "args": [{"channel": [], "instId": []}]}', "60018"),
        ],
    )
    async def test_messages_that_are_refused(self, place: Place, path: str, request_: str, code: str) -> None:
        async with place.socket(f"/ws/v5/{path}") as socket:
            [said] = await socket.ask(request_)
            assert (said["event"], said["code"]) == ("error", code)


@on("bybit")
class TestBybit:
    async def test_rest_has_the_last_sixty_trades(self, place: Place) -> None:
        ids = [int(trade.id) for trade in place.sim.published("LTC/ETH")]
        for query, count in (({}, 60), ({"limit": 3}, 3), ({"limit": 1000}, 60)):
            answer = await place.get("/v5/market/recent-trade", category="spot", symbol="LTCETH", **query)
            assert (answer["retCode"], answer["retMsg"], answer["result"]["category"]) == (0, "OK", "spot")
            assert [int(row["execId"]) for row in answer["result"]["list"]] == ids[: -count - 1 : -1]
        row, true = answer["result"]["list"][0], place.sim.published("LTC/ETH")[-1]
        assert (row["price"], row["size"], row["time"]) == (f"{true.price:f}", f"{true.amount:f}", str(true.timestamp))
        assert row["side"].lower() == true.side

    @pytest.mark.parametrize(
        ("query", "msg"),
        [
            ("symbol=LTCETH", "params error: Category is invalid"),
            ("category=spot&symbol=NOSUCH", "Not supported symbols"),
            ("category=spot&symbol=LTCETH&limit=0", "params error: Limit invalid"),
        ],
    )
    async def test_errors_come_with_status_200(self, place: Place, query: str, msg: str) -> None:
        answer = await place.get(f"/v5/market/recent-trade?{query}")
        assert (place.status, answer["retCode"], answer["retMsg"]) == (200, 10001, msg)

    async def test_topics_are_answered_for_together(self, place: Place) -> None:
        async with place.socket("/v5/public/spot") as socket:
            [pong] = await socket.ask({"op": "ping", "req_id": "4"})
            assert (pong["success"], pong["ret_msg"], pong["op"], pong["req_id"]) == (True, "pong", "ping", "4")
            topics = ["publicTrade.BTCUSDT", "publicTrade.LTCETH"]
            [ack] = await socket.ask({"op": "subscribe", "args": topics, "req_id": 5})
            assert (ack["success"], ack["ret_msg"], ack["req_id"]) == (True, "subscribe", "5")
            assert ack["op"] == "subscribe"
            message = await socket.next()
            assert (message["topic"], message["type"]) == (topics[0], "snapshot")
            trade = message["data"][0]
            assert set(trade) == {"T", "s", "S", "v", "p", "i", "BT", "RPI", "seq"}
            assert int(trade["i"]) in place.published()
            await socket.socket.send_json({"op": "unsubscribe", "args": topics})
            while "data" in (said := await socket.next()):
                pass
            assert (said["success"], said["op"]) == (True, "unsubscribe")

    async def test_older_trades_come_again_where_they_are_told_to(self, place: Place) -> None:
        place.sim.faults.set({"replay": 5, "bulk": 3})
        async with place.socket("/v5/public/spot") as socket:
            said = await socket.ask({"op": "subscribe", "args": ["publicTrade.LTCETH"]}, 3)
            ids = [int(trade["i"]) for message in said[1:] for trade in message["data"]]
            assert ids == [int(trade.id) for trade in place.sim.published("LTC/ETH")[-5:]]

    @pytest.mark.parametrize(
        ("request_", "msg"),
        [
            ("{", "error:request is not valid json"),
            ('{"op": "x"}', "error:invalid op"),
            ('{"op": "subscribe"}', "error:invalid args"),
            ('{"op": "subscribe", "args": ["nothing.BTCUSDT"]}', "error:handler not found,topic:nothing.BTCUSDT"),
            ('{"op": "subscribe", "args": [{}]}', "error:handler not found,topic:{}"),
            (
                '{"op": "subscribe", "args": ["publicTrade.BTCUSDT", "publicTrade.NOSUCH"]}',
                "Invalid symbol :[publicTrade.NOSUCH]",
            ),
            (f'{{"op": "subscribe", "args": [{",".join(["1"] * 11)}]}}', "args size >10"),
        ],
    )
    async def test_messages_that_are_refused_change_nothing(self, place: Place, request_: str, msg: str) -> None:
        async with place.socket("/v5/public/spot") as socket:
            [said] = await socket.ask(request_)
            assert (said["success"], said["ret_msg"]) == (False, msg)
            async with asyncio.timeout(5):
                assert await place.get("/_streams") == {}


@pytest.mark.parametrize(
    ("place", "path", "code"),
    [("okx", "/ws/v5/public", 4004), ("coinbaseexchange", "/", 1000)],
    indirect=["place"],
)
async def test_who_asks_for_nothing_is_sent_away(
    place: Place, path: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"collection.simulator.protocols.{place.sim.protocol}._PATIENCE", 0.2)
    async with place.socket(path) as socket:
        closed = await socket.socket.receive(timeout=5)
        assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, code)


@on("okx")
async def test_pings_keep_a_connection_of_okx(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collection.simulator.protocols.okx._PATIENCE", 0.2)
    async with place.socket("/ws/v5/public") as socket:
        async with asyncio.timeout(5):
            begun = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() < begun + 0.5:
                await socket.socket.send_str("ping")
                assert await socket.socket.receive_str() == "pong"
