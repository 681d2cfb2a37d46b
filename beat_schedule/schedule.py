"""The schedule: one entry for each polled collector that the feeds need."""

from __future__ import annotations

from typing import Any

from collection.loading import load_data_source_collectors
from collection.settings import current
from workers.queues import POLLS


def build_schedule() -> dict[str, dict[str, Any]]:
    """Return the entries by collector id, in the form of Celery's `beat_schedule`.

    Raises:
        ConfigurationError: The feeds file is wrong.
    """
    return {
        collector.id: {
            "task": "workers.tasks.poll",
            "schedule": collector.interval,
            "args": [collector.id],
            "options": {"queue": POLLS, "retry": False},  # the next turn is the retry
        }
        for collector in load_data_source_collectors(current().feeds)
        if collector.interval is not None
    }
