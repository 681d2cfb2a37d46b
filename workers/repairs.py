"""The turns of repair: what a worker does when a series is due."""

from __future__ import annotations

import threading
import time

from collection.data_collectors.repair import Repair
from collection.errors import ConfigurationError, RetryLater, StorageUnavailable, failure_name
from workers.lease import Lease
from workers.repair_times import is_thorough
from workers.runtime import LOCK, runtime

AT_ONCE = 4
"""Turns that one process has at once: the other threads are for polls."""
DEADLINE = 300.0
"""Seconds for one turn."""
_places = threading.BoundedSemaphore(AT_ONCE)
_repairs: dict[str, Repair] = {}


def repaired(key: str, thorough: bool | None = None) -> str:
    """Repair a series, and say what came of it; raises what the exchange or the storage says."""
    if not _places.acquire(blocking=False):
        return "busy"
    try:
        lease = Lease(runtime.redis, f"repair:{key}", LOCK)
        if not lease.hold():
            return "still_running"
        try:
            return _turn(key, lease, is_thorough(key, time.time()) if thorough is None else thorough)
        finally:
            _release(lease)
    finally:
        _places.release()


def _turn(key: str, lease: Lease, thorough: bool) -> str:
    repair = _repairs.get(key) or _repairs.setdefault(key, Repair(runtime.reader(key), runtime.storage))
    try:
        done = runtime.run(lease.keep_during(repair.turn(thorough=thorough)), DEADLINE)
    except (TimeoutError, RetryLater, ConfigurationError) as error:
        runtime.storage.count(key, f"repair:{failure_name(error)}")
        if isinstance(error, TimeoutError):
            raise RetryLater(f"{key}: not repaired within {DEADLINE:g} s") from None
        raise
    return f"{done.closed} closed, {done.left} left, {done.covered} ids covered"


def _release(lease: Lease) -> None:
    try:
        lease.release()
    except StorageUnavailable:
        return  # it expires
