"""The spool: what it took is delivered, whatever dies when; nothing is delivered that it was not given."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from collection.errors import RetryLater, StorageUnavailable
from collection.storage import Covers, Interval
from collection.storage.batch import Batch
from collection.storage.queues import Queues
from collection.storage.segments import encode_frame
from collection.storage.spool import LIMIT, Spool
from collection.storage.spooler import Spooler
from collection.storage.values import Entry, Number, SeriesType
from tests.properties.conftest import PATIENCE, Again

pytestmark = pytest.mark.timeout(PATIENCE)
KEYS = ("trades:a:BTC/USDT", "price")


class Killed(BaseException):
    """The process ends here."""


class Process:
    """What one process has of the spool."""

    def __init__(self, root: Path, limit: int) -> None:
        self.spool = Spool(root, "unix:///nowhere/redis.sock", limit=limit)
        self.spooler = Spooler(self.spool, Queues(), threading.Condition())

    def kill(self) -> None:
        """Let go of everything as the kernel does for a process that was killed."""
        locks = self.spool._folders._locks
        for descriptor in locks.values():
            os.close(descriptor)
        locks.clear()


class SpoolMachine(RuleBasedStateMachine):
    """Two processes at a time write to a spool and deliver from it."""

    def __init__(self, limit: int = LIMIT) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="spool-")
        self.root = Path(self.folder.name)
        self.limit = limit
        self.processes = [self.new_process(), self.new_process()]
        self.numbers = itertools.count(1)
        self.given: dict[int, tuple[str, Batch]] = {}
        """What was offered, by a number of its own, whether it was taken or not."""
        self.taken: set[int] = set()
        self.delivered: Counter[int] = Counter()
        self.order: list[int] = []
        """Numbers in the order of their first delivery."""
        self.origin: dict[int, Process] = {}
        self.left_out: Counter[int] = Counter()
        self.counted: Counter[str] = Counter()
        self.unharmed = True
        self.repeated = False

    def new_process(self) -> Process:
        return Process(self.root, self.limit)

    def teardown(self) -> None:
        try:
            for process in self.processes:
                process.spooler.close(1)
            last = self.new_process()
            last.spooler.drain(self.deliver)
            last.spooler.close(1)
            self.check()
        finally:
            self.folder.cleanup()

    def batch(self, key: str, size: int, covers: bool, counts: int) -> tuple[int, Batch]:
        number = next(self.numbers)
        entries: list[Entry | Number] = []
        if key == "price":
            entries = [(1_000 * number + index, number / 8) for index in range(size)]
        else:
            entries = [(1_000 * number + index, 2**64 - 1 - index, bytes(range(index * 9))) for index in range(size)]
        told = {f"batch:{number}": 1, **({"refused:no_price": counts} if counts else {})}
        kind: SeriesType = "number" if key == "price" else "trade"
        interval = Covers("id", [Interval(number - 1, number)]) if covers else None
        return number, Batch(kind if entries else None, entries, interval, told)

    @rule(
        which=st.integers(0, 1),
        shapes=st.lists(
            st.tuples(st.sampled_from(KEYS), st.integers(0, 6), st.booleans(), st.integers(0, 2)),
            min_size=1,
            max_size=4,
        ),
    )
    def append(self, which: int, shapes: list[tuple[str, int, bool, int]]) -> None:
        batches = [(key, *self.batch(key, *shape)) for key, *shape in shapes]  # type: ignore[arg-type]
        for key, number, batch in batches:
            self.given[number] = key, batch
            self.origin[number] = self.processes[which]
        with contextlib.suppress(StorageUnavailable):  # the limit is too small for it
            self.processes[which].spool.append([(key, batch) for key, _, batch in batches])
            self.taken |= {number for _, number, _ in batches}

    def deliver(self, key: str, batch: Batch) -> bool:
        numbers = [int(name.removeprefix("batch:")) for name in batch.counts if name.startswith("batch:")]
        self.counted.update(batch.counts)
        if "dropped:spool_full" in batch.counts or len(numbers) > 1 or (key, batch) != self.given[numbers[0]]:
            assert self.limit < LIMIT
            assert not batch.entries
            assert not batch.covers
            self.left_out.update(numbers)
            return True
        if not self.delivered[numbers[0]] and not batch.only_counts:
            self.order.append(numbers[0])
        self.delivered[numbers[0]] += 1
        return True

    @rule(which=st.integers(0, 1), count=st.integers(0, 5), end=st.sampled_from(["closed", "away"]))
    def deliver_some(self, which: int, count: int, end: str) -> None:
        """As far as the server takes them."""
        left = iter(range(count))

        def deliver(key: str, batch: Batch) -> bool:
            if next(left, None) is not None:
                return self.deliver(key, batch)
            self.repeated = True  # what was acknowledged of a segment is known to its process only
            if end == "away":
                raise RetryLater("away")
            return False

        with contextlib.suppress(RetryLater):
            self.processes[which].spooler.drain(deliver)

    @precondition(lambda self: self.limit == LIMIT)
    @rule(which=st.integers(0, 1), count=st.integers(0, 5), acknowledged=st.booleans())
    def die_while_delivering(self, which: int, count: int, acknowledged: bool) -> None:
        """Before or after the server had the last one: it is not noted in any case."""
        left = iter(range(count))

        def deliver(key: str, batch: Batch) -> bool:
            if next(left, None) is None:
                if acknowledged:
                    self.deliver(key, batch)
                raise Killed
            return self.deliver(key, batch)

        with contextlib.suppress(Killed):
            self.processes[which].spooler.drain(deliver)
        self.die(which)

    @precondition(lambda self: self.limit == LIMIT)
    @rule(which=st.integers(0, 1))
    def die(self, which: int) -> None:
        self.processes[which].kill()
        self.processes[which] = self.new_process()
        self.repeated = True

    @precondition(lambda self: self.limit == LIMIT)
    @rule(which=st.integers(0, 1), cut=st.integers(1, 200), zeros=st.integers(0, 64), size=st.integers(0, 6))
    def die_while_appending(self, which: int, cut: int, zeros: int, size: int) -> None:
        """A frame, maybe the first of its file, is cut off, or the file has its length and no content."""
        key = KEYS[0]
        number, batch = self.batch(key, size, True, 1)
        self.given[number] = key, batch
        self.origin[number] = self.processes[which]
        current = self.processes[which].spool._current
        frame = encode_frame(key, batch)
        if current:
            with current.path.open("ab") as file:
                file.write(bytes(zeros) if zeros else frame[: min(cut, len(frame) - 1)])
        self.die(which)

    @rule(which=st.integers(0, 1))
    def leave(self, which: int) -> None:
        self.processes[which].spooler.close(1)
        self.processes[which] = self.new_process()

    @precondition(lambda self: self.limit == LIMIT)
    @rule(number=st.integers(0, 99), place=st.integers(0, 10_000), bit=st.integers(0, 7))
    def damage(self, number: int, place: int, bit: int) -> None:
        """A disk is wrong about one bit."""
        if segments := sorted(self.root.glob("*/*/*.segment")):
            path = segments[number % len(segments)]
            data = bytearray(path.read_bytes())
            data[place % len(data)] ^= 1 << bit
            path.write_bytes(data)
            self.unharmed = False

    def check(self) -> None:
        assert not list(self.root.glob("*/*/*.segment"))
        assert not (list(self.root.glob("*/*.damaged")) and self.unharmed)
        told = self.delivered + self.left_out
        assert self.taken <= set(told) or not self.unharmed, f"never delivered: {self.taken - set(told)}"
        if not self.repeated:
            assert set(told.values()) <= {1}
        for process in {id(one): one for one in self.origin.values()}.values():
            of_process = [number for number in self.order if self.origin[number] is process]
            assert of_process == sorted(of_process) or not self.unharmed
        if not self.repeated and self.unharmed:
            left_out = sum(len(self.given[number][1].entries) for number in self.left_out)
            refused = sum(self.given[number][1].counts.get("refused:no_price", 0) for number in self.taken)
            assert self.counted["dropped:spool_full"] == left_out
            assert self.counted["refused:no_price"] == refused


def test_what_the_spool_took_is_delivered_whatever_dies_when(again: Again) -> None:
    again(lambda: run_state_machine_as_test(SpoolMachine, settings=settings()))


def test_what_the_spool_leaves_out_beyond_its_limit_is_counted(again: Again) -> None:
    again(lambda: run_state_machine_as_test(partial(SpoolMachine, 3_000), settings=settings()))  # type: ignore[arg-type]
