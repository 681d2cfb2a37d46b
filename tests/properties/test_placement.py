"""Whatever happens to workers, messages, clocks and Redis: streams end up placed once, evenly, and within capacity."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from itertools import compress

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from collection.embedded import EmbeddedRedis
from collection.storage.redis_server import connect
from tests.passing import fall_back, let_pass
from tests.properties.conftest import PATIENCE, Again
from workers.assignments import FAILED, TTL, Assignments, Entry, Kind, View, Worker
from workers.placement import Plan, plan

pytestmark = pytest.mark.timeout(PATIENCE)

NOW = 1_800_000_000_000
IDS = [f"trades:binance:M{number:02}/USDT" for number in range(40)]
NODES = [f"streams{number}@host" for number in range(5)]
OCCUPYING = ("placed", "running", "backing_off")

nodes = st.sampled_from(NODES)
wanted_ids = st.lists(st.booleans(), min_size=len(IDS), max_size=len(IDS)).map(lambda which: set(compress(IDS, which)))
entries = st.builds(
    Entry,
    token=st.just("1"),
    state=st.sampled_from([*OCCUPYING, "failed", "stopped"]),
    node=nodes,
    expires=st.just(NOW + 5_000),
    since=st.just(NOW - 5_000),
    failing=st.sampled_from([0, NOW - 30_000, NOW - 90_000]),
)
registered = st.builds(
    Worker,
    capacity=st.integers(0, 25),
    draining=st.booleans(),
    seen=st.just(NOW),
    began=st.just(NOW),
    running=st.just(0),
)
leases = st.builds(
    lambda ids, some: dict(zip(sorted(ids), some, strict=False)), wanted_ids, st.lists(entries, max_size=30)
)
views = st.builds(
    View,
    now=st.just(NOW),
    uptime=st.just(99.0),
    leases=leases,
    next=leases.map(lambda all: {id: entry for id, entry in all.items() if entry.state != "stopped"}),
    workers=st.dictionaries(nodes, registered),
    gone=st.just([]),
)


def taken(view: View) -> Counter[str]:
    parts = (view.leases, view.next)
    return Counter(entry.node for part in parts for entry in part.values() if entry.state in OCCUPYING)


def applied(view: View, decided: Plan) -> View:
    """What comes of a plan where all goes well: in the end those that were to take over have done so."""
    leases = {id: entry for id, entry in view.leases.items() if id not in decided.stop}
    leases |= {id: entry for id, entry in view.next.items() if id not in decided.stop}
    for id, node in decided.start + decided.hand_over:
        leases[id] = Entry(token="2", state="running", node=node, expires=NOW + 5_000, since=NOW)
    leases = {
        id: Entry(token="2", state="running", node=entry.node, expires=NOW, since=NOW)
        if entry.state == "placed"
        else entry
        for id, entry in leases.items()
    }
    return view._replace(leases=leases, next={})


def is_even(view: View) -> bool:
    """Whether loads are even among the workers that take streams, but for those that are full."""
    capacity = {node: worker.capacity for node, worker in view.workers.items() if not worker.draining}
    load = {node: taken(view)[node] for node in capacity}
    free = [load[node] for node in capacity if load[node] < capacity[node]]
    bound = max(1.0, 0.1 * sum(load.values()) / max(len(load), 1))
    return not free or max(load.values()) - min(free) <= bound


def check_plan(wanted: set[str], view: View) -> None:
    decided = plan(wanted, view, False)
    assert decided == plan(sorted(wanted, reverse=True), view, False)
    held = {id for id, entry in view.leases.items() if entry.state != "stopped"}
    known = held | view.next.keys()
    started, moved = {id for id, _ in decided.start}, {id for id, _ in decided.hand_over}
    assert len(started) + len(moved) == len(decided.start) + len(decided.hand_over)
    assert started | moved | set(decided.poll) <= wanted
    assert started | (set(decided.poll) - known) == wanted - known
    assert moved <= held - view.next.keys()
    assert set(decided.stop) == known - wanted
    for node, count in Counter(node for _, node in decided.start + decided.hand_over).items():
        assert not view.workers[node].draining
        assert taken(view)[node] + count <= view.workers[node].capacity


def check_end(wanted: set[str], view: View) -> None:
    rounds = 0
    while any((decided := plan(wanted, view, False))[:3]):
        rounds += 1
        assert rounds <= 4
        view = applied(view, decided)
    assert {id for id, entry in view.leases.items() if entry.state != "stopped"} <= wanted
    assert is_even(view)


@pytest.mark.parametrize("check", [check_plan, check_end], ids=["keeps to what is there", "comes to an even end"])
def test_a_plan(check: Callable[[set[str], View], None], again: Again) -> None:
    again(settings(max_examples=200)(given(wanted_ids, views)(check)))


class Process:
    """A worker's process: what it runs, by tokens."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.draining = self.frozen = False
        self.held: dict[str, str] = {}
        self.successors: set[str] = set()
        """Those of them that have not delivered yet."""
        self.waiting: dict[str, str] = {}
        """What backs off."""


