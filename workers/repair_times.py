"""When series are repaired."""

from __future__ import annotations

from zlib import crc32

from collection.data_collector import phase

EVERY = 600.0
"""Seconds between two turns of a series: a look costs some milliseconds, and what it finds can still be had."""
THOROUGH = 36
"""Every so many turns, six hours, one is thorough."""


def entry_name(key: str) -> str:
    """Name the entry of a series in the schedule; it says when in EVERY seconds it is due."""
    return f"repair:{key}"


def is_thorough(key: str, now: float) -> bool:
    """Whether the turn of a series at `now`, Unix time in seconds, is a thorough one; spread like the turns."""
    turn = int((now - phase(entry_name(key), EVERY)) // EVERY)
    return turn % THOROUGH == crc32(key.encode()) % THOROUGH
