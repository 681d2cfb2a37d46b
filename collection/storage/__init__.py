"""Storages of time series, chosen by URL."""

from collection.errors import ConfigurationError
from collection.storage.base import Covers, DataCollectionStorage, SeriesInfo
from collection.storage.coverage import Coverage, Interval
from collection.storage.memory_storage import MemoryStorage
from collection.storage.redis_storage import RedisStorage

__all__ = [
    "Coverage",
    "Covers",
    "DataCollectionStorage",
    "Interval",
    "MemoryStorage",
    "RedisStorage",
    "SeriesInfo",
    "open_storage",
]


def open_storage(url: str) -> DataCollectionStorage:
    """Open the storage at a URL: `redis://`, `rediss://`, `unix://`, or `memory://` (within one process only).

    Raises:
        ConfigurationError: The scheme is unknown, or the URL malformed. Whether the server is there shows later.
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme in ("redis", "rediss", "unix"):
        return RedisStorage(url)
    if separator and scheme == "memory":
        return MemoryStorage()
    raise ConfigurationError("storage URL: known are redis://, rediss://, unix:// and memory://")
