"""Times as exchanges write them: to Unix milliseconds, rounded down, without a detour over floats."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from collection.clients.digits import EXACT

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400_000


def milliseconds_of(text: str) -> int:
    """Read `2026-11-23T01:02:03.456789Z`; raises ValueError or TypeError for what is no time with its zone."""
    since = datetime.fromisoformat(text) - _EPOCH  # digits beyond microseconds are cut off, not rounded
    return since.days * _DAY + since.seconds * 1000 + since.microseconds // 1000


def milliseconds_of_seconds(seconds: Decimal) -> int:
    """Read `1763859723.456789012`; raises ArithmeticError or ValueError for what is none."""
    if seconds.adjusted() > 11:
        raise ValueError(f"{seconds} s is no time")
    return int(seconds.scaleb(3, EXACT))
