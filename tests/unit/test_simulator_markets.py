"""What simulated markets publish, and when: replayed tapes and generated trades."""

from __future__ import annotations

import gzip
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from collection.errors import ConfigurationError
from collection.records import digest
from collection.simulator import Simulator
from collection.simulator.generator import Generator
from collection.simulator.loading import load_markets
from collection.simulator.market import Market, Row
from collection.simulator.state import remembered_starts
from collection.simulator.tape import COLUMNS, Recording, Tape, read_tape
from collection.simulator.truth import Judge

T0 = 1_767_225_600_250
"""A start that lies a quarter of a second beside a whole one."""
FIRST = 1_570_752_011_620


def recorded(*offsets: int, first_id: int = 500) -> Recording:
    rows = [Row(FIRST + ms, first_id + n, "sell", "0.00141342", f"{n + 1}.50") for n, ms in enumerate(offsets)]
    return Recording(rows, "…")


def write_tape(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([COLUMNS, *lines, ""]))
    return path


@pytest.fixture(params=[(), (0,), (0, 0, 5, 1_000, 1_000, 61_003)], ids=["recording", "one trade", "six trades"])
def tape(request: pytest.FixtureRequest) -> Recording:
    return recorded(*request.param) if request.param else read_tape(request.getfixturevalue("recording"))


