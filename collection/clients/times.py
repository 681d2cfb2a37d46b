"""Times as exchanges write them: to Unix milliseconds, rounded down, without a detour over floats or time zones."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def milliseconds_of(text: str) -> int:
    """Read `2026-11-23T01:02:03.456789Z`, with any number of decimals or none; raises ValueError for another form."""
    minute, rest = text[:17], text[17:]
    if rest[-1:] != "Z" or not minute.isascii():
        raise ValueError(f"{text!r} is no time such as 2026-11-23T01:02:03.456789Z")
    seconds, _, decimals = rest[:-1].partition(".")
    if len(seconds) != 2 or not (seconds + decimals).isdecimal() or int(seconds) > 60:
        raise ValueError(f"{text!r} is no time such as 2026-11-23T01:02:03.456789Z")
    return _minute(minute) + int(seconds) * 1000 + int(f"{decimals[:3]:0<3}")


@lru_cache(64)
def _minute(text: str) -> int:
    """Unix milliseconds of the beginning of a minute, given up to the colon before its seconds."""
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:").replace(tzinfo=UTC).timestamp()) * 1000
