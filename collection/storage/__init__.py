"""Storages of time series, chosen by URL."""

from pathlib import Path

from collection import plugins
from collection.errors import ConfigurationError
from collection.redis_url import CLUSTER, SENTINEL
from collection.storage.base import BarsCheck, Covers, DataCollectionStorage, Floor, SeriesInfo, Tail
from collection.storage.coverage import Coverage, Interval
from collection.storage.memory_storage import MemoryStorage
from collection.storage.redis_storage import RedisStorage
from collection.storage.spool import LIMIT

__all__ = [
    "BarsCheck",
    "Coverage",
    "Covers",
    "DataCollectionStorage",
    "Floor",
    "Interval",
    "MemoryStorage",
    "RedisStorage",
    "SeriesInfo",
    "Tail",
    "open_storage",
]

SCHEMES = ("redis", "rediss", "unix", *CLUSTER, *SENTINEL, "memory")
"""Those that are built in."""


def open_storage(url: str, *, spool: Path | None = None, spool_limit: int = LIMIT) -> DataCollectionStorage:
    """Open the storage at a URL: `redis://`, `rediss://`, `unix://`, or `memory://` (within one process only).

    `redis+cluster://` and `redis+sentinel://` name several servers, see `collection.redis_url`. Other schemes are those
    of plug-ins, whose classes are called with the same arguments.
    What a Redis does not take waits in the folder `spool`, up to `spool_limit` bytes: for those who write.

    Raises:
        ConfigurationError: The scheme is unknown, its plug-in broken, or the URL malformed. Whether the server is there
            shows later.
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme == "memory":
        return MemoryStorage()
    if separator and scheme in SCHEMES:
        return RedisStorage(url, spool=spool, spool_limit=spool_limit)
    if separator and (plugin := plugins.find("storages", scheme, DataCollectionStorage)):
        opened: DataCollectionStorage = plugin(url, spool=spool, spool_limit=spool_limit)
        return opened
    others = "".join(f", {name}://" for name in plugins.names("storages"))
    raise ConfigurationError(
        "storage URL: known are redis://, rediss://, unix:// and memory://, redis+cluster:// and redis+sentinel://"
        + others
    )