class StreamsMachine(RuleBasedStateMachine):
    """Workers as they are in life, on a real server, and time that passes when it is told to."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        client.flushall()
        self.client = client
        self.streams = Assignments(client)
        self.wanted: set[str] = set()
        self.processes: dict[str, Process] = {}
        self.queues: dict[str, list[tuple[str, str]]] = {node: [] for node in NODES}
        self.sent: dict[str, list[tuple[str, str]]] = {node: [] for node in NODES}
        self.last_token = 0
        self.uptime = 100.0

    def awake(self) -> dict[str, Process]:
        return {node: process for node, process in self.processes.items() if not process.frozen}

    def view(self) -> View:
        return self.streams.view()._replace(uptime=self.uptime)

    def keep(self, node: str, process: Process) -> None:
        for id in self.streams.keep(node, process.capacity, process.draining, process.held).lost:
            del process.held[id]
            process.successors.discard(id)

    def pass_seconds(self, seconds: float) -> None:
        let_pass(self.client, seconds)
        self.uptime += seconds
        for node, process in self.awake().items():
            self.keep(node, process)
        view = self.view()
        for process in self.awake().values():
            for id, token in process.held.items():
                assert token in {part[id].token for part in (view.leases, view.next) if id in part}

    def enter(self, node: str, process: Process, id: str, token: str) -> None:
        view = self.view()
        kind = self.streams.enter(id, token, node)
        if kind is None:
            return
        entered = (view.leases if kind == "lease" else view.next)[id]
        assert (entered.token, entered.state in ("placed", "backing_off")) == (token, True)
        assert not [other for other in self.processes.values() if other.held.get(id) == token]
        process.held[id] = token
        (process.successors.add if kind == "next" else process.successors.discard)(id)

    @initialize(wanted=wanted_ids, capacities=st.lists(st.integers(1, 20), min_size=1, max_size=4))
    def begin(self, wanted: set[str], capacities: list[int]) -> None:
        self.wanted = wanted
        for node, capacity in zip(NODES, capacities, strict=False):
            self.join(node, capacity)
        self.live(1)

    @rule(times=st.sampled_from([1, 3, 4]))
    def live(self, times: int) -> None:
        """All goes as it should, for a third of the time to live, or longer than that."""
        for _ in range(times):
            self.supervise()
            self.receive(False)
            self.deliver(IDS)
            self.pass_seconds(TTL / 3)

    @rule(wanted=wanted_ids)
    def want(self, wanted: set[str]) -> None:
        self.wanted = wanted

    @rule(node=nodes, capacity=st.integers(1, 20))
    def join(self, node: str, capacity: int) -> None:
        if node not in self.processes and taken(self.view())[node] <= capacity:
            self.processes[node] = Process(capacity)
            self.keep(node, self.processes[node])

    @rule(node=nodes)
    def kill(self, node: str) -> None:
        self.processes.pop(node, None)

    @rule(node=nodes, leaves=st.booleans())
    def drain(self, node: str, leaves: bool) -> None:
        if process := self.awake().get(node):
            process.draining = True
            self.keep(node, process)
            if leaves:
                for id, token in (*process.held.items(), *process.waiting.items()):
                    self.streams.release(id, token)
                self.streams.forget(node)
                del self.processes[node]

    @rule(node=nodes)
    def freeze_or_thaw(self, node: str) -> None:
        if process := self.processes.get(node):
            process.frozen = not process.frozen

    def supervise(self, lost: Collection[int] = ()) -> bool:
        """Do what is planned, with some messages lost; returns whether there was anything to do."""
        decided = plan(self.wanted, self.view(), False)
        self.streams.stop(decided.stop)
        moves: list[tuple[str, str, Kind]] = [(id, node, "start") for id, node in decided.start]
        moves += [(id, node, "hand_over") for id, node in decided.hand_over]
        done = self.streams.place(moves)
        assert [(id, node) for id, node, _ in done] == [(id, node) for id, node, _ in moves]
        for number, (id, node, token) in enumerate(done):
            assert int(token) > self.last_token
            self.last_token = int(token)
            self.sent[node].append((id, token))
            if number not in lost:
                self.queues[node].append((id, token))
        return bool(moves or decided.stop)

    @rule(lost=st.sets(st.integers(0, 9)))
    def supervise_with_losses(self, lost: set[int]) -> None:
        self.supervise(lost)

    @rule(again=st.booleans())
    def receive(self, again: bool) -> None:
        """Messages arrive, and some do so once more."""
        for node, process in self.awake().items():
            messages, self.queues[node] = self.queues[node], []
            for id, token in messages + (self.sent[node] if again else []):
                self.enter(node, process, id, token)

    @rule(ids=wanted_ids)
    def deliver(self, ids: Collection[str]) -> None:
        for process in self.awake().values():
            for id in process.successors & set(ids):
                process.successors.discard(id)
                if self.streams.promote(id, process.held[id]):
                    self.streams.delivered(id, process.held[id])
                else:
                    del process.held[id]

    @rule(ids=wanted_ids, seconds=st.sampled_from([0.5, 5, 30]))
    def lose_the_exchange(self, ids: set[str], seconds: float) -> None:
        """Some streams back off; those that did so before try again."""
        for node, process in self.awake().items():
            for id, token in process.waiting.items():
                self.enter(node, process, id, token)
            process.waiting.clear()
            for id in ids & process.held.keys():
                token = process.held.pop(id)
                process.successors.discard(id)
                if self.streams.back_off(id, token, seconds, "away"):
                    process.waiting[id] = token

    @rule(ids=st.sets(st.sampled_from(IDS), max_size=3))
    def find_the_configuration_wrong(self, ids: set[str]) -> None:
        for process in self.awake().values():
            for id in ids & process.held.keys():
                process.successors.discard(id)
                self.streams.fail(id, process.held.pop(id), "wrong")

    @rule(times=st.sampled_from([1, 3, 4, 6]))
    def time_passes(self, times: int) -> None:
        for _ in range(times):
            self.pass_seconds(TTL / 3)

    @rule(first=st.sets(nodes))
    def redis_forgets(self, first: set[str]) -> None:
        """Everything; some workers come back before others."""
        self.client.flushall()
        self.last_token, self.uptime = 0, 0
        for node, process in self.awake().items():
            if node in first:
                self.keep(node, process)

    @rule(seconds=st.integers(1, 3600))
    def the_clock_falls_back(self, seconds: int) -> None:
        fall_back(self.client, seconds)

    @invariant()
    def nobody_has_more_than_there_are_places(self) -> None:
        view = self.view()
        for node, worker in view.workers.items():
            assert taken(view)[node] <= worker.capacity

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:  # else that is what to tell
            self.comes_to_rest()

    def comes_to_rest(self) -> None:
        """Where nothing happens any more, all is soon in its place."""
        for process in self.processes.values():
            process.frozen = False
        for seconds in [TTL / 3] * 15 + [FAILED]:
            self.pass_seconds(seconds)
        rounds = 0
        while self.supervise():
            rounds += 1
            assert rounds <= 4
            self.receive(False)
            self.deliver(IDS)
            self.pass_seconds(2)
        view = self.view()
        open_places = sum(worker.capacity for worker in view.workers.values() if not worker.draining)
        running = {id for id, entry in view.leases.items() if entry.state == "running"}
        assert running == {id for id, entry in view.leases.items() if entry.state != "stopped"} <= self.wanted
        assert len(running) >= min(open_places, len(self.wanted))
        assert view.next == {}
        assert is_even(view)


def test_streams_come_to_rest_whatever_happens(redis_with_timeseries: EmbeddedRedis, again: Again) -> None:
    with connect(redis_with_timeseries.url) as client:
        machine = partial(StreamsMachine, client)
        again(lambda: run_state_machine_as_test(machine, settings=settings(stateful_step_count=30)))  # type: ignore[arg-type]
