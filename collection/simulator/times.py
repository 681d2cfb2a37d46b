"""The moments of trades as exchanges tell them that know more than milliseconds."""

from __future__ import annotations

import time
from functools import lru_cache

_MS = 1_000_000
_TICK = 100
_TICKS = 9_990
"""Of a millisecond. Not its last microsecond: seconds as a float would make the next millisecond of it."""


def nanoseconds(timestamp: int) -> int:
    """Return Unix time in nanoseconds, whole hundreds, of a trade whose millisecond is this one.

    Trades of one millisecond share it, as those of one order do on an exchange.
    """
    return timestamp * _MS + timestamp * 7919 % _TICKS * _TICK


def microseconds(timestamp: int) -> str:
    """Return the moment of a trade as `2026-01-31T20:03:41.158814Z`."""
    seconds, rest = divmod(nanoseconds(timestamp), 10**9)
    return f"{_second(seconds)}.{rest // 1000:06d}Z"


def instant(now: int) -> str:
    """Return Unix time in milliseconds as `2026-01-31T20:03:41.158000Z`."""
    seconds, rest = divmod(now, 1000)
    return f"{_second(seconds)}.{rest:03d}000Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