@pytest.mark.parametrize("speed", [1.0, 1.5, 7.0, 20_000.0])
def test_a_tape_is_shifted_by_whole_seconds_and_publishes_nothing_before_its_own_time(
    tape: Recording, speed: float
) -> None:
    market = Tape("XRP/ETH", tape, T0, speed)
    rows = market.rows(0, len(tape.rows))
    assert {row.timestamp - old.timestamp for row, old in zip(rows, tape.rows, strict=True)} == {market.shift * 1000}
    assert [(r.id, r.side, r.price, r.amount) for r in rows] == [(r.id, r.side, r.price, r.amount) for r in tape.rows]

    begin, duration = rows[0].timestamp, rows[-1].timestamp - rows[0].timestamp
    assert T0 - 1000 < rows[-1].timestamp - duration / speed <= T0  # the last is published at its own time
    assert market.due(len(rows) - 1) == rows[-1].timestamp
    assert market.due(len(rows)) is None
    moments = [T0 + duration / speed * step / 50 for step in range(51)]
    for moment in map(int, moments):
        count = market.published(moment)
        assert all(row.timestamp <= moment for row in rows[:count])
    dues = [due for n in range(len(rows)) if (due := market.due(n)) is not None]
    assert dues == sorted(dues)
    for n, due in itertools.islice(enumerate(dues), 0, None, max(1, len(dues) // 500)):
        assert due >= rows[n].timestamp
        assert market.published(due) >= n + 1
        assert market.published(due - 1) <= n or dues[market.published(due - 1) - 1] <= due
    assert market.published(rows[-1].timestamp - 1) < len(rows)
    assert market.published(rows[-1].timestamp) == len(rows)
    assert begin == rows[0].timestamp


def test_at_speed_one_a_trade_is_published_at_its_own_millisecond() -> None:
    market = Tape("XRP/ETH", recorded(0, 3, 3, 2_000), T0, 1.0)
    start = market.rows(0, 1)[0].timestamp
    assert [market.published(start + ms) for ms in (-1, 0, 2, 3, 1_999, 2_000, 10**9)] == [0, 1, 1, 3, 3, 4, 4]


def test_positions_of_a_tape_are_found_by_id_and_time_even_where_ids_are_missing() -> None:
    rows = [Row(FIRST + ms, id, "buy", "1", "1") for ms, id in ((0, 7), (5, 9), (5, 20))]
    market = Tape("XRP/ETH", Recording(rows, "…"), T0, 1.0)
    base = market.rows(0, 1)[0].timestamp
    assert [market.position_of_id(id) for id in (0, 7, 8, 9, 10, 20, 21)] == [0, 0, 1, 1, 2, 2, 3]
    assert [market.position_of_time(base + ms) for ms in (-1, 0, 1, 5, 6)] == [0, 0, 1, 1, 3]


def test_a_tape_and_its_gzip_are_the_same(tmp_path: Path) -> None:
    plain = write_tape(tmp_path / "a.csv", "5,1,buy,0.10,3", "5,2,sell,10,0.00000001")
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_tape(plain) == read_tape(packed)
    assert [row.line for row in read_tape(plain).rows] == ["5,1,buy,0.10,3", "5,2,sell,10,0.00000001"]


def test_bad_rows_of_a_tape_are_reported_at_once_each_with_its_line(tmp_path: Path) -> None:
    path = write_tape(
        tmp_path / "bad.csv",
        "5,1,buy,0.10,3",
        "6,2,bid,1e5,3",
        "6,3,buy,0.10",
        "",
        "4,4,buy,1,1",
        "6,1,buy,1,1",
        "7,5,buy,0.000,1",
        "7,5,buy,1,-1",
        "7,x,buy,01,1",
    )
    with pytest.raises(ConfigurationError) as caught:
        read_tape(path)
    assert [problem.removeprefix(f"{path}:") for problem in caught.value.problems] == [
        "3: side: 'bid' is neither buy nor sell; price: '1e5' is no decimal number such as 0.00141342",
        f"4: 5 columns are expected ({COLUMNS}), not 4",
        f"5: 5 columns are expected ({COLUMNS}), not 1",
        "6: timestamp_ms: 4 is earlier than 5 before",
        "7: trade_id: 1 does not ascend, 1 came before",
        "8: price: '0.000' is not above zero",
        "9: amount: '-1' is no decimal number such as 23.00000000",
        "10: trade_id: 'x' is no whole number; price: '01' is no decimal number such as 0.00141342",
    ]


def test_of_many_bad_rows_the_first_ten_are_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_tape(write_tape(tmp_path / "bad.csv", *["nothing"] * 25))
    assert len(caught.value.problems) == 11
    assert caught.value.problems[-1].endswith("and 15 more")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't be read as a tape"),
        (b"", "the first line must be"),
        (b"time,price\n", "the first line must be"),
        (f"{COLUMNS}\n".encode(), "holds no trades"),
        (b"\x1f\x8b\x08damaged", "can't be read as a tape"),
        (b"\xff\xfe", "can't be read as a tape"),
    ],
)
def test_what_is_no_tape_is_refused_by_name(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "tape.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said) as caught:
        read_tape(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("rate", [0.05, 0.7, 1.0, 2.5, 10.0, 1_000.0])
def test_generated_trades_are_the_same_however_they_are_reached(rate: float) -> None:
    market, again = (Generator("BTC/USDT", 7, rate, T0) for _ in range(2))
    count = market.published(T0 + int(1000 * 400 / rate))
    rows = market.rows(0, count)
    assert abs(count - 400) <= 9  # blocks hold whole trades
    assert [row.id for row in rows] == list(range(market.first_id, market.first_id + count))
    assert [row.timestamp for row in rows] == sorted(row.timestamp for row in rows)
    assert [row for n in range(count) for row in again.rows(n, n + 1)] == rows
    assert again.rows(100, 351) == rows[100:351]
    for n in range(0, count, 7):
        assert again.position_of_id(rows[n].id) == n
        assert again.due(n) == rows[n].timestamp
        assert again.published(rows[n].timestamp) == sum(row.timestamp <= rows[n].timestamp for row in rows)
        first = again.position_of_time(rows[n].timestamp)
        assert rows[first].timestamp == rows[n].timestamp
        assert first == 0 or rows[first - 1].timestamp < rows[n].timestamp
    assert market.published(T0 - 1) == market.position_of_time(0) == market.position_of_id(0) == 0


def test_the_far_future_is_reached_at_once() -> None:
    market = Generator("ETH/USDT", 1, 10.0, T0)
    [row] = market.rows(10**11, 10**11 + 1)
    assert row.id == market.first_id + 10**11
    assert market.position_of_time(row.timestamp) <= 10**11 < market.published(row.timestamp)


def test_generated_trades_come_in_bursts_on_both_sides_with_the_digits_of_the_exchange() -> None:
    rows = Generator("BTC/USDT", 1, 10.0, T0).rows(0, 5_000)
    shared = sum(one.timestamp == other.timestamp for one, other in itertools.pairwise(rows))
    assert 0.15 < shared / len(rows) < 0.35
    assert {row.side for row in rows} == {"buy", "sell"}
    assert all(len(number.partition(".")[2]) == 8 for row in rows for number in (row.price, row.amount))
    assert all(50_000 < float(row.price) < 70_000 and float(row.amount) > 0 for row in rows)
    assert len({row.price for row in rows}) > 100


@pytest.mark.parametrize("name", ["BTC/USDT", "ETH/BTC", "XRP/ETH", "DOGE/TRY", "FOO/USDT", "BAR/BTC"])
def test_any_generated_market_has_possible_prices(name: str) -> None:
    market = Generator(name, 3, 100.0, T0)
    rows = market.rows(0, 3_000)
    tick, lot = 10.0**-market.price_decimals, 10.0**-market.amount_decimals
    assert all(float(row.price) >= tick * 0.99 and float(row.amount) >= lot * 0.99 for row in rows)
    assert float(market.reference_price) == pytest.approx(float(rows[0].price), rel=0.2)


def test_seeds_and_markets_make_different_trades() -> None:
    lines = {Generator(name, seed, 10.0, T0).rows(0, 1)[0].line for name in ("A/USDT", "B/USDT") for seed in (1, 2)}
    assert len(lines) == 4


def test_a_restart_with_the_same_state_has_the_same_history(tmp_path: Path, recording: Path) -> None:
    def load(now: int, speed: float = 20_000.0, seed: int = 1) -> list[Market]:
        state = tmp_path / "deep" / "state.json"
        return load_markets({"XRP/ETH": recording}, ["BTC/USDT"], speed, 10.0, seed, state, now)

    for one, other in zip(load(T0), load(T0 + 7_777), strict=True):
        assert one.published(T0 + 5_000) == other.published(T0 + 5_000) > 0
        assert one.rows(0, 50) == other.rows(0, 50)
    tape, generated = load(T0 + 60_000, speed=1_000.0, seed=2)  # another speed and seed begin anew
    assert tape.published(T0 + 58_000) == generated.published(T0 + 58_000) == 0
    assert [market.published(T0 + 5_000) > 0 for market in load(T0 + 70_000)] == [True, True]


def test_the_state_keeps_what_it_does_not_need_now(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert remembered_starts(path, ["a"], 1) == {"a": 1}
    assert remembered_starts(path, ["b"], 2) == {"b": 2}
    assert remembered_starts(path, ["a", "b", "c"], 3) == {"a": 1, "b": 2, "c": 3}
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]
    assert remembered_starts(None, ["a"], 4) == {"a": 4}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"starts": {"a": "b"}}', '{"other": 1}'])
def test_a_damaged_state_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="is no state of a simulator"):
        remembered_starts(path, ["a"], 1)
    assert path.read_text() == content


