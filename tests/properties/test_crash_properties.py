"""Processes that collect are killed, and Redis is: what one of them was told is durable is there in the end."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from collection.storage import BarsCheck, DataCollectionStorage, RedisStorage
from collection.storage.spool_report import spool_report
from tests.properties.conftest import PATIENCE, SOAK_MINUTES, Again
from tests.properties.model import bars as bars_of
from tests.properties.model import exactly, merged
from tests.properties.places import Redis, redis_place, settle
from tests.properties.writing import numbered

pytestmark = pytest.mark.timeout(PATIENCE)
ROOT = Path(__file__).parents[2]
KEYS = ("trades:a:BTC/USDT", "trades:b:BTC/USDT")


class Collecting:
    """A process that collects, and what it was given."""

    def __init__(self, url: str, spool: Path) -> None:
        command = [sys.executable, "-m", "tests.properties.writing", url, str(spool)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        self.given: list[tuple[str, int]] = []
        """Key and number of each trade that it may have."""

    def store(self, key: str, first: int, count: int) -> None:
        self._send(["store", key, first, count])
        self.given += [(key, number) for number in range(first, first + count)]

    def flush(self, seconds: float) -> str:
        self._send(["flush", seconds])
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _send(self, command: list[object]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()


class CrashMachine(RuleBasedStateMachine):
    def __init__(self, place: Redis) -> None:
        super().__init__()
        place.empty()
        self.place = place
        self.up = True
        self.folder = tempfile.TemporaryDirectory(prefix="spool-")
        self.spool = Path(self.folder.name) / "spool"
        self.processes = [Collecting(place.url, self.spool) for _ in range(2)]
        self.offered: set[tuple[str, int]] = set()
        self.durable: set[tuple[str, int]] = set()
        self.next = dict.fromkeys(KEYS, 1)

    @rule(which=st.integers(0, 1), key=st.sampled_from(KEYS), count=st.integers(1, 1_500), again=st.integers(0, 40))
    def store(self, which: int, key: str, count: int, again: int) -> None:
        """What follows, and some of what came before; some of the next ones are left to come late."""
        first = max(self.next[key] - again, 1) if again < 30 else self.next[key] + 3
        self.processes[which].store(key, first, count)
        self.offered.update(self.processes[which].given)
        self.next[key] = max(self.next[key], first + count)

    @rule(which=st.integers(0, 1), seconds=st.sampled_from((0.1, 1, 5)))
    def flush(self, which: int, seconds: float) -> None:
        if self.processes[which].flush(seconds) == "durable":
            self.durable.update(self.processes[which].given)

    @rule(which=st.integers(0, 1))
    def kill_a_process(self, which: int) -> None:
        self.processes[which].kill()
        self.processes[which] = Collecting(self.place.url, self.spool)

    @precondition(lambda self: self.up)
    @rule()
    def kill_redis(self) -> None:
        self.place.go_down()
        self.up = False

    @precondition(lambda self: not self.up)
    @rule()
    def start_redis(self) -> None:
        self.place.come_up()
        self.up = True

    @precondition(lambda self: self.up)
    @rule()
    def all_that_is_covered_is_there(self) -> None:
        with RedisStorage(self.place.url) as storage:
            for key in KEYS:
                check_coverage(storage, key)

    def teardown(self) -> None:
        self.place.come_up()
        for process in self.processes:
            process.kill()
        try:
            if sys.exc_info()[0] is None:
                self.check_everything()
        finally:
            self.folder.cleanup()

    def check_everything(self) -> None:
        with RedisStorage(self.place.url, spool=self.spool) as storage:
            deadline = time.monotonic() + 20
            while any(one.records for one in spool_report(self.spool).waiting):
                assert time.monotonic() < deadline, spool_report(self.spool)
                storage.count(KEYS[0], "asked")
                settle(storage)
            for key in KEYS:
                self.check(storage, key)

    def check(self, storage: DataCollectionStorage, key: str) -> None:
        stored = [trade for _, trade in storage.fetch(key)]
        numbers = [int(trade.id) for trade in stored]
        assert numbers == sorted(set(numbers))
        assert exactly(stored) == exactly([numbered(number) for number in numbers])
        durable, offered = ({number for of, number in some if of == key} for some in (self.durable, self.offered))
        assert durable <= set(numbers) <= offered, f"lost: {sorted(durable - set(numbers))}"
        check_coverage(storage, key)
        covered = storage.coverage(key).intervals
        assert merged([*covered, *((number - 1, number) for number in durable)]) == covered  # type: ignore[list-item]
        bars = bars_of(stored, None, None, 1_000)
        assert storage.bars(key) == bars
        assert storage.check_bars(key) == BarsCheck(len(bars), ())
        assert storage.counters(key).get("new", 0) == len(stored)


def check_coverage(storage: DataCollectionStorage, key: str) -> None:
    """Only what is stored is covered; what is covered was read first, for more may come meanwhile."""
    covered = storage.coverage(key).intervals
    numbers = {int(trade.id) for _, trade in storage.fetch(key)}
    missing = [number for after, upto in covered for number in range(after + 1, upto + 1) if number not in numbers]
    assert not missing, f"{key}: covered, but not stored: {missing[:10]} …"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with redis_place(tmp_path_factory.mktemp("crashes"), modules=True) as place:
        yield place


def test_what_is_durable_is_there_in_the_end_and_what_is_covered_always(redis: Redis, again: Again) -> None:
    sizes = settings() if SOAK_MINUTES else settings(max_examples=4, stateful_step_count=10)
    again(lambda: run_state_machine_as_test(partial(CrashMachine, redis), settings=sizes))  # type: ignore[arg-type]
