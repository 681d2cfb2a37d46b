"""Celery without one of its safeguards: `python -m tests.chaos.weakened WHAT <celery's arguments>`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

replace = pytest.MonkeyPatch().setattr


def no_deduplication() -> None:
    """The append script takes what it has already for new."""
    from collection.storage.redis_bars import register_with_bars

    def weak(client: Any, name: str, *, keys_before: int) -> Any:
        text = str(register_with_bars(client, name, keys_before=keys_before).script)
        look = "local there = is_stored(id) or stored_late(id)"
        if text.count(look) != 1:
            raise RuntimeError(f"{name} does not look for records as it did")
        return client.register_script(text.replace(look, "local there = nil"))

    replace("collection.storage.redis_append.register_with_bars", weak)


def no_backfill() -> None:
    """Streams read nothing of what they missed."""

    async def nothing(self: object) -> None:
        return None

    replace("collection.data_collectors.holes.Holes.catch_up", nothing)
    replace("collection.data_collectors.holes.Holes.close", nothing)


def no_lease() -> None:
    """A stream that another worker runs by now goes on."""
    from workers.assignments import Assignments

    keep = Assignments.keep

    def weak(*arguments: Any) -> Any:
        return keep(*arguments)._replace(lost=[])

    replace("workers.assignments.Assignments.keep", weak)
    replace("workers.assignments.Assignments.promote", lambda *_: True)


def no_spool() -> None:
    """What Redis does not take waits in memory alone."""
    from collection.storage import RedisStorage

    def weak(url: str, **_: Any) -> RedisStorage:
        return RedisStorage(url)

    replace("workers.runtime.open_storage", weak)


def no_guard() -> None:
    """The library kombu is as it comes."""
    replace("workers.kombu_guard.install", lambda: None)


WEAKNESSES: dict[str, Callable[[], None]] = {
    weaken.__name__: weaken for weaken in (no_deduplication, no_backfill, no_lease, no_spool, no_guard)
}

if __name__ == "__main__":
    from celery.__main__ import main

    WEAKNESSES[sys.argv[1]]()
    sys.argv = ["celery", *sys.argv[2:]]
    main()
