"""Leases: one holder at a time, by Redis's clock."""

from __future__ import annotations

import asyncio

import pytest
import redis

from collection.errors import RetryLater
from collection.storage.redis_server import connect
from tests.simulation import until
from workers.lease import Lease


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return connect(redis_url)


def test_one_holds_and_the_other_does_not_until_it_is_released(client: redis.Redis) -> None:
    one, two = Lease(client, "x", 10), Lease(client, "x", 10)
    assert (one.hold(), two.hold(), one.hold()) == (True, False, True)
    two.release()
    assert not two.hold()
    one.release()
    assert (two.hold(), one.hold()) == (True, False)


async def test_a_lease_that_is_not_renewed_passes_on_with_a_greater_token(client: redis.Redis) -> None:
    one, two = Lease(client, "x", 0.2), Lease(client, "x", 10)
    assert one.hold()
    first = one.token
    assert first is not None
    await until(two.hold, 5)
    assert two.token is not None
    assert two.token > first
    assert not one.hold()
    one.release()  # which is not one's own any more, and stays
    assert two.hold()


def test_a_lease_that_vanished_is_taken_again_under_its_token_but_not_from_another(client: redis.Redis) -> None:
    one, two = Lease(client, "x", 10), Lease(client, "x", 10)
    one.hold()
    token = one.token
    client.flushall()
    assert one.hold()
    assert one.token == token
    client.flushall()
    assert two.hold()
    assert not one.hold()


def test_tokens_grow_even_where_the_clock_fell_back(client: redis.Redis) -> None:
    client.set("qc:{lease:x}:token", "9000000000000000")
    lease = Lease(client, "x", 10)
    lease.hold()
    assert lease.token == 9_000_000_000_000_001


async def test_work_ends_when_another_takes_the_lease(client: redis.Redis) -> None:
    lease, other = Lease(client, "x", 0.3), Lease(client, "x", 10)
    assert lease.hold()
    started = asyncio.Event()
    cancelled = asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    running = asyncio.create_task(lease.keep_during(work()))
    await started.wait()
    client.delete("qc:{lease:x}")
    assert other.hold()
    with pytest.raises(RetryLater, match="held by another"):
        await running
    await asyncio.wait_for(cancelled.wait(), 1)


async def test_work_that_takes_longer_than_the_lease_keeps_it(client: redis.Redis) -> None:
    lease, other = Lease(client, "x", 0.3), Lease(client, "x", 0.3)
    assert lease.hold()
    done = asyncio.Event()
    running = asyncio.create_task(lease.keep_during(done.wait()))
    for _ in range(40):
        assert not await asyncio.to_thread(other.hold)
        await asyncio.sleep(0.02)
    done.set()
    assert await running is True
