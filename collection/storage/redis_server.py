"""The connection to Redis: clients, the names of keys, and what its errors mean."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from collection.errors import ConfigurationError, StorageUnavailable

INDEX = "qc:series"
"""The set of the keys of all series."""
END = 2**53
"""Later than any timestamp."""
_BUSY = ("OOM", "MISCONF", "LOADING", "READONLY", "BUSY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "NOREPLICAS")


def connect(url: str) -> redis.Redis:
    """Make a client whose calls end within seconds; it connects with its first call."""
    try:
        return redis.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=5,
            socket_connect_timeout=5,
            health_check_interval=30,
            retry=Retry(NoBackoff(), 1),  # once, for a connection that went stale; the rest is for our own backoff
        )
    except ValueError as error:
        raise ConfigurationError(f"storage URL: {error}") from None


def series_name(key: str, part: str = "") -> str:
    """Name a Redis key of a series; the braces keep all of a series in one slot of Redis Cluster."""
    return f"qc:{{{key}}}:{part}" if part else f"qc:{{{key}}}"


@contextlib.contextmanager
def server_errors() -> Iterator[None]:
    """Turn what Redis says when it is away or takes no writes into StorageUnavailable."""
    try:
        yield
    except redis.AuthenticationError as error:
        raise ConfigurationError(f"Redis refuses the login of the storage URL: {error}") from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StorageUnavailable(f"Redis is away: {error}") from error
    except redis.ResponseError as error:
        if str(error).startswith(_BUSY) or isinstance(error, redis.ReadOnlyError | redis.OutOfMemoryError):
            raise StorageUnavailable(f"Redis takes no writes: {error}") from error
        raise


def call(client: redis.Redis, *command: object) -> Any:
    """Send a command that the client has no typed method for."""
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


def has_timeseries(client: redis.Redis) -> bool:
    """Tell whether the server has RedisTimeSeries: try a command of it, for versions say nothing."""
    try:
        call(client, "TS.INFO", "qc:is-the-module-there")
    except redis.ResponseError as error:
        return "unknown command" not in str(error)
    return True
