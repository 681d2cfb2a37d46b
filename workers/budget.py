"""The budget of an exchange that all workers share: a bucket in Redis, judged by its clock (`budget.lua`)."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from importlib.resources import files

import redis

from collection.clients.budget import RESERVED, Budget, LocalBudget, Rate, in_background
from collection.errors import CollectionError
from collection.storage.redis_server import server_errors
from collection.storage.threads import in_thread

log = logging.getLogger(__name__)

PATIENCE = 0.5
"""Seconds that Redis may take to answer."""
AWAY = 5.0
"""Seconds for which a Redis that did not is not asked again."""
LONGEST = 5.0
"""Seconds between two looks at a bucket that is empty for longer."""

_SCRIPT = files("workers").joinpath("budget.lua").read_bytes()


class RedisBudget(Budget):
    """The bucket of a name and a rate; used within one event loop.

    Each process has a bucket of its own besides, which holds it back while Redis is away: collecting goes on.
    """

    def __init__(self, client: redis.Redis, name: str, rate: Rate) -> None:
        self._script = client.register_script(_SCRIPT)
        # Others may count in another unit: theirs is another bucket.
        self._key = f"qc:{{budget:{name}:{rate.weight:g}:{rate.seconds:g}}}"
        self._name, self._rate = name, rate
        self._local = LocalBudget(rate)
        self._asking = asyncio.Lock()
        self._away_until = 0.0

    async def take(self, weight: float = 1.0) -> None:
        while True:
            pause = await self._ask(weight)
            if not pause:
                break
            # Those who wait for the same weight come one after another.
            await asyncio.sleep(min(pause, LONGEST) + random.uniform(0, 0.02))  # noqa: S311
        await self._local.take(weight)

    async def _ask(self, weight: float) -> float:
        """Return how many seconds to wait, 0 where the weight was taken, or Redis can't tell."""
        async with self._asking:  # one at a time: a Redis that hangs keeps one thread from its work, not all
            if time.monotonic() < self._away_until:
                return 0.0
            kept = RESERVED * self._rate.weight if in_background.get() else 0.0
            try:
                return await asyncio.wait_for(in_thread(self._call, weight, kept), PATIENCE)
            except (CollectionError, TimeoutError) as error:
                self._away_until = time.monotonic() + AWAY
                log.warning("%s: the budget of this process alone: %s", self._name, str(error) or "Redis hangs")
                return 0.0

    def _call(self, weight: float, kept: float) -> float:
        with server_errors():
            microseconds = self._script(
                keys=[self._key], args=[weight, self._rate.weight, int(self._rate.seconds * 1e6), kept]
            )
        return int(microseconds) / 1e6
