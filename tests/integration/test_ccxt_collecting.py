"""What is particular to ccxt's client: paging by time, and refusing what ccxt makes of a wrong row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from collection.clients.base import Start
from collection.clients.ccxt_client import CCXTClient
from collection.clients.ccxt_exchange import make_exchange
from collection.setting_groups import ExchangeSettings
from collection.simulator import Simulator
from collection.storage import Covers, Interval, MemoryStorage
from tests import simulation
from tests.simulation import (
    AT_ONCE,
    KEY,
    MARKET,
    make_collector,
    make_factory,
    make_tape,
    stored_lines,
    tape_lines,
    until,
)


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "CLIENT", "ccxt")


class ByTime(CCXTClient):
    """Reads an exchange as those are read that do not number their trades."""

    def __init__(self, settings: ExchangeSettings) -> None:
        super().__init__("binance", settings)
        self._paging, self.by = None, "time"


async def test_paging_by_time_keeps_trades_that_share_a_millisecond_at_a_pages_edge(tmp_path: Path) -> None:
    tape = make_tape(tmp_path / "bursts.csv", 5_000, burst=60, step_ms=50)
    assert any(tape[n].timestamp == tape[n + 1].timestamp for n in range(999, 4000, 1000))
    async with Simulator(tapes={MARKET: tmp_path / "bursts.csv"}, speed=AT_ONCE) as bursts:
        await until(lambda: len(bursts.published(MARKET)) == len(tape))
        factory, storage = make_factory(bursts), MemoryStorage()
        client = ByTime(factory.settings.exchange("binance"))
        factory.clients._clients["binance", False] = client
        first = bursts.published(MARKET)[0].timestamp
        collector = make_collector(factory)
        collector._reader._start = Start(first)
        await collector.run(storage)
        await factory.clients.close()
    assert stored_lines(storage) == tape_lines(tape)
    [interval] = storage.coverage(KEY).intervals
    last = storage.latest(KEY)[0][0]
    assert interval == (first, last - 1)


async def test_a_silence_longer_than_the_exchange_looks_ahead_does_not_stop_paging_by_time(tmp_path: Path) -> None:
    early = make_tape(tmp_path / "early.csv", 30)
    rows = (tmp_path / "early.csv").read_text()
    late = [f"{one.timestamp + 7_200_000},{int(one.id) + 30},{one.side},{one.price:f},{one.amount:f}" for one in early]
    (tmp_path / "both.csv").write_text(rows + "\n".join([*late, ""]))
    async with Simulator(tapes={MARKET: tmp_path / "both.csv"}, speed=AT_ONCE) as simulator:
        await until(lambda: len(simulator.published(MARKET)) == 60)
        published = simulator.published(MARKET)
        factory, storage = make_factory(simulator), MemoryStorage()
        factory.clients._clients["binance", False] = ByTime(factory.settings.exchange("binance"))
        # Only the early ones are stored, and now is long after the late ones.
        storage.store_batch(KEY, [(one.timestamp, one) for one in published[:30]])
        storage.store_batch(KEY, [], Covers("time", [Interval(published[0].timestamp, published[29].timestamp - 1)]))
        await make_collector(factory).run(storage)
        await factory.clients.close()
    assert len(storage.fetch(KEY)) == 60
    assert len(storage.coverage(KEY).intervals) == 1


AGGREGATE = {"a": 1, "p": "0.5", "q": "2", "T": 1_600_000_000_000, "m": True, "M": True, "f": 1, "l": 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"p": None}, "no_price"),
        ({"p": ""}, "no_price"),
        ({"p": "x"}, "unreadable"),
        ({"p": {}}, "no_price"),
        ({"p": "-1"}, "bad_price"),
        ({"q": None}, "no_amount"),
        ({"q": "-2"}, "negative_amount"),
        ({"T": 9_000_000_000_000}, "in_the_future"),
        ({"T": None}, "no_time"),
    ],
)
async def test_what_cannot_be_a_trade_is_refused_counted_and_logged_with_its_source(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    reason: str,
) -> None:
    """The rows come from here, for the simulated exchange publishes no wrong ones; ccxt's parser reads them."""
    make_tape(tmp_path / "tape.csv", 1)
    async with Simulator(tapes={MARKET: tmp_path / "tape.csv"}, speed=AT_ONCE) as simulator:
        factory, storage = make_factory(simulator), MemoryStorage()
        collector, client = make_collector(factory), factory.clients.get("binance", MARKET)
        assert isinstance(client, CCXTClient)
        await client._load(MARKET)

        async def answer(*_: Any, **__: Any) -> list[Any]:
            return [AGGREGATE, {**AGGREGATE, "a": 2, **change}, {**AGGREGATE, "a": 3}]

        monkeypatch.setattr(client._ccxt, "publicGetAggTrades", answer)
        await collector.run(storage)
        await factory.clients.close()
    assert [value.id for _, value in storage.fetch(KEY)] == ["1", "3"]
    assert storage.counters(KEY)[f"refused:{reason}"] == 1
    # What was read and refused is no hole; but of what can't be read not even the id is known, and what seems to lie in
    # the future may be right, and this machine's clock slow.
    assert storage.coverage(KEY).gaps == ([(1, 2)] if reason in ("unreadable", "in_the_future") else [])
    assert f"{KEY}: refused: {reason}: " in caplog.text
    assert "'a': 2" in caplog.text


def test_ids_of_27_digits_and_numbers_keep_their_digits_through_ccxt() -> None:
    exchange = make_exchange("htx", ExchangeSettings())
    exchange.number = str
    row = '{"amount":0.0010,"price":65000.10,"trade-id":%s,"ts":1600000000000,"id":%s,"direction":"buy"}'
    ids = ["100000000000000000000000001", "100000000000000000000000002"]
    answer = exchange.on_json_response(f"[{','.join(row % (one, one) for one in ids)}]")
    parsed = exchange.parse_trades(answer, {"symbol": "BTC/USDT", "id": "btcusdt", "precision": {}})
    assert [one["id"] for one in parsed] == ids
    assert [(one["price"], one["amount"]) for one in parsed] == [("65000.10", "0.0010")] * 2