async def test_the_truth_asked_again_is_that_asked_once(recording: Path) -> None:
    for market in (Tape("XRP/ETH", read_tape(recording), T0, 20_000.0), Generator("BTC/USDT", 1, 500.0, T0)):
        judge = Judge(market)
        for moment in range(T0, T0 + 12_000, 777):
            rows = market.rows(0, market.published(moment))
            truth = await judge.truth(moment)
            assert truth == await Judge(market).truth(moment)
            assert (truth.count, truth.digest) == (len(rows), digest(row.trade() for row in rows))
            assert (truth.first_id, truth.last_id) == ((str(rows[0].id), str(rows[-1].id)) if rows else (None, None))
        for after, until in ((rows[10].id, rows[20].id), (rows[10].id, rows[15].id), (rows[10].id, None)):
            part = [row for row in rows if row.id > after and (until is None or row.id <= until)]
            truth = await judge.truth(moment, after, until)
            assert (truth.count, truth.digest) == (len(part), digest(row.trade() for row in part))
        nothing = await judge.truth(moment, after=rows[-1].id)
        assert (nothing.count, nothing.first_id, nothing.digest) == (0, None, digest([]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, ["none is given"]),
        ({"markets": ["btc/usdt", "BTC"]}, ["'btc/usdt': a name such as", "'BTC': a name such as"]),
        ({"markets": ["A/B", "A/B"]}, ["is given 2 times"]),
        ({"markets": ["A/B"], "tapes": {"A/B": Path("x")}}, ["is given 2 times"]),
        ({"markets": ["AB/C", "A/BC"]}, ["'A/BC': has the same symbol as 'AB/C'"]),
        ({"markets": ["A/B"], "speed": 0.5, "rate": 0}, ["speed: 0.5 must be", "rate: 0 must be"]),
        ({"markets": ["A/B"], "speed": float("nan")}, ["speed: nan"]),
        ({"markets": ["A/B"], "faults": {"drpo": 1}}, ["did you mean 'drop'?"]),
    ],
)
def test_impossible_arguments_are_refused_all_at_once(arguments: dict[str, object], said: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Simulator(**arguments)  # type: ignore[arg-type]
    assert len(caught.value.problems) == len(said)
    assert all(part in problem for part, problem in zip(said, caught.value.problems, strict=True))


async def test_the_problems_of_all_tapes_are_told_together(tmp_path: Path) -> None:
    sim = Simulator(tapes={"A/B": tmp_path / "a.csv", "C/D": tmp_path / "c.csv"})
    with pytest.raises(ConfigurationError) as caught:
        await sim.start()
    assert len(caught.value.problems) == 2


def test_importing_the_simulator_imports_no_client_library() -> None:
    heavy = ("ccxt", "celery", "redis", "pydantic")
    program = f"import sys, collection.simulator; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
