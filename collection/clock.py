"""The time by which records are judged: this machine's clock, or a better one where this machine's is wrong."""

from __future__ import annotations

import time

TRUSTED_MS = 1_000
"""A clock that is off by no more is left alone: asking another one takes time as well."""
_offset = 0


def now() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000 + _offset


def correct(reference: int) -> int:
    """Go by a better clock from now on, that of Redis, and say by how many milliseconds this machine's is ahead of it.

    `reference` is Unix time in milliseconds, by that clock, as of now.
    """
    global _offset
    ahead = time.time_ns() // 1_000_000 - reference
    _offset = -ahead if abs(ahead) > TRUSTED_MS else 0
    return ahead
