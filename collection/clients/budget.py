"""How often an exchange may be asked: a budget that all who ask it share."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

RESERVED = 0.5
"""What background work leaves of a budget to those who can't wait, as a share of it."""


class Rate(NamedTuple):
    """`weight` at once, and as much again every `seconds`."""

    weight: float
    seconds: float


class Budget(ABC):
    """A token bucket of request weight: it fills steadily, and what it does not hold is waited for."""

    @abstractmethod
    async def take(self, weight: float = 1.0) -> None:
        """Wait until the exchange may be asked again, and count it. Work in the background leaves the last half."""


class LocalBudget(Budget):
    """The budget of one process."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._left = rate.weight
        self._at = time.monotonic()
        self._turns = {background: asyncio.Lock() for background in (False, True)}

    async def take(self, weight: float = 1.0) -> None:
        kept = RESERVED * self._rate.weight if in_background.get() else 0.0
        needed = min(weight + kept, self._rate.weight)  # what weighs more than there can be is owed
        async with self._turns[kept > 0]:  # the first waits for what it lacks, and the others, in order, for it
            while True:
                lacking = needed - self._filled()
                if lacking <= 0:
                    self._left -= weight
                    return
                await asyncio.sleep(lacking * self._rate.seconds / self._rate.weight)

    def _filled(self) -> float:
        now = time.monotonic()
        filled = self._left + (now - self._at) * self._rate.weight / self._rate.seconds
        self._left, self._at = min(filled, self._rate.weight), now
        return self._left


in_background: ContextVar[bool] = ContextVar("in_background", default=False)


@contextmanager
def background() -> Iterator[None]:
    """What is asked for within, in this task, can wait: others go first."""
    token = in_background.set(True)
    try:
        yield
    finally:
        in_background.reset(token)
