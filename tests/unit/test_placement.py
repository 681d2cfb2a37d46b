"""Which worker should run which stream."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping

import pytest

from workers.assignments import TTL, Entry, State, View, Worker
from workers.placement import MOVES, Plan, plan

NOW = 1_800_000_000_000
ONE, TWO, THREE = "streams1@host", "streams2@host", "streams3@host"


def ids(count: int) -> list[str]:
    return [f"trades:binance:M{number:04}/USDT" for number in range(count)]


def worker(capacity: int = 100, *, draining: bool = False, began: int = NOW - 5_000, running: int = 0) -> Worker:
    return Worker(capacity=capacity, draining=draining, seen=NOW, began=began, running=running)


def entry(node: str, state: State = "running", failing: int = 0) -> Entry:
    return Entry(token="1", state=state, node=node, expires=NOW + 5_000, since=NOW - 5_000, failing=failing)


def on(node: str, streams: Iterable[str], state: State = "running") -> dict[str, Entry]:
    return {id: entry(node, state) for id in streams}


def view(
    workers: Mapping[str, Worker],
    leases: Mapping[str, Entry] | None = None,
    successors: Mapping[str, Entry] | None = None,
    uptime: float = 3600,
) -> View:
    return View(NOW, uptime, dict(leases or {}), dict(successors or {}), dict(workers), [])


def loads(moves: Iterable[tuple[str, str]]) -> Counter[str]:
    return Counter(node for _, node in moves)


NOTHING = Plan([], [], [], [])


def test_at_the_first_start_all_are_started_evenly_at_once() -> None:
    young = {node: worker(began=NOW - 900) for node in (ONE, TWO, THREE)}
    decided = plan(ids(90), view(young, uptime=1), False)
    assert loads(decided.start) == {ONE: 30, TWO: 30, THREE: 30}
    assert (decided.hand_over, decided.stop, decided.poll) == ([], [], [])


def test_what_is_missing_goes_where_the_load_is_least() -> None:
    streams = ids(6)
    decided = plan(streams, view({ONE: worker(), TWO: worker()}, on(ONE, streams[:3]) | on(TWO, streams[3:5])), False)
    assert decided == Plan([(streams[5], TWO)], [], [], [])


@pytest.mark.parametrize("state", ["placed", "running", "backing_off"])
def test_streams_on_their_way_or_backing_off_count_as_load(state: State) -> None:
    streams = ids(3)
    decided = plan(streams, view({ONE: worker(), TWO: worker()}, on(ONE, streams[:1], state)), False)
    assert decided.start == [(streams[1], TWO), (streams[2], ONE)]


def test_failed_streams_take_no_place_and_are_polled_but_not_started() -> None:
    streams = ids(3)
    decided = plan(streams, view({ONE: worker(1)}, on(ONE, streams[:2], "failed")), False)
    assert decided == Plan([(streams[2], ONE)], [], [], streams[:2])


def test_what_nobody_has_room_for_is_polled() -> None:
    streams = ids(5)
    decided = plan(streams, view({ONE: worker(2), TWO: worker(1), THREE: worker(9, draining=True)}), False)
    assert loads(decided.start) == {ONE: 2, TWO: 1}
    assert decided.poll == streams[3:]
    assert plan(streams, view({}), False) == Plan([], [], [], streams)


def test_unwanted_streams_are_stopped_once_also_those_on_their_way() -> None:
    running, moving, orphan, stopped = streams = ids(4)
    leases = on(ONE, [running, moving]) | on(ONE, [stopped], "stopped")
    decided = plan([], view({ONE: worker()}, leases, on(TWO, [moving, orphan])), False)
    assert decided.stop == [running, moving, orphan] == streams[:3]


def test_what_is_being_stopped_is_load_no_more_but_has_its_place_until_it_ended() -> None:
    old, new = ids(6)[:2], ids(6)[2:]
    decided = plan(new, view({ONE: worker(3), TWO: worker(9)}, on(ONE, old)), False)
    assert (decided.stop, loads(decided.start)) == (old, {ONE: 1, TWO: 3})
    decided = plan(new, view({ONE: worker(), TWO: worker()}, on(ONE, old)), False)
    assert loads(decided.start) == {ONE: 2, TWO: 2}


def test_a_stopped_stream_that_is_wanted_again_is_started() -> None:
    streams = ids(1)
    decided = plan(streams, view({ONE: worker()}, on(ONE, streams, "stopped")), False)
    assert decided.start == [(streams[0], ONE)]


def test_a_successor_whose_predecessor_is_gone_is_waited_for() -> None:
    streams = ids(1)
    assert plan(streams, view({ONE: worker(), TWO: worker()}, {}, on(TWO, streams)), False) == NOTHING


@pytest.mark.parametrize("state", ["placed", "running", "backing_off"])
def test_streams_of_a_draining_worker_are_handed_over_one_successor_each(state: State) -> None:
    streams = ids(10)
    workers = {ONE: worker(draining=True), TWO: worker(), THREE: worker()}
    decided = plan(streams, view(workers, on(ONE, streams, state), on(TWO, streams[:2])), False)
    assert [id for id, _ in decided.hand_over] == streams[2:]
    assert loads(decided.hand_over) == {TWO: 3, THREE: 5}


def test_streams_of_a_draining_worker_stay_where_nobody_has_room() -> None:
    streams = ids(5)
    decided = plan(streams, view({ONE: worker(draining=True), TWO: worker(2)}, on(ONE, streams)), False)
    assert decided == Plan([], [(streams[0], TWO), (streams[1], TWO)], [], [])


def test_what_nobody_runs_goes_before_what_is_handed_over() -> None:
    streams = ids(2)
    decided = plan(streams, view({ONE: worker(draining=True), TWO: worker(1)}, on(ONE, streams[:1])), False)
    assert decided == Plan([(streams[1], TWO)], [], [], [])


def test_streams_move_to_a_worker_that_joins() -> None:
    streams = ids(40)
    leases = on(ONE, streams[:20]) | on(TWO, streams[20:])
    decided = plan(streams, view({ONE: worker(), TWO: worker(), THREE: worker()}, leases), False)
    assert loads(decided.hand_over) == {THREE: 13}
    assert Counter(leases[id].node for id, _ in decided.hand_over) in ({ONE: 6, TWO: 7}, {ONE: 7, TWO: 6})


@pytest.mark.parametrize(("first", "second", "moved"), [(2, 1, 0), (2, 0, 1), (105, 95, 0), (106, 94, 6), (11, 9, 1)])
def test_streams_move_only_where_loads_differ_by_more_than_one_and_a_tenth(first: int, second: int, moved: int) -> None:
    streams = ids(first + second)
    leases = on(ONE, streams[:first]) | on(TWO, streams[first:])
    decided = plan(streams, view({ONE: worker(500), TWO: worker(500)}, leases), False)
    assert len(decided.hand_over) == moved


def test_few_move_at_a_time_and_those_that_move_count_for_their_target() -> None:
    streams = ids(300)
    workers = {ONE: worker(500), TWO: worker(500)}
    leases = on(ONE, streams)
    decided = plan(streams, view(workers, leases), False)
    assert len(decided.hand_over) == MOVES
    successors = {id: entry(node, "placed") for id, node in decided.hand_over}
    again = plan(streams, view(workers, leases, successors), False)
    assert len(again.hand_over) == MOVES
    assert not {id for id, _ in again.hand_over} & successors.keys()
    successors |= {id: entry(node, "placed") for id, node in again.hand_over}
    last = plan(streams, view(workers, leases, successors), False)
    assert len(last.hand_over) == 150 - 2 * MOVES
    successors |= {id: entry(node, "placed") for id, node in last.hand_over}
    assert plan(streams, view(workers, leases, successors), False) == NOTHING


def test_a_stream_that_moves_has_its_old_place_until_it_has_gone() -> None:
    streams = ids(4)
    workers = {ONE: worker(2), TWO: worker(2), THREE: worker(2, draining=True)}
    leases = on(ONE, streams[:2]) | on(THREE, streams[2:])
    assert plan(streams, view(workers, leases, on(TWO, streams[:2])), False).hand_over == []


def test_a_full_worker_is_no_reason_to_move_streams_about() -> None:
    streams = ids(64)
    leases = on(ONE, streams[:4]) | on(TWO, streams[4:34]) | on(THREE, streams[34:])
    assert plan(streams, view({ONE: worker(4), TWO: worker(), THREE: worker()}, leases), False) == NOTHING


def test_a_successor_with_a_wrong_configuration_leaves_the_load_where_it_is() -> None:
    streams = ids(4)
    leases = on(ONE, streams[:3]) | on(TWO, streams[3:])
    decided = plan(streams, view({ONE: worker(), TWO: worker()}, leases, on(TWO, streams[:1], "failed")), False)
    assert decided == Plan([], [(streams[2], TWO)], [], [])


def test_streams_that_run_move_before_those_that_back_off_and_placed_ones_wait() -> None:
    streams = ids(6)
    leases = on(ONE, streams[:2], "placed") | on(ONE, streams[2:4]) | on(ONE, streams[4:], "backing_off")
    decided = plan(streams, view({ONE: worker(), TWO: worker()}, leases), False)
    assert sorted(id for id, _ in decided.hand_over) == [*streams[2:4], streams[5]]
    assert plan(streams, view({ONE: worker(), TWO: worker()}, on(ONE, streams, "placed")), False) == NOTHING


def test_what_fails_for_a_minute_is_polled_meanwhile() -> None:
    short, long, fine, moving = streams = ids(4)
    leases = {
        short: entry(ONE, "backing_off", NOW - 59_000),
        long: entry(ONE, "running", NOW - 61_000),
        fine: entry(ONE),
    }
    decided = plan(streams, view({ONE: worker()}, leases, {moving: entry(ONE, "backing_off", NOW - 61_000)}), False)
    assert decided == Plan([], [], [], [long, moving])


@pytest.mark.parametrize(
    "older", [worker(began=NOW - 20_000), worker(began=0, running=1), worker(began=NOW - 900, running=2)]
)
def test_nothing_is_started_while_workers_may_take_again_what_redis_forgot(older: Worker) -> None:
    streams = ids(3)
    workers = {ONE: older, TWO: worker(began=NOW - 900)}
    leases = on(ONE, streams[:1])
    young = plan(streams, view(workers, leases, uptime=3), False)
    assert young == NOTHING
    assert len(plan(streams, view(workers, leases, uptime=TTL), False).start) == 2


def test_nothing_is_started_where_the_caller_knows_of_a_restart() -> None:
    assert plan(ids(3), view({ONE: worker()}), True) == NOTHING


def test_two_thousand_streams_are_planned_within_milliseconds() -> None:
    streams = ids(2_000)
    workers = {f"streams{number}@host": worker(400, draining=number == 0) for number in range(8)}
    leases = {id: entry(f"streams{number % 4}@host") for number, id in enumerate(streams)}
    tried = []
    for given in ({}, leases):
        for _ in range(3):
            begin = time.perf_counter()
            plan(streams, view(workers, given), False)
            tried.append(time.perf_counter() - begin)
    assert min(tried[:3]) < 0.02
    assert min(tried[3:]) < 0.02
