"""DataCollector: many collectors in one process, restarted when they fail. Celery does the same across machines."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from zlib import crc32

from collection.backoff import HEALTHY, LONGEST, Backoff
from collection.data_collectors import DataSourceCollector
from collection.errors import ConfigurationError, failure_name
from collection.storage import DataCollectionStorage

log = logging.getLogger(__name__)


class DataCollector:
    """Runs every collector in parallel, for ever; one that fails is logged and started again with backoff."""

    def __init__(self, collectors: Sequence[DataSourceCollector], storage: DataCollectionStorage) -> None:
        self._collectors = collectors
        self._storage = storage

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            for collector in self._collectors:
                group.create_task(self._keep_running(collector), name=collector.id)

    async def _keep_running(self, collector: DataSourceCollector) -> None:
        backoff = Backoff()
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(collector.deadline if collector.interval else None):
                    await collector.run(self._storage)
                backoff.reset()
                pause = until_next(collector.id, collector.interval) if collector.interval else backoff.next()
            except Exception as error:  # one collector's failure must not end the others
                if time.monotonic() - began > HEALTHY:
                    backoff.reset()  # a stream that delivered for long
                pause = max(backoff.next(), getattr(error, "after", None) or 0.0)
                if isinstance(error, ConfigurationError):
                    pause = LONGEST
                log.warning("%s: %s; next try in %.1f s", collector.id, str(error) or type(error).__name__, pause)
                self._storage.count(collector.id, f"error:{failure_name(error)}")
            await asyncio.sleep(pause)


def phase(name: str, interval: float) -> float:
    """Where in its interval a polled collector is due, in seconds: spreads them, and is the same on every machine."""
    return crc32(name.encode()) / 2**32 * interval


def until_next(name: str, interval: float) -> float:
    """Seconds until a polled collector is due again."""
    return interval - (time.time() - phase(name, interval)) % interval
