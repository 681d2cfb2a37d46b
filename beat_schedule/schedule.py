"""The schedule: entries for each polled collector, for repair of trades, for all streams, and for retention."""

from __future__ import annotations

from typing import Any

from collection.loading import load_data_source_collectors
from collection.settings import current
from workers.queues import CONTROL, POLLS
from workers.repair_times import EVERY, entry_name

RETENTION = "retention"
"""The name of the entry that is no collector: ids have colons."""
SUPERVISE = "supervise"
"""The name of the entry that has all streams run."""
TICK = 2.0
"""Seconds between two looks at the streams."""
_HOUR = 3600.0


def build_schedule() -> dict[str, dict[str, Any]]:
    """Return the entries in the form of Celery's `beat_schedule`: collector ids, `repair:ID`, SUPERVISE, RETENTION.

    Raises:
        ConfigurationError: The feeds file is wrong.
    """
    collectors = load_data_source_collectors(current().feeds)
    entries: dict[str, dict[str, Any]] = {
        collector.id: {
            "task": "workers.tasks.poll",
            "schedule": collector.interval,
            "args": [collector.id],
            "options": {"queue": POLLS, "retry": False},  # the next turn is the retry
        }
        for collector in collectors
        if collector.interval is not None
    }
    entries[SUPERVISE] = {
        "task": "workers.tasks.supervise",
        "schedule": TICK,
        "args": [[collector.id for collector in collectors if collector.interval is None]],
        "options": {"queue": CONTROL, "retry": False},
    }
    entries |= {
        entry_name(collector.id): {
            "task": "workers.tasks.repair",
            "schedule": EVERY,
            "args": [collector.id],
            "options": {"queue": POLLS, "retry": False, "expires": EVERY},
        }
        for collector in collectors
        if collector.id.startswith("trades:")
    }
    entries[RETENTION] = {
        "task": "workers.tasks.drop_expired",
        "schedule": _HOUR,
        "options": {"queue": POLLS, "retry": False},
    }
    return entries
