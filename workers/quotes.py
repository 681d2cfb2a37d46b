"""The rounds of quotes: what a worker does with each."""

from __future__ import annotations

import threading
from typing import Any

from collection.loading import build_feeds
from collection.quotes import Updater
from collection.settings import current
from workers.runtime import runtime

TURN = "quotes"
_running = threading.Lock()
_updaters: list[tuple[list[dict[str, Any]], Updater]] = []


def updated(tables: list[dict[str, Any]]) -> str:
    """Do one round, and say what came of it; raises ConfigurationError for tables, StorageUnavailable."""
    if not _running.acquire(blocking=False):
        return "still_running"
    try:
        updater = _updater(tables)
        if runtime.turn(TURN, current().quotes.interval) is None:
            return "too_soon"
        quoted, late, published = updater.update()
        return f"{quoted} quoted, {late} late, {len(published)} published"
    finally:
        _running.release()


def _updater(tables: list[dict[str, Any]]) -> Updater:
    """Return the one that has the windows of these feeds in memory; those of other feeds are let go."""
    if not _updaters or _updaters[0][0] != tables:
        feeds = build_feeds(tables, runtime.factory)
        quotes = current().quotes
        made = Updater(feeds, runtime.storage, runtime.publisher, interval=quotes.interval, delay=quotes.delay)
        _updaters[:] = [(tables, made)]
    return _updaters[0][1]
