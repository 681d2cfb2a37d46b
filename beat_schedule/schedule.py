"""The schedule: one entry for each polled collector that the feeds need, and one for retention."""

from __future__ import annotations

from typing import Any

from collection.loading import load_data_source_collectors
from collection.settings import current
from workers.queues import POLLS

RETENTION = "retention"
"""The name of the entry that is no collector: ids have colons."""
_HOUR = 3600.0


def build_schedule() -> dict[str, dict[str, Any]]:
    """Return the entries by collector id, and RETENTION, in the form of Celery's `beat_schedule`.

    Raises:
        ConfigurationError: The feeds file is wrong.
    """
    entries: dict[str, dict[str, Any]] = {
        collector.id: {
            "task": "workers.tasks.poll",
            "schedule": collector.interval,
            "args": [collector.id],
            "options": {"queue": POLLS, "retry": False},  # the next turn is the retry
        }
        for collector in load_data_source_collectors(current().feeds)
        if collector.interval is not None
    }
    entries[RETENTION] = {
        "task": "workers.tasks.drop_expired",
        "schedule": _HOUR,
        "options": {"queue": POLLS, "retry": False},
    }
    return entries
