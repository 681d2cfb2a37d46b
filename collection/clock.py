"""The time by which records are judged: this machine's clock, or a better one where this machine's is wrong."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)

TRUSTED_MS = 1_000
"""A clock that is off by no more is left alone: asking another one takes time as well."""
_offset = 0
_ahead: int | None = None


def now() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000 + _offset


def correct(reference: int) -> int:
    """Go by a better clock from now on, that of Redis, and say by how many milliseconds this machine's is ahead of it.

    `reference` is Unix time in milliseconds, by that clock, as of now.
    """
    global _ahead, _offset
    _ahead = ahead = time.time_ns() // 1_000_000 - reference
    before, _offset = _offset, -ahead if abs(ahead) > TRUSTED_MS else 0
    if _offset and not before:
        how = "ahead of" if ahead > 0 else "behind"
        log.warning("this machine's clock is %.1f s %s Redis's: records are judged by Redis's", abs(ahead) / 1000, how)
    elif before and not _offset:
        log.info("this machine's clock and Redis's agree again")
    return ahead


def ahead_of_redis() -> int | None:
    """By how many milliseconds this machine's clock was ahead of Redis's when they were last compared, if ever."""
    return _ahead
