"""Redis dies, forgets, freezes, is full, or is away for longer than the exchange remembers."""

from __future__ import annotations

import asyncio
import time

from tests.chaos.place import RATE, TAKEOVER, Place, Recovery

BACK = 5.0
"""Seconds from Redis being back until data flow."""


async def kill_redis(place: Place) -> Recovery:
    """`kill -9` of Redis, restarted with its append-only file"""
    await place.start()
    place.redis.kill()
    await asyncio.sleep(5)
    place.redis.start()
    seconds = await place.flowing(time.time())
    await place.judge()
    return Recovery(seconds, BACK)


async def empty_redis(place: Place) -> Recovery:
    """Redis without persistence restarted: empty, filled again from the exchange's history"""
    await place.start()
    place.redis.kill()
    place.redis.forget()
    await asyncio.sleep(2)
    place.redis.start()
    seconds = await place.flowing(time.time())
    await place.judge()
    return Recovery(seconds, BACK)


async def freeze_redis(place: Place) -> Recovery:
    """Redis frozen for 30 s"""
    await place.start()
    place.redis.freeze()
    await asyncio.sleep(30)
    place.redis.thaw()
    seconds = await place.flowing(time.time())
    await place.judge()
    return Recovery(seconds, BACK)


async def fill_redis(place: Place) -> Recovery:
    """Redis out of memory for 15 s, then room again"""
    await place.start()
    await asyncio.to_thread(place.redis.fill)
    await asyncio.sleep(15)
    await asyncio.to_thread(place.redis.make_room)
    seconds = await place.flowing(time.time())
    await place.judge()
    return Recovery(seconds, BACK)


async def restart_workers_while_redis_is_full(place: Place) -> Recovery:
    """a stream worker, the one for polls and a beat killed and started again while Redis is out of memory"""
    await place.start()
    await asyncio.to_thread(place.redis.fill)
    for node in (place.workers[0], place.control, place.beats[0]):
        node.kill()
        node.restart()
    await asyncio.sleep(10)
    await asyncio.to_thread(place.redis.make_room)
    seconds = await place.flowing(time.time())
    await place.judge()
    return Recovery(seconds, TAKEOVER)


async def kill_redis_while_retries_wait(place: Place) -> Recovery:
    """`kill -9` of Redis while the exchange refuses all streams, so that retries wait in the workers"""
    await place.start()
    await place.misbehave(ban=1, retry_after=20, disconnect_every=1)
    await place.until(lambda: all(worker.logs().count("Retry in") > 1 for worker in place.workers), 60, "retries wait")
    place.redis.kill()
    await asyncio.sleep(5)
    place.redis.start()
    await place.misbehave()
    seconds = await place.flowing(time.time())
    await place.judge()
    return Recovery(seconds, 35)


async def redis_away_for_longer_than_the_exchange_remembers(place: Place) -> Recovery:
    """Redis away for 40 s, the workers restarted meanwhile, while the exchange remembers the last 25 s only"""
    await place.start()
    await place.misbehave(history=25 * RATE)
    place.redis.kill()
    await asyncio.sleep(40)
    await asyncio.gather(*(asyncio.to_thread(worker.kill, "SIGTERM") for worker in place.workers))
    place.redis.start()
    back = time.time()
    for worker in place.workers:
        worker.restart()
    seconds = await place.flowing(back)
    await place.judge()
    return Recovery(seconds, 20)
