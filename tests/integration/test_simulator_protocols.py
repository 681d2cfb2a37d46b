"""The simulator's protocols beside Binance's, as unmodified ccxt meets them; and the faults of each."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import ccxt.pro
import pytest

from collection.records import Trade, digest
from collection.simulator import PROTOCOLS, Simulator
from collection.simulator.generator import Generator
from collection.simulator.tape import COLUMNS
from tests.simulation import until

TAPE = Generator("LTC/ETH", 5, 50.0, 1_600_000_000_000).rows(0, 2_345)
BTC = "BTC/USDT"
OTHERS = [name for name in PROTOCOLS if name != "binance"]
SHORT = aiohttp.ClientWSTimeout(ws_close=0.1)


class Form(NamedTuple):
    """How a plain socket gets the trades of BTC/USDT."""

    path: str
    subscribe: dict[str, Any]
    trades: Callable[[Any], list[tuple[int, Any]]]
    """Return ids and prices of a message; none of one that is no message of trades."""


FORMS = {
    "binance": Form(
        "/ws",
        {"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 1},
        lambda m: [(m["a"], m["p"])] if "a" in m else [],
    ),
    "coinbaseexchange": Form(
        "/",
        {"type": "subscribe", "product_ids": ["BTC-USDT"], "channels": ["matches"]},
        lambda m: [(m["trade_id"], m["price"])] if m.get("type") == "match" and "size" in m else [],
    ),
    "kraken": Form(
        "/v2",
        {"method": "subscribe", "params": {"channel": "trade", "symbol": [BTC]}},
        lambda m: [(t["trade_id"], t["price"]) for t in m["data"]] if m.get("channel") == "trade" else [],
    ),
    "okx": Form(
        "/ws/v5/business",
        {"op": "subscribe", "args": [{"channel": "trades-all", "instId": "BTC-USDT"}]},
        lambda m: [(int(t["tradeId"]), t["px"]) for t in m.get("data", [])],
    ),
    "bybit": Form(
        "/v5/public/spot",
        {"op": "subscribe", "args": ["publicTrade.BTCUSDT"]},
        lambda m: [(int(t["i"]), t["p"]) for t in m.get("data", [])],
    ),
}


@pytest.fixture
def made_tape(tmp_path: Path) -> Path:
    path = tmp_path / "tape.csv.gz"
    path.write_bytes(gzip.compress("\n".join([COLUMNS, *(row.line for row in TAPE), ""]).encode()))
    return path


@pytest.fixture(params=OTHERS)
async def sim(request: pytest.FixtureRequest, made_tape: Path) -> AsyncIterator[Simulator]:
    """Of the tape all is published at once; the generated markets trade as time goes by."""
    markets = [BTC, "DOGE/USD", "XRP/EUR"]
    async with Simulator(
        protocol=request.param, tapes={"LTC/ETH": made_tape}, markets=markets, speed=1e6, rate=200.0, weight_limit=10**6
    ) as running:
        await until(lambda: len(running.published("LTC/ETH")) == len(TAPE))
        yield running


@pytest.fixture
async def exchange(sim: Simulator) -> AsyncIterator[Any]:
    async with client(sim) as opened:
        yield opened


@contextlib.asynccontextmanager
async def client(sim: Simulator, **more: Any) -> AsyncIterator[Any]:
    given = {"urls": {"api": sim.urls()}, "options": {"fetchMarkets": {"types": ["spot"]}}, "enableRateLimit": False}
    opened = getattr(ccxt.pro, sim.protocol)({**given, **more})
    opened.number = str
    opened.has["fetchCurrencies"] = opened.has["fetchCurrencies"] and not more
    try:
        yield opened
    finally:
        await opened.close()


def record(row: dict[str, Any]) -> Trade:
    return Trade(row["timestamp"], row["id"], row["side"], Decimal(row["price"]), Decimal(row["amount"]))


async def truth(sim: Simulator, market: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(f"{sim.url}/_truth/{market}") as response:
        return await response.json()


async def whole_history(exchange: Any, market: str = "LTC/ETH") -> list[Trade]:
    """Page through all of a market that REST has, as each exchange wants it, to trades by ascending id."""
    found: dict[str, dict[str, Any]] = {}
    at = 0
    while True:
        match exchange.id:
            case "coinbaseexchange":
                rows = await exchange.fetch_trades(market, limit=1000, params={"after": at} if at else {})
            case "okx":
                method = {"method": "publicGetMarketHistoryTrades"}
                rows = await exchange.fetch_trades(market, limit=100, params=method | ({"after": at} if at else {}))
            case "kraken":
                rows = await exchange.fetch_trades(market, params={"since": str(at)})
            case _:
                rows = await exchange.fetch_trades(market)
        new = {row["id"]: row for row in rows} | found
        if len(new) == len(found):
            return [record(found[id]) for id in sorted(found, key=int)]
        found = new
        times, ids = [row["timestamp"] for row in rows], [int(row["id"]) for row in rows]
        at = max(times) * 10**6 - 1 if exchange.id == "kraken" else min(ids)


async def test_ccxt_loads_the_markets_and_the_time(sim: Simulator, exchange: Any) -> None:
    markets = await exchange.load_markets()
    assert set(markets) == {"LTC/ETH", BTC, "DOGE/USD", "XRP/EUR"}
    assert markets[BTC]["active"]
    assert (markets[BTC]["precision"]["price"], markets[BTC]["precision"]["amount"]) == ("0.01", "0.00001")
    assert abs(await exchange.fetch_time() - sim.now()) < 2_000
    ids = {"kraken": ("XBTUSDT", "XDGUSD", "XXRPZEUR"), "bybit": ("BTCUSDT", "DOGEUSD", "XRPEUR")}
    named = tuple(markets[name]["id"] for name in (BTC, "DOGE/USD", "XRP/EUR"))
    assert named == ids.get(sim.protocol, ("BTC-USDT", "DOGE-USD", "XRP-EUR"))


async def test_ccxt_pages_through_the_tape_and_finds_the_truth(sim: Simulator, exchange: Any) -> None:
    found = await whole_history(exchange)
    published = sim.published("LTC/ETH")
    reached = 60 if sim.protocol == "bybit" else len(TAPE)
    assert found == published[-reached:]
    told = await truth(sim, "LTC/ETH")
    assert (told["count"], told["digest"]) == (len(TAPE), digest(published))
    assert (told["first_id"], told["last_id"]) == (published[0].id, published[-1].id)
    own = [(row.side, Decimal(row.price), Decimal(row.amount)) for row in TAPE]
    assert [(trade.side, trade.price, trade.amount) for trade in published] == own
    if sim.protocol in ("kraken", "coinbaseexchange"):
        assert not any(f"{trade.price:f}".endswith("0") for trade in published if "." in f"{trade.price:f}")
    else:
        assert [f"{trade.price:f}" for trade in published] == [row.price for row in TAPE]


async def test_ccxt_watches_trades_as_they_are_published(sim: Simulator, exchange: Any) -> None:
    seen: dict[str, dict[str, Any]] = {}
    while len(seen) < 60:
        for row in await exchange.watch_trades(BTC):
            seen[row["id"]] = row
    published = sim.published(BTC)
    if sim.protocol == "okx":
        published = merged(published)
    first = [trade.id for trade in published].index(next(iter(seen)))
    assert [record(row) for row in seen.values()] == published[first : first + len(seen)]


def merged(trades: list[Trade]) -> list[Trade]:
    """As the channel `trades` of OKX tells them: those of one moment, side and price are one, with the last id."""
    groups = [list(group) for _, group in itertools.groupby(trades, lambda t: (t.timestamp, t.side, t.price))]
    return [
        Trade(g[-1].timestamp, g[-1].id, g[-1].side, g[-1].price, Decimal(sum(t.amount for t in g))) for g in groups
    ]


@pytest.mark.parametrize("sim", ["okx"], indirect=True)
async def test_ccxt_watches_each_single_trade_of_okx(sim: Simulator) -> None:
    keys = {"apiKey": "any", "secret": "any", "password": "any"}
    async with client(sim, **keys) as exchange:
        seen: dict[str, dict[str, Any]] = {}
        while len(seen) < 60:
            for row in await exchange.watch_trades(BTC, params={"channel": "trades-all"}):
                seen[row["id"]] = row
    published = sim.published(BTC)
    first = [trade.id for trade in published].index(next(iter(seen)))
    assert [record(row) for row in seen.values()] == published[first : first + len(seen)]


async def test_a_short_history_has_the_newest_trades_only(sim: Simulator, exchange: Any) -> None:
    sim.faults.set({"history": 37})
    assert await whole_history(exchange) == sim.published("LTC/ETH")[-37:]


async def test_faulty_pages_are_the_right_pages(sim: Simulator, exchange: Any) -> None:
    sim.faults.set({"repeat": 1, "reorder": 1})
    reached = 60 if sim.protocol == "bybit" else len(TAPE)
    assert await whole_history(exchange) == sim.published("LTC/ETH")[-reached:]
    assert sim.faults.counts["repeat"] > 0 < sim.faults.counts["reorder"]


async def test_ccxt_knows_the_answers_to_those_who_ask_too_much_or_for_what_is_not_there(
    sim: Simulator, exchange: Any, made_tape: Path
) -> None:
    await exchange.load_markets()
    limited = {"kraken": ccxt.DDoSProtection}.get(sim.protocol, ccxt.RateLimitExceeded)
    banned = limited if sim.protocol in ("kraken", "bybit") else ccxt.ExchangeNotAvailable
    for fault, error in (("rate_limit", limited), ("ban", banned), ("error", ccxt.ExchangeNotAvailable)):
        sim.faults.set({fault: 1})
        with pytest.raises(error):
            await exchange.fetch_trades(BTC)
        sim.faults.clear()
    exchange.markets[BTC]["id"] = "NO-SUCH"
    unknown = {"okx": ccxt.BadSymbol, "bybit": ccxt.BadRequest, "coinbaseexchange": ccxt.OrderNotFound}
    with pytest.raises(unknown.get(sim.protocol, ccxt.ExchangeError)):
        await exchange.fetch_trades(BTC)
    async with Simulator(protocol=sim.protocol, tapes={"LTC/ETH": made_tape}, weight_limit=0) as poor:
        async with client(poor) as other:
            with pytest.raises(limited):
                await other.fetch_time()
        assert poor.faults.counts["weight_exceeded"] == 1


@contextlib.asynccontextmanager
async def listening(protocol: str, rate: float = 500.0) -> AsyncIterator[tuple[Simulator, Any]]:
    """A simulator, and a socket that asked for the trades of BTC/USDT."""
    form = FORMS[protocol]
    async with (
        Simulator(protocol=protocol, markets=[BTC], rate=rate) as sim,
        aiohttp.ClientSession(sim.url) as http,
        http.ws_connect(form.path, autoping=False, timeout=SHORT) as socket,
    ):
        await socket.send_json(form.subscribe)
        await until(lambda: bool(sim.faults.counts["messages"]))
        yield sim, socket


async def read(protocol: str, socket: Any, count: int) -> tuple[list[int], int, int]:
    """Read until there are so many ids; also count what was cut off and what was malformed."""
    ids: list[int] = []
    cut = malformed = 0
    while len(ids) < count:
        text = await socket.receive_str(timeout=5)
        try:
            trades = FORMS[protocol].trades(json.loads(text))
        except json.JSONDecodeError:
            cut += 1
        except (KeyError, TypeError, AttributeError):
            malformed += 1
        else:
            malformed += any(price is None for _, price in trades)
            ids += [id for id, price in trades if price is not None]
    return ids, cut, malformed


@pytest.mark.parametrize("protocol", PROTOCOLS)
class TestStreams:
    async def test_nothing_is_missed_from_the_subscription_on(self, protocol: str) -> None:
        async with listening(protocol, 1_000.0) as (sim, socket):
            ids, *_ = await read(protocol, socket, 500)
            true = [int(trade.id) for trade in sim.published(BTC)]
        assert ids == true[true.index(ids[0]) :][: len(ids)]

    async def test_trades_are_repeated_and_reordered_but_not_lost(self, protocol: str) -> None:
        async with listening(protocol) as (sim, socket):
            sim.faults.set({"repeat": 0.3, "reorder": 0.3})
            ids, *_ = await read(protocol, socket, 200)
            true = [int(trade.id) for trade in sim.published(BTC)]
        assert ids != sorted(ids)
        assert len(set(ids)) < len(ids)
        assert set(true[true.index(min(ids)) : true.index(max(ids)) - 8]) <= set(ids)

    async def test_messages_are_lost_cut_off_and_malformed(self, protocol: str) -> None:
        async with listening(protocol) as (sim, socket):
            sim.faults.set({"lose": 0.1, "cut": 0.1, "malform": 0.2})
            ids, cut, malformed = await read(protocol, socket, 200)
            true = [int(trade.id) for trade in sim.published(BTC)]
        assert ids == sorted(set(ids))
        assert len(ids) < true.index(ids[-1]) - true.index(ids[0]) + 1
        assert cut > 3
        assert malformed > 3 or protocol == "coinbaseexchange"  # where some have no type any more

    async def test_a_stream_falls_silent_and_its_connection_lives_on(self, protocol: str) -> None:
        async with listening(protocol) as (sim, socket):
            sim.faults.set({"deaf": 1})
            await until(lambda: sim.faults.counts["deaf"] == 1)
            await socket.ping()
            while (await socket.receive(timeout=5)).type != aiohttp.WSMsgType.PONG:
                pass
            sim.faults.clear()
            published = len(sim.published(BTC))
            await until(lambda: len(sim.published(BTC)) > published + 20)
            with pytest.raises(TimeoutError):
                await read_within(protocol, socket, 0.1)

    async def test_a_half_open_connection_says_nothing_more(self, protocol: str) -> None:
        async with listening(protocol) as (sim, socket):
            sim.faults.set({"halfopen": 1})
            await until(lambda: sim.faults.counts["halfopen"] == 1)
            await socket.ping()
            types = set()
            with contextlib.suppress(TimeoutError):
                while True:
                    types.add((await socket.receive(timeout=0.2)).type)
            assert types <= {aiohttp.WSMsgType.TEXT}

    async def test_connections_are_cut_at_their_age(self, protocol: str) -> None:
        async with listening(protocol) as (sim, socket):
            sim.faults.set({"disconnect_every": 0.3, "notice": 0.2})
            said = []
            async with asyncio.timeout(5):
                while (message := await socket.receive()).type == aiohttp.WSMsgType.TEXT:
                    said.append(message.data)
        assert sim.faults.counts["disconnect_every"] == 1
        notices = {"binance": "serverShutdown", "okx": "64008", "kraken": "maintenance"}
        assert sum(notices.get(protocol, "?") in text for text in said) == (protocol in notices)

    async def test_a_handshake_meets_faults_like_any_request(self, protocol: str) -> None:
        async with (
            Simulator(protocol=protocol, markets=[BTC]) as sim,
            aiohttp.ClientSession(sim.url) as http,
        ):
            for fault, status in (("rate_limit", 429), ("ban", 418 if protocol == "binance" else 403), ("error", 503)):
                sim.faults.set({fault: 1})
                with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                    await http.ws_connect(FORMS[protocol].path)
                assert caught.value.status == status
                sim.faults.clear()

    async def test_who_listens_is_told(self, protocol: str) -> None:
        async with listening(protocol) as (sim, _), aiohttp.ClientSession(sim.url) as http:
            shown = await (await http.get("/_streams")).json()
        assert list(shown.values()) == [1]


async def read_within(protocol: str, socket: Any, seconds: float) -> None:
    """Read trades, if any come within so many seconds; else raises TimeoutError."""
    async with asyncio.timeout(seconds):
        await read(protocol, socket, 1)


@pytest.mark.parametrize("protocol", ["kraken", "bybit"])
async def test_several_trades_share_a_message_as_told(protocol: str) -> None:
    async with listening(protocol, 2_000.0) as (sim, socket):

        async def sizes(count: int) -> list[list[tuple[int, Any]]]:
            found: list[list[tuple[int, Any]]] = []
            while len(found) < count:
                if trades := FORMS[protocol].trades(await socket.receive_json(timeout=5)):
                    found.append(trades)
            return found

        messages = await sizes(200)
        times = {int(trade.id): trade.timestamp for trade in sim.published(BTC)}
        assert any(len(trades) > 1 for trades in messages)
        assert all(len({times[id] for id, _ in trades}) == 1 for trades in messages)
        for bulk in (1, 7):
            sim.faults.set({"bulk": bulk})
            queued = sim.faults.counts["messages"]
            await until(lambda queued=queued: sim.faults.counts["messages"] > queued + 10)  # type: ignore[misc]
            while len((await sizes(1))[0]) > bulk:
                pass
            assert max(len(trades) for trades in (await sizes(300))[-100:]) <= bulk
