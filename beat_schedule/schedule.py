"""The schedule: entries for each polled collector, for repair of trades, for all streams, quotes, and retention."""

from __future__ import annotations

from typing import Any

from collection.loading import load_feeds, read_tables, unique_collectors
from collection.settings import current
from workers.queues import CONTROL, POLLS, QUOTES
from workers.repair_times import EVERY, entry_name

RETENTION = "retention"
"""The name of the entry that is no collector: ids have colons."""
SUPERVISE = "supervise"
"""The name of the entry that has all streams run."""
UPDATE_QUOTES = "quotes"
"""The name of the entry that has all feeds quoted."""
TICK = 2.0
"""Seconds between two looks at the streams."""
_HOUR = 3600.0


def build_schedule() -> dict[str, dict[str, Any]]:
    """Return the entries in the form of Celery's `beat_schedule`.

    Their names are collector ids, `repair:ID`, SUPERVISE, UPDATE_QUOTES and RETENTION.

    Raises:
        ConfigurationError: The feeds file is wrong.
    """
    feeds = load_feeds(current().feeds)
    collectors = unique_collectors(feeds)
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
    if any(feed.can_quote for feed in feeds):
        interval = current().quotes.interval
        entries[UPDATE_QUOTES] = {
            "task": "workers.tasks.update_quotes",
            "schedule": interval,
            "args": [read_tables(current().feeds)],
            # The next round is the retry, and Flower is not told all feeds each time.
            "options": {
                "queue": QUOTES,
                "retry": False,
                "expires": max(10 * interval, 10.0),
                "argsrepr": f"({len(feeds)} feeds)",
            },
        }
    entries[RETENTION] = {
        "task": "workers.tasks.drop_expired",
        "schedule": _HOUR,
        "options": {"queue": POLLS, "retry": False},
    }
    return entries
