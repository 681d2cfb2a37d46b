"""DataCollector: many collectors in one process, restarted when they fail. Celery does the same across machines."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from zlib import crc32

from collection.backoff import LONGEST, Backoff
from collection.data_collectors import DataSourceCollector
from collection.errors import ConfigurationError, RetryLater
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
            try:
                async with asyncio.timeout(collector.deadline if collector.interval else None):
                    await collector.run(self._storage)
                backoff.reset()
                pause = until_next(collector) if collector.interval else backoff.next()
            except RetryLater as error:
                pause = max(backoff.next(), error.after or 0.0)
                self._failed(collector, "retry_later", error, pause)
            except ConfigurationError as error:
                backoff.next()
                pause = LONGEST
                self._failed(collector, "configuration", error, pause)
            except Exception as error:  # one collector's mistake must not end the others
                pause = backoff.next()
                self._failed(collector, "unexpected", error, pause)
                log.debug("%s", collector.id, exc_info=True)
            await asyncio.sleep(pause)

    def _failed(self, collector: DataSourceCollector, name: str, error: Exception, pause: float) -> None:
        log.warning("%s: %s; next try in %.1f s", collector.id, error or type(error).__name__, pause)
        self._storage.count(collector.id, f"error:{name}")


def phase(name: str, interval: float) -> float:
    """Where in its interval a polled collector is due, in seconds: spreads them, and is the same on every machine."""
    return crc32(name.encode()) / 2**32 * interval


def until_next(collector: DataSourceCollector) -> float:
    """Seconds until a polled collector is due again."""
    interval = collector.interval or 0.0
    return interval - (time.time() - phase(collector.id, interval)) % interval
