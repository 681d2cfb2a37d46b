"""The streams of a worker process, over a real Redis: entering, losing, handing over, ending."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from collection.data_collectors import DataSourceCollector
from collection.errors import RetryLater
from collection.storage import DataCollectionStorage, MemoryStorage
from collection.storage.redis_server import connect
from tests.simulation import until
from workers.assignments import Assignments
from workers.streams import Streams

KEY = "trades:binance:A/B"


class Listener(DataSourceCollector):
    """Stores a number when it begins, and one when it ends; delivers once it is let."""

    interval = None

    def __init__(self) -> None:
        self.id = KEY
        self.ready = asyncio.Event()
        self.may_deliver = asyncio.Event()
        self.broken: Exception | None = None

    async def run(self, storage: DataCollectionStorage) -> None:
        storage.store(KEY, 1, 1)
        try:
            await self.may_deliver.wait()
            self.ready.set()
            while self.broken is None:
                await asyncio.sleep(0.01)
            raise self.broken
        finally:
            storage.store(KEY, 2, 2)
            self.ready.clear()


class Process:
    """What a worker process has: a loop in a thread, a storage, its streams; pool threads wait."""

    def __init__(self, url: str, node: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.redis = connect(url)
        self.storage = MemoryStorage()
        self.streams = Streams(Assignments(self.redis), self.storage, self.loop)
        self.streams.start(node, 2)
        self.pool = ThreadPoolExecutor(2)
        self.collector = Listener()

    def run(self, token: str | None, *, deliver: bool = True) -> Future[str]:
        """Do what the task does."""
        if deliver:
            self.loop.call_soon_threadsafe(self.collector.may_deliver.set)

        def work() -> str:
            run = self.streams.enter(self.collector, token)
            if run is None:
                return "stale"
            try:
                return self.streams.listen(run)
            finally:
                self.streams.leave(run)

        return self.pool.submit(work)

    def close(self) -> None:
        self.streams.drain(0)
        self.pool.shutdown()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.redis.close()


@pytest.fixture
def assignments(redis_url: str) -> Iterator[Assignments]:
    with connect(redis_url) as client:
        yield Assignments(client)


@pytest.fixture
def process(redis_url: str, assignments: Assignments) -> Iterator[Callable[[str], Process]]:
    started: list[Process] = []

    def start(node: str) -> Process:
        started.append(Process(redis_url, node))
        return started[-1]

    yield start
    for one in started:
        one.close()


async def test_a_successor_takes_over_before_the_predecessor_lets_go(
    process: Callable[[str], Process], assignments: Assignments
) -> None:
    old, new = process("old@x"), process("new@x")
    [(_, _, token)] = assignments.place([(KEY, "old@x", "start")])
    first = old.run(token)
    await until(lambda: assignments.view().leases[KEY].state == "running")
    [(_, _, token)] = assignments.place([(KEY, "new@x", "hand_over")])
    second = new.run(token, deliver=False)
    await until(lambda: assignments.view().next[KEY].state == "running")
    assert not first.done()  # the successor does not deliver yet
    new.loop.call_soon_threadsafe(new.collector.may_deliver.set)
    assert await asyncio.to_thread(first.result, 5) == "another one runs it"
    view = assignments.view()
    assert (view.leases[KEY].node, view.next) == ("new@x", {})
    assert not second.done()
    assert old.storage.fetch(KEY) == [(1, 1), (2, 2)]  # its last record is stored


async def test_a_message_that_comes_twice_or_late_does_nothing(
    process: Callable[[str], Process], assignments: Assignments
) -> None:
    worker = process("one@x")
    [(_, _, token)] = assignments.place([(KEY, "one@x", "start")])
    run = worker.run(token)
    await until(lambda: assignments.view().leases[KEY].state == "running")
    assert worker.run(token).result(5) == "stale"
    assert worker.run(None).result(5) == "stale"
    assert not run.done()


async def test_a_stream_that_is_stopped_ends_and_is_not_taken_again(
    process: Callable[[str], Process], assignments: Assignments
) -> None:
    worker = process("one@x")
    run = worker.run(None)
    await until(lambda: KEY in assignments.view().leases)
    assignments.stop([KEY])
    assert await asyncio.to_thread(run.result, 5) == "another one runs it"
    assert assignments.view().leases[KEY].state == "stopped"


async def test_a_lease_that_redis_forgot_is_taken_again(
    process: Callable[[str], Process], assignments: Assignments, redis_url: str
) -> None:
    worker = process("one@x")
    run = worker.run(None)
    await until(lambda: KEY in assignments.view().leases)
    token = assignments.view().leases[KEY].token
    with connect(redis_url) as client:
        client.flushall()
    await until(lambda: KEY in assignments.view().leases)
    assert assignments.view().leases[KEY].token == token
    assert not run.done()


async def test_where_nobody_has_room_all_ends_at_once(
    process: Callable[[str], Process], assignments: Assignments
) -> None:
    worker = process("one@x")
    run = worker.run(None)
    await until(lambda: KEY in assignments.view().leases)
    began = time.monotonic()
    await asyncio.to_thread(worker.streams.drain, 30)
    assert time.monotonic() - began < 2
    assert run.result(1) == "the worker ends"
    assert (assignments.view().leases, assignments.view().workers) == ({}, {})


async def test_what_others_take_over_is_waited_for_and_a_second_signal_ends_that(
    process: Callable[[str], Process], assignments: Assignments
) -> None:
    worker, _ = process("one@x"), process("two@x")
    run = worker.run(None)
    await until(lambda: len(assignments.view().workers) == 2 and KEY in assignments.view().leases)
    ending = asyncio.ensure_future(asyncio.to_thread(worker.streams.drain, 30))
    await until(lambda: assignments.view().workers["one@x"].draining)
    assert not run.done()
    worker.streams.hurry = True
    await asyncio.wait_for(ending, 3)
    assert run.result(1) == "the worker ends"


async def test_a_stream_that_backs_off_keeps_its_lease_and_is_entered_again_once(
    process: Callable[[str], Process], assignments: Assignments
) -> None:
    worker = process("one@x")
    token = assignments.take(KEY, "one@x")
    assert token
    assignments.back_off(KEY, token, 0.0, "the exchange is away")
    worker.collector.broken = RetryLater("away again")
    run = worker.run(token)
    assert isinstance(await asyncio.to_thread(run.exception, 5), RetryLater)
    assert KEY not in assignments.view().leases  # let go, for nobody gave it away
    assert worker.run(token).result(5) == "stale"
