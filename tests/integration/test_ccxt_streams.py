"""Live trades through ccxt: each way in which ccxt loses or changes them is shown, and closed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import ccxt
import ccxt.pro
import pytest

from collection.clients import ccxt_recovery, ccxt_socket, queued_stream
from collection.clients.base import Live, Refused, Start, TradeStream
from collection.clients.ccxt_client import CCXTClient
from collection.clients.ccxt_exchange import make_exchange
from collection.errors import ConfigurationError, RetryLater
from collection.names import OTHER_IDS, WITH_KEYS, known_exchanges, streams_trades
from collection.records import Trade
from collection.setting_groups import ExchangeSettings
from collection.simulator import Simulator
from tests.simulation import exchange_settings, until
from tests.wire_server import WireServer, wire_client, wire_exchange

BTC, ETH = "BTC/USDT", "ETH/USDT"


class Listener:
    """Takes what comes over a stream as soon as it comes."""

    def __init__(self, stream: TradeStream) -> None:
        self.stream = stream
        self.came: list[Live] = []
        self.failure: Exception | None = None
        self.task = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        try:
            while True:
                self.came.append(await self.stream.next())
        except (RetryLater, ConfigurationError) as error:
            self.failure = error

    @property
    def trades(self) -> list[Trade]:
        return [trade for live in self.came for trade in live.trades]

    @property
    def ids(self) -> list[str]:
        return [trade.id for trade in self.trades]

    @property
    def refused(self) -> list[Refused]:
        return [record for live in self.came for record in live.refused]

    @property
    def fresh(self) -> int:
        return sum(live.fresh for live in self.came)

    def runs(self) -> list[list[Trade]]:
        """The trades between the marks at which something may be missing."""
        runs: list[list[Trade]] = []
        for live in self.came:
            if live.fresh:
                runs.append([])
            else:
                runs[-1].extend(live.trades)
        return runs


@contextlib.asynccontextmanager
async def listening(client: CCXTClient, *markets: str) -> AsyncIterator[list[Listener]]:
    listeners = [Listener(client.stream_trades(market)) for market in markets]
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.task.cancel()
            await asyncio.gather(listener.task, return_exceptions=True)
            await listener.stream.close()


@contextlib.asynccontextmanager
async def simulated_client(simulator: Simulator, **more: Any) -> AsyncIterator[CCXTClient]:
    given: dict[str, Any] = exchange_settings(simulator)["binance"]  # type: ignore[assignment]
    client = CCXTClient("binance", ExchangeSettings(**{**given, "options": given["options"] | more}))
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def plain(simulator: Simulator) -> AsyncIterator[Any]:
    """ccxt as it is."""
    given: dict[str, Any] = exchange_settings(simulator)["binance"]  # type: ignore[assignment]
    exchange = ccxt.pro.binance({"urls": {"api": given["urls"]}, "options": given["options"]})
    try:
        yield exchange
    finally:
        await exchange.close()


def connections(simulator: Simulator) -> list[Any]:
    assert simulator._streams
    return list(simulator._streams._connections)


def contiguous(trades: list[Trade]) -> bool:
    ids = [int(trade.id) for trade in trades]
    return ids == list(range(ids[0], ids[0] + len(ids))) if ids else True


# The same trades (1)


async def test_live_trades_are_those_of_rest() -> None:
    async with Simulator(markets=[BTC], rate=100) as simulator:
        async with plain(simulator) as exchange:
            live = await exchange.watch_trades(BTC)
            known = {row["id"] for row in await exchange.fetch_trades(BTC)}
            assert not known & {trade["id"] for trade in live}  # what ccxt does
        async with simulated_client(simulator) as client, listening(client, BTC) as [listener]:
            await until(lambda: len(listener.trades) > 20)
            published = {trade.id: trade for trade in simulator.published(BTC)}
            assert all(published[trade.id] == trade for trade in listener.trades)  # digit for digit
            page = await client.fetch_trades(BTC, Start(0))
            assert {trade.id for trade in page.trades} >= set(listener.ids[:10])


async def test_options_of_the_user_win() -> None:
    async with (
        Simulator(markets=[BTC], rate=100) as simulator,
        simulated_client(simulator, watchTradesForSymbols={"name": "trade"}) as client,
        listening(client, BTC) as [listener],
    ):
        await until(lambda: bool(listener.trades))
        assert not {trade.id for trade in simulator.published(BTC)} & set(listener.ids)
        assert [list(connection.streams) for connection in connections(simulator)] == [["btcusdt@trade"]]


# Nothing withheld or dropped (4, 5)


async def test_a_busy_consumer_gets_all_that_came() -> None:
    async with Simulator(markets=[BTC], rate=4_000) as simulator:
        async with plain(simulator) as exchange:
            first = await exchange.watch_trades(BTC)
            begun = len(simulator.published(BTC))
            await until(lambda: len(simulator.published(BTC)) > begun + 1_500)
            second = await exchange.watch_trades(BTC)
            third = await exchange.watch_trades(BTC)
            ids = [int(trade["id"]) for trade in [*first, *second, *third]]
            assert len(second) <= 1_000
            assert len(set(ids)) < max(ids) - min(ids) + 1  # what ccxt does: a hole, and no word of it
        async with simulated_client(simulator) as client, client.stream_trades(BTC) as stream:
            assert (await stream.next()).fresh
            got = [*(await stream.next()).trades]
            begun = len(simulator.published(BTC))
            await until(lambda: len(simulator.published(BTC)) > begun + 1_500)
            while len(got) < 1_500:
                live = await stream.next()
                assert not live.fresh
                got += live.trades
            assert contiguous(got)


async def test_two_markets_that_trade_together_both_come() -> None:
    def message(market: str, number: int) -> str:
        return (f'{{"e":"aggTrade","E":1,"s":"{market}","a":{number},"p":"2","q":"3","f":1,"l":1,'
                f'"T":{1_600_000_000_000 + number},"m":true,"M":true}}')  # fmt: skip

    markets = {BTC: "BTCUSDT", ETH: "ETHUSDT"}
    async with WireServer() as server:
        urls = {"ws": {"spot": f"{server.url}/stream"}}
        exchange = wire_exchange(ccxt.pro.binance({"urls": {"api": urls}}), markets)
        try:
            asking = asyncio.ensure_future(exchange.watch_trades_for_symbols([BTC, ETH]))
            await server.asked("btcusdt@trade")
            await server.say(message("BTCUSDT", 1), message("ETHUSDT", 2))
            assert [trade["symbol"] for trade in await asking] == [BTC]
            with pytest.raises(TimeoutError):  # what ccxt does: the other one waits for its next trade
                await asyncio.wait_for(exchange.watch_trades_for_symbols([BTC, ETH]), 0.3)
        finally:
            await exchange.close()
        client = wire_client("binance", urls, markets)
        async with listening(client, BTC, ETH) as [btc, eth]:
            await server.asked("btcusdt@aggTrade", "ethusdt@aggTrade")
            await server.say(message("BTCUSDT", 3), message("ETHUSDT", 4))
            await until(lambda: btc.ids == ["3"] and eth.ids == ["4"])
        await client.close()


async def test_of_what_waits_for_too_long_the_consumer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued_stream, "MOST_WAITING", 100)
    async with (
        Simulator(markets=[BTC], rate=500) as simulator,
        simulated_client(simulator) as client,
        client.stream_trades(BTC) as stream,
    ):
        assert isinstance(stream, queued_stream.QueuedStream)
        assert (await stream.next()).fresh
        first = (await stream.next()).trades[0]
        await until(lambda: stream.dropped > 100)
        live = await stream.next()
        assert live.fresh
        assert not live.trades
        after = (await stream.next()).trades
        assert len(after) <= 100
        assert contiguous([*after])
        assert int(after[0].id) - int(first.id) >= stream.dropped


# Connections that break (6, 7)


async def test_a_break_is_told_between_what_came_before_and_after_it() -> None:
    async with Simulator(markets=[BTC, ETH], rate=200) as simulator:
        async with plain(simulator) as exchange:
            first = await exchange.watch_trades(BTC)
            simulator.faults.set({"disconnect_every": 0.2})
            await until(lambda: simulator.faults.counts["disconnect_every"] > 0)
            simulator.faults.clear()
            begun = len(simulator.published(BTC))
            await until(lambda: len(simulator.published(BTC)) > begun + 20)
            later = await exchange.watch_trades(BTC)  # what ccxt does: no error
            ids = sorted({int(trade["id"]) for trade in [*first, *later]})
            assert len(ids) < ids[-1] - ids[0] + 1  # and a hole
        async with simulated_client(simulator) as client, listening(client, BTC, ETH) as listeners:
            await until(lambda: all(listener.trades for listener in listeners))
            simulator.faults.set({"disconnect_every": 0.5})
            await until(lambda: all(listener.fresh >= 4 for listener in listeners))
            simulator.faults.clear()
            await until(lambda: all(len(listener.runs()[-1]) > 20 for listener in listeners))
            for listener in listeners:
                assert listener.came[0].fresh
                assert all(contiguous(run) for run in listener.runs())
                assert len(set(listener.ids)) == len(listener.ids)
            assert len(connections(simulator)) == 1


async def test_a_half_open_connection_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ccxt.pro.binance().streaming["keepAlive"] == 180_000  # what ccxt does: pings each three minutes
    assert ccxt_socket.PING * (ccxt_socket.UNHEARD + 1) <= 30
    monkeypatch.setattr(ccxt_socket, "PING", 0.2)
    async with (
        Simulator(markets=[BTC], rate=200) as simulator,
        simulated_client(simulator) as client,
        listening(client, BTC) as [listener],
    ):
        await until(lambda: bool(listener.trades))
        simulator.faults.set({"halfopen": 1})
        await until(lambda: simulator.faults.counts["halfopen"] > 0)
        simulator.faults.clear()
        before = len(simulator.published(BTC))
        await until(lambda: listener.fresh == 2 and len(listener.runs()[-1]) > 10)
        assert len(simulator.published(BTC)) - before < 400  # two seconds
        assert all(contiguous(run) for run in listener.runs())


async def test_neither_a_quiet_market_nor_a_clock_that_jumps_is_taken_for_death(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ccxt_socket, "PING", 0.05)
    async with (
        WireServer() as server,
        on_wire(server, "binance", "/stream") as client,
        listening(client, BTC) as [listener],
    ):
        await until(lambda: server.pings > 5)
        real = ccxt.Exchange.milliseconds
        monkeypatch.setattr(ccxt.Exchange, "milliseconds", staticmethod(lambda: real() + 86_400_000))
        await until(lambda: server.pings > 15)
        assert listener.fresh == server.connected == 1


async def test_a_server_that_answers_no_pings_is_given_more_and_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ccxt_socket, "PING", 0.05)
    async with WireServer() as server, on_wire(server, "binance", "/stream") as client:
        server.answers_pings = False
        async with listening(client, BTC):
            pings = [0]
            for connection in (2, 3, 4):
                await until(lambda connection=connection: server.connected >= connection)  # type: ignore[misc]
                pings.append(server.pings)
            first, second, third = (after - before for before, after in itertools.pairwise(pings))
            assert first < second < third


# Connections that can't be had


async def test_without_a_connection_a_stream_fails_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ccxt_recovery, "PATIENCE", 0.5)
    async with Simulator(markets=[BTC], rate=100) as simulator, simulated_client(simulator) as client:
        await client.fetch_trades(BTC, Start("now"))
        simulator.faults.set({"drop": 1})
        async with client.stream_trades(BTC) as stream:
            with pytest.raises(RetryLater, match=r"binance: BTC/USDT: no connection for 0.5 s: .*disconnected"):
                await stream.next()
            with pytest.raises(RetryLater):
                await stream.next()
            simulator.faults.clear()
            async with asyncio.timeout(20):  # it went on trying
                while not (await _whatever_comes(stream)).fresh:
                    pass
                assert (await stream.next()).trades


async def _whatever_comes(stream: TradeStream) -> Live:
    try:
        return await stream.next()
    except RetryLater:
        return Live(())


async def test_without_rest_a_stream_fails_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ccxt_recovery, "PATIENCE", 0.5)
    async with (
        Simulator(markets=[BTC, ETH], rate=100, faults={"error": 1}) as simulator,
        simulated_client(simulator) as client,
        listening(client, BTC, ETH) as listeners,
    ):
        await until(lambda: all(listener.failure is not None for listener in listeners))
        assert "no connection for 0.5 s: binance: ExchangeNotAvailable" in str(listeners[0].failure)


@pytest.mark.parametrize(("fault", "status"), [("rate_limit", 429), ("ban", 418)])
async def test_who_wants_to_be_left_alone_is(fault: str, status: int) -> None:
    async with Simulator(markets=[BTC], rate=100) as simulator, simulated_client(simulator) as client:
        await client.fetch_trades(BTC, Start("now"))
        simulator.faults.set({fault: 1, "retry_after": 1})
        async with client.stream_trades(BTC) as stream:
            with pytest.raises(RetryLater, match=str(status)) as failure:
                await stream.next()
            assert failure.value.after == 1
            began, requests = time.monotonic(), simulator.faults.counts["requests"]
            simulator.faults.clear()
            with pytest.raises(RetryLater, match="asked to wait"):
                await client.fetch_trades(BTC, Start("now"))
            assert (await stream.next()).fresh
            assert time.monotonic() - began > 0.9
            assert simulator.faults.counts["requests"] == requests + 1


async def test_what_is_configured_wrongly_is_said() -> None:
    async with (
        Simulator(markets=[BTC, ETH], rate=100) as simulator,
        simulated_client(simulator) as client,
        listening(client, BTC, "FOO/BAR", ETH) as [btc, wrong, eth],
    ):
        await until(lambda: bool(btc.trades and eth.trades and wrong.failure))
        assert isinstance(wrong.failure, ConfigurationError)
        assert "FOO/BAR" in str(wrong.failure)
        with pytest.raises(ConfigurationError, match="FOO/BAR"):
            await client.stream_trades("FOO/BAR").next()
    client = CCXTClient("bydfi", ExchangeSettings())
    async with client.stream_trades(BTC) as stream:
        with pytest.raises(ConfigurationError, match="bydfi: ccxt can't stream its trades"):
            await stream.next()
    await client.close()


async def test_one_refused_subscription_does_not_take_others_with_it() -> None:
    markets = {BTC: "BTC-USDT", ETH: "ETH-USDT", "FOO/USDT": "FOO-USDT"}
    async with (
        WireServer() as server,
        on_wire(server, "okx", markets=markets) as client,
        listening(client, *markets) as [btc, eth, foo],
    ):
        await server.asked("trades-all", *markets.values())
        error = {"event": "error", "msg": "channel:trades-all,instId:FOO-USDT doesn't exist", "code": "60018"}
        await server.say(error, okx("BTC-USDT", 1), okx("ETH-USDT", 2))
        await until(lambda: btc.ids == ["1"] and eth.ids == ["2"] and foo.failure is not None)
        assert isinstance(foo.failure, ConfigurationError)
        assert btc.failure is eth.failure is None
        assert btc.fresh == 1


async def test_a_refusal_that_names_none_is_found_by_asking_for_each() -> None:
    markets = {BTC: "BTC-USDT", ETH: "ETH-USDT"}
    async with (
        WireServer() as server,
        on_wire(server, "okx", markets=markets) as client,
        listening(client, *markets) as [btc, eth],
    ):
        await server.asked("BTC-USDT", "ETH-USDT")
        await server.say({"event": "error", "msg": "Illegal request", "code": "60012"})
        await until(lambda: len(server.received) == 3)
        assert [len(request["args"]) for request in server.received] == [2, 1, 1]
        await server.say(okx("BTC-USDT", 1), okx("ETH-USDT", 2))
        await until(lambda: btc.ids == ["1"] and eth.ids == ["2"])


# Messages (8, 10)


async def test_after_a_message_that_cannot_be_read_the_stream_goes_on() -> None:
    market = {"BTC/USD": "XXBTZUSD"}

    def message(number: int) -> dict[str, Any]:
        trade = {"symbol": "BTC/USD", "side": "buy", "price": 0.5, "qty": 4, "ord_type": "market", "trade_id": number,
                 "timestamp": "2023-09-25T07:49:37.708706Z"}  # fmt: skip
        return {"channel": "trade", "type": "update", "data": [trade]}

    async with WireServer() as server:
        urls = {"ws": {"publicV2": server.url}}
        exchange = wire_exchange(ccxt.pro.kraken({"urls": {"api": urls}}), market)
        loop, crashes = asyncio.get_running_loop(), list[Any]()
        loop.set_exception_handler(lambda _, context: crashes.append(context["exception"]))
        try:
            asking = asyncio.ensure_future(exchange.watch_trades("BTC/USD"))
            await server.asked("subscribe")
            await server.say('{"channel":"trade","type":"upd', message(1))
            with pytest.raises(TimeoutError):  # what ccxt does: it reads no more, and says nothing
                await asyncio.wait_for(asking, 0.5)
            assert "JSON" in repr(crashes[0])
        finally:
            await exchange.close()
            loop.set_exception_handler(None)
        client = wire_client("kraken", urls, market)
        async with listening(client, *market) as [listener]:
            await until(lambda: listener.fresh == 1)
            broken = ['{"channel":"trade","type":"upd', '{"channel":"trade","data":[{"symbol":["?"]}]}', "[1,2]"]
            await server.say(message(1), *broken, b"\xff\xfe", message(2))
            await until(lambda: listener.ids == ["1", "2"])
            assert [record.reason for record in listener.refused] == ["unreadable"] * len(listener.refused)
            assert len(listener.refused) >= 3
            assert listener.refused[0].source.startswith(broken[0])
            assert listener.fresh > 1  # without contiguous ids, nothing else tells that a trade may be missing
        await client.close()


async def test_of_an_unknown_market_the_last_messages_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    markets = {BTC: "BTCUSDT", ETH: "ETHUSDT"}
    async with (
        WireServer() as server,
        on_wire(server, "binance", "/stream", markets) as client,
        listening(client, *markets) as [btc, eth],
    ):
        await until(lambda: btc.fresh == eth.fresh == 1)
        await server.say(*[f'{{"n":{n},"cut off":"{"x" * 600}' for n in range(20)])
        await until(lambda: client.unreadable_count == 20)
        assert [len(text) for text in client.unreadable] == [500] * 10
        assert client.unreadable[-1].startswith('{"n":19,')
        assert len([record for record in caplog.records if "can't be read" in record.message]) == 3
        assert btc.fresh == 1  # the ids tell whether anything is missing
        await until(lambda: len(btc.refused) == 20)
        assert btc.refused[0].reason == "unreadable"
        assert btc.refused[0].source.endswith("of one of 2 markets")
        assert eth.refused == []


async def test_trades_that_lack_something_are_refused() -> None:
    async with (
        Simulator(markets=[BTC, ETH], rate=200, faults={"malform": 0.3, "cut": 0.1}) as simulator,
        simulated_client(simulator) as client,
        listening(client, BTC, ETH) as listeners,
    ):
        await until(lambda: all(len(listener.trades) > 100 for listener in listeners))
        await until(lambda: all(bool(listener.refused) for listener in listeners))
        for market, listener in zip((BTC, ETH), listeners, strict=True):
            published = {trade.id: trade for trade in simulator.published(market)}
            assert all(published[trade.id] == trade for trade in listener.trades)
            reasons = {"no_price", "no_amount", "no_time", "no_id", "unreadable"}
            assert {record.reason for record in listener.refused} <= reasons
            assert listener.fresh == 1
        assert client.unreadable_count > 0


HTX = ('{"ch":"market.btcusdt.trade.detail","ts":1583495834011,"tick":{"id":1,"ts":1583495833751,"data":['
       '{"id":%s,"ts":1583495833751,%s"amount":0.00389300,"price":9150.010,"direction":"sell"}]}}')  # fmt: skip


async def test_digits_survive() -> None:
    ids = ["105004645372000000000000001", "105004645372000000000000002"]
    market = {BTC: "btcusdt"}
    async with WireServer() as server:
        urls = {"ws": {"api": {"spot": {"public": server.url}}}}
        exchange = wire_exchange(ccxt.pro.htx({"urls": {"api": urls}}), market)
        try:
            asking = asyncio.ensure_future(exchange.watch_trades(BTC))
            await server.asked("btcusdt")
            await server.say(HTX % (ids[0], ""))
            [trade] = await asyncio.wait_for(asking, 5)
            assert trade["id"] == "1.05004645372e+26"  # what ccxt does
        finally:
            await exchange.close()
        client = wire_client("htx", urls, market)
        async with listening(client, BTC) as [listener]:
            await until(lambda: listener.fresh == 1)
            await server.say(*[HTX % (id, "") for id in ids])
            await until(lambda: listener.ids == ids)
            assert {trade.line for trade in listener.trades} == {
                f"1583495833751,{id},sell,9150.010,0.00389300" for id in ids
            }
        await client.close()


def test_live_trades_have_the_id_that_rest_gives_under_another_name() -> None:
    for exchange, live, rest in (
        ("htx", {"id": 105, "tradeId": 102}, {"id": 105, "trade-id": 102}),
        ("kucoin", {"sequence": "7", "tradeId": "7"}, {"sequence": "7"}),
    ):
        made = wire_exchange(make_exchange(exchange, ExchangeSettings()), {BTC: "BTC-USDT"})
        assert made.parse_trade(live, made.market(BTC))["id"] == made.parse_trade(rest, made.market(BTC))["id"]
        as_it_is = wire_exchange(getattr(ccxt.pro, exchange)(), {BTC: "BTC-USDT"})
        one, other = (as_it_is.parse_trade(row, as_it_is.market(BTC))["id"] for row in (live, rest))
        assert one != other  # what ccxt does


async def test_live_trades_without_the_ids_that_rest_gives_are_not_taken() -> None:
    async with WireServer() as server, on_wire(server, "okx") as client:
        client._makes_ids = False
        async with listening(client, BTC) as [listener]:
            await until(lambda: listener.fresh == 1)
            message = okx("BTCUSDT", 1)
            message["data"][0].pop("tradeId")
            await server.say(message)
            await until(lambda: isinstance(listener.failure, ConfigurationError))
            assert not listener.trades


async def test_messages_of_another_version_are_refused() -> None:
    data = {"v": "2100000000007764263", "t": 1652193022372, "p": "31900.5", "q": "0.000655", "m": True}
    message = {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1, "data": [data | {"p": None, "q": None}]}
    async with WireServer() as server:
        client = wire_client("bybit", {"ws": {"public": {"spot": f"{server.url}/spot"}}}, {BTC: "BTCUSDT"})
        async with listening(client, BTC) as [listener]:
            await server.asked("publicTrade.BTCUSDT")
            await server.say(message)
            await until(lambda: [record.reason for record in listener.refused] == ["no_price"])
            assert "2100000000007764263" in listener.refused[0].source
        await client.close()


async def test_repeated_trades_come_as_they_are() -> None:
    def match(number: int) -> dict[str, Any]:
        return {"type": "match", "trade_id": number, "side": "sell", "size": "0.5", "price": "9314.78", "sequence": 1,
                "product_id": "BTC-USDT", "time": "2020-01-31T20:03:41.158814Z", "maker_order_id": "0f358725-2134",
                "taker_order_id": "252b7002-87a3"}  # fmt: skip

    async with (
        WireServer() as server,
        on_wire(server, "coinbaseexchange", markets={BTC: "BTC-USDT"}) as client,
        listening(client, BTC) as [listener],
    ):
        await server.asked("matches")
        await server.say(match(7), match(7), match(8), match(7))
        await until(lambda: listener.ids == ["7", "7", "8", "7"])
        assert len(set(listener.trades)) == 2


# Sharing, renewing, leaving


async def test_all_markets_share_a_socket_and_few_messages() -> None:
    markets = [f"{chr(65 + n // 26)}{chr(65 + n % 26)}X/USDT" for n in range(500)]
    async with Simulator(markets=markets, rate=1) as simulator, simulated_client(simulator) as client:
        async with plain(simulator) as exchange:
            with pytest.raises(ccxt.BadRequest, match="200 symbols at most"):  # what ccxt does
                await exchange.watch_trades_for_symbols(markets)
            tasks = [asyncio.ensure_future(exchange.watch_trades(market)) for market in markets[:10]]
            await until(lambda: len(connections(simulator)) == 10)  # what ccxt does: a socket for each call
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: not connections(simulator))
        async with listening(client, *markets) as listeners:
            began = time.monotonic()
            await until(lambda: all(listener.fresh == 1 for listener in listeners))
            assert time.monotonic() - began < 10
            [connection] = connections(simulator)
            assert len(connection.streams) == 500
            await until(lambda: sum(len(listener.trades) > 0 for listener in listeners) > 400)
            for listener in listeners[:400]:  # as many may go elsewhere at once
                listener.task.cancel()
                await listener.stream.close()
            began = time.monotonic()
            await until(lambda: len(connection.streams) == 100)
            assert time.monotonic() - began < 5


async def test_who_leaves_is_unsubscribed_and_the_last_one_hangs_up() -> None:
    async with Simulator(markets=[BTC, ETH], rate=100) as simulator, simulated_client(simulator) as client:
        async with listening(client, BTC) as [btc]:
            async with listening(client, BTC, ETH) as [second, eth]:
                await until(lambda: bool(btc.trades and second.trades and eth.trades))
                [connection] = connections(simulator)
            await until(lambda: list(connection.streams) == ["btcusdt@aggTrade"])
            async with listening(client, ETH) as [eth]:  # and comes back
                await until(lambda: len(eth.trades) > 10)
                assert eth.came[0].fresh
                assert contiguous(eth.trades)
            assert btc.fresh == 1
            assert contiguous(btc.trades)
        await until(lambda: not connections(simulator))
        async with listening(client, ETH) as [eth]:
            await until(lambda: bool(eth.trades))


async def test_where_each_market_is_subscribed_by_itself_they_share_a_socket_too() -> None:
    markets = {BTC: "btcusdt", ETH: "ethusdt"}
    async with WireServer() as server:
        client = wire_client("htx", {"ws": {"api": {"spot": {"public": server.url}}}}, markets)
        async with listening(client, BTC) as [btc]:
            async with listening(client, ETH) as [eth]:
                await until(lambda: btc.fresh == eth.fresh == 1)
                assert server.connected == 1
                await server.say(HTX % (1, '"tradeId":2,'))
                await until(lambda: btc.ids == ["2"])
            await until(lambda: len(server.received) == 3)
            assert server.received[2]["unsub"] == "market.ethusdt.trade.detail"
            assert len(server.sockets) == 1
        await until(lambda: not server.sockets)
        await client.close()


async def test_connections_that_break_again_and_again_are_had_again_soon() -> None:
    async with (
        Simulator(markets=[BTC], rate=100) as simulator,
        simulated_client(simulator) as client,
        listening(client, BTC) as [listener],
    ):
        await until(lambda: bool(listener.trades))
        assert client._subscriptions
        recovery = client._subscriptions._recovery
        [url] = recovery._connected_at
        for _ in range(10):
            recovery._backoff(url)
        [socket] = client._ccxt.clients.values()
        recovery._connected_at[url] -= 3.0
        simulator.faults.set({"disconnect_every": 0.01})
        await until(lambda: socket.ended)
        simulator.faults.clear()
        began = time.monotonic()
        await until(lambda: listener.fresh == 2)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [("http://p:1", ["http://p:1", None, None]), ("https://p:1", [None, "https://p:1", None]),
     ("socks5://p:1", [None, None, "socks5://p:1"])],
)  # fmt: skip
def test_a_proxy_is_one_for_sockets_too(proxy: str, expected: list[str | None]) -> None:
    made = make_exchange("binance", ExchangeSettings(proxy=proxy))
    assert made.check_ws_proxy_settings() == expected


async def test_a_dead_subscription_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ccxt_recovery, "RENEWING", 1.0)
    async with (
        Simulator(markets=[BTC, ETH], rate=100) as simulator,
        simulated_client(simulator) as client,
        listening(client, BTC, ETH) as listeners,
    ):
        btc, eth = listeners
        await until(lambda: bool(btc.trades and eth.trades))
        [connection] = connections(simulator)
        simulator.faults.set({"deaf": 1})
        await until(lambda: simulator.faults.counts["deaf"] >= 2)
        simulator.faults.clear()
        for listener in listeners:
            listener.stream.renew()
        await until(lambda: btc.fresh == eth.fresh == 2)
        await until(lambda: all(len(listener.runs()[-1]) > 10 for listener in listeners))
        began = time.monotonic()
        assert connection not in connections(simulator)
        btc.stream.renew()  # again, at once: a socket is not renewed so often
        eth.stream.renew()
        await until(lambda: btc.fresh == eth.fresh == 3)
        assert time.monotonic() - began > 0.5
        assert len(connections(simulator)) == 1


async def test_a_cancelled_wait_loses_nothing() -> None:
    async with (
        Simulator(markets=[BTC], rate=300) as simulator,
        simulated_client(simulator) as client,
        client.stream_trades(BTC) as stream,
    ):
        trades: list[Trade] = []
        while len(trades) < 200:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.002):
                    trades += (await stream.next()).trades
        assert contiguous(trades)


async def test_a_closed_client_ends_its_streams() -> None:
    async with Simulator(markets=[BTC, ETH], rate=100) as simulator:
        async with simulated_client(simulator) as client:
            btc, eth = (Listener(client.stream_trades(market)) for market in (BTC, ETH))
            await until(lambda: bool(btc.trades))
            simulator.faults.set({"halfopen": 1})
            await until(lambda: simulator.faults.counts["halfopen"] > 0)
            began = time.monotonic()
        assert time.monotonic() - began < 1.5
        await until(lambda: btc.task.done() and eth.task.done())
        assert "closed" in str(btc.failure)
        await btc.stream.close()


@contextlib.asynccontextmanager
async def on_wire(
    server: WireServer, exchange: str, path: str = "", markets: dict[str, str] | None = None
) -> AsyncIterator[CCXTClient]:
    url = f"{server.url}{path}"
    client = wire_client(exchange, {"ws": {"spot": url} if path else url}, markets or {BTC: "BTCUSDT"})
    try:
        yield client
    finally:
        await client.close()


def okx(market: str, number: int) -> dict[str, Any]:
    trade = {"instId": market, "tradeId": str(number), "px": "2", "sz": "3", "side": "buy", "ts": "1626531038288"}
    return {"arg": {"channel": "trades-all", "instId": market}, "data": [trade]}


def test_which_exchanges_stream_is_read_right_from_their_files() -> None:
    streaming = {exchange for exchange in known_exchanges() if streams_trades(exchange)}
    able = {name for name in ccxt.pro.exchanges if getattr(ccxt.pro, name)().has.get("watchTrades")}
    assert streaming == able - OTHER_IDS - WITH_KEYS
    assert able >= OTHER_IDS | WITH_KEYS
    assert len(streaming) > 60
