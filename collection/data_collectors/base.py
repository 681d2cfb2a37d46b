"""DataSourceCollector: one kind of data of one market, brought into storage."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from collection.storage import DataCollectionStorage


class DataSourceCollector(ABC):
    """Collects one series.

    The `id`, such as `trades:binance:BTC/USDT`, is the key of the series, and all that is needed to build the
    collector, together with the settings.
    """

    id: str
    interval: float | None
    """Seconds between two rounds of a polled collector; None for one that listens."""

    ready: asyncio.Event
    """Set while one that listens is connected and joined to what was stored before."""

    @property
    def deadline(self) -> float:
        """Seconds after which a round of a polled collector is given up: what it stored by then stays."""
        return 60.0

    @abstractmethod
    async def run(self, storage: DataCollectionStorage) -> None:
        """Do one round and return (polled), or listen until cancelled.

        Raises:
            RetryLater: The exchange or the storage is away.
            ConfigurationError: Trying again will not help.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"
