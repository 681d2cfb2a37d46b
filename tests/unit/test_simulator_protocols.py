"""The parts of the simulator's protocols that need no server: ids, moments, digits and names."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal

import pytest

from collection.errors import ConfigurationError
from collection.simulator import PROTOCOLS, Simulator
from collection.simulator.faults import Faults
from collection.simulator.generator import Generator
from collection.simulator.protocols.bybit import Bybit
from collection.simulator.protocols.kraken import Kraken
from collection.simulator.protocols.kraken_wire import altname, pair_id, wsname
from collection.simulator.rest import Budget
from collection.simulator.times import instant, microseconds, nanoseconds
from collection.simulator.truth import Judge
from collection.simulator.views import plain

T0 = 1_767_225_600_250


def test_ids_of_bybit_ascend_with_holes_and_are_found_again() -> None:
    market = Generator("BTC/USDT", 1, 100.0, T0)
    view = Bybit.view(market)
    ids = [row.id for row in view.rows(0, 500)]
    assert ids == sorted(set(ids))
    steps = {later - one for one, later in itertools.pairwise(ids)}
    assert len(steps) > 1 < min(steps)
    assert len(str(ids[0])) == 19
    for position, id in enumerate(ids[:-1]):
        assert view.position_of_id(id) == position
        assert view.position_of_id(id + 1) == position + 1
    assert view.position_of_id(0) == 0
    assert [row.timestamp for row in view.rows(0, 500)] == [row.timestamp for row in market.rows(0, 500)]
    assert view.published(T0 + 3_000) == market.published(T0 + 3_000)


async def test_the_truth_is_told_in_the_digits_and_ids_of_the_exchange() -> None:
    market = Generator("BTC/USDT", 1, 100.0, T0)
    rows = market.rows(0, 200)
    lines = [row.line for row in Kraken.view(market).rows(0, 200)]
    numbers = [number for line in lines for number in line.split(",")[3:]]
    assert not any(number.endswith(("0", ".")) for number in numbers if "." in number)
    assert [Decimal(number) for number in numbers] == [Decimal(n) for row in rows for n in (row.price, row.amount)]
    view = Bybit.view(market)
    ids = [row.id for row in view.rows(0, 20)]
    truth = await Judge(view).truth(T0 + 60_000, after=ids[4], until=ids[9])
    assert (truth.count, truth.first_id, truth.last_id) == (5, str(ids[5]), str(ids[9]))


@pytest.mark.parametrize(
    ("text", "same"),
    [("23.00000000", "23"), ("0.00010", "0.0001"), ("1000", "1000"), ("100.00", "100"), ("0.00000001", "0.00000001")],
)
def test_plain_numbers_have_no_zeros_at_their_end(text: str, same: str) -> None:
    assert plain(text) == same == f"{Decimal(text).normalize():f}"


def test_moments_stay_in_their_millisecond_and_ascend() -> None:
    moments = [nanoseconds(T0 + ms) for ms in range(20_000)]
    assert moments == sorted(set(moments))
    assert all(moment // 10**6 == T0 + ms for ms, moment in enumerate(moments))
    assert all(int(float(f"{ns // 10**9}.{ns % 10**9 // 100:07d}") * 1000) == ns // 10**6 for ns in moments)
    assert microseconds(T0)[:23] == "2026-01-01T00:00:00.250" == instant(T0)[:23]
    assert len(microseconds(T0)) == len(instant(T0)) == 27


@pytest.mark.parametrize(
    ("market", "names"),
    [
        ("BTC/USD", ("XXBTZUSD", "XBTUSD", "XBT/USD")),
        ("ETH/BTC", ("XETHXXBT", "ETHXBT", "ETH/XBT")),
        ("BTC/USDT", ("XBTUSDT", "XBTUSDT", "XBT/USDT")),
        ("DOGE/USD", ("XDGUSD", "XDGUSD", "XDG/USD")),
        ("SOL/USD", ("SOLUSD", "SOLUSD", "SOL/USD")),
    ],
)
def test_kraken_names_pairs_in_three_ways(market: str, names: tuple[str, str, str]) -> None:
    known = Generator(market, 1, 1.0, T0)
    assert (pair_id(known), altname(known), wsname(known)) == names


def test_a_malformed_message_of_several_trades_spoils_the_first() -> None:
    faults = Faults({}, seed=1)
    trades = [
        {"symbol": "A/B", "side": "buy", "price": 1.5, "qty": 0.123456789012345678},
        {"symbol": "A/B", "price": 2.0},
    ]
    seen = [json.loads(faults.malformed(json.dumps({"channel": "trade", "data": trades}))) for _ in range(50)]
    firsts = [message["data"][0] for message in seen]
    assert all(form in firsts for form in ({**trades[0], "price": None}, {"symbol": "A/B", "side": "buy"}, [trades[0]]))
    assert all(message["channel"] == "trade" and message["data"][1:] == trades[1:] for message in seen)


def test_a_budget_has_a_window_of_its_own() -> None:
    budget = Budget(2, 1_000)
    assert [budget.spend(1, now) for now in (1_000, 1_500, 1_999, 2_000)] == [True, True, False, True]


def test_an_unknown_protocol_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="protocol 'krakn' is unknown; did you mean 'kraken'"):
        Simulator(protocol="krakn", markets=["A/B"])
    with pytest.raises(ConfigurationError, match=f"known: {', '.join(PROTOCOLS)}"):
        Simulator(protocol="zzz", markets=["A/B"])


def test_addresses_are_known_before_it_runs() -> None:
    assert {name: Simulator(protocol=name, markets=["A/B"], port=8).urls() for name in PROTOCOLS} == {
        "binance": {
            "public": "http://127.0.0.1:8/api/v3",
            "private": "http://127.0.0.1:8/api/v3",
            "ws": {"spot": "ws://127.0.0.1:8/stream"},
        },
        "coinbaseexchange": {
            "public": "http://127.0.0.1:8",
            "private": "http://127.0.0.1:8",
            "ws": "ws://127.0.0.1:8",
        },
        "kraken": {
            "public": "http://127.0.0.1:8",
            "private": "http://127.0.0.1:8",
            "ws": {"publicV2": "ws://127.0.0.1:8/v2", "privateV2": "ws://127.0.0.1:8/v2"},
        },
        "okx": {"rest": "http://127.0.0.1:8", "ws": "ws://127.0.0.1:8/ws/v5"},
        "bybit": {
            "public": "http://127.0.0.1:8",
            "private": "http://127.0.0.1:8",
            "ws": {"public": {"spot": "ws://127.0.0.1:8/v5/public/spot"}},
        },
    }
