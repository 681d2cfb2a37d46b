"""The connection to Redis: clients, the names of keys, and what its errors mean."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthorizationError, NoPermissionError
from redis.retry import Retry

from collection.errors import CollectionError, ConfigurationError, StorageUnavailable

INDEX = "qc:series"
"""The set of the keys of all series."""
END = 2**53
"""Later than any timestamp."""
_BUSY = ("OOM", "MISCONF", "LOADING", "READONLY", "BUSY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "NOREPLICAS")


def connect(url: str) -> redis.Redis:
    """Make a client whose calls end within seconds; it connects with its first call."""
    try:
        client = redis.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=5,
            socket_connect_timeout=5,
            health_check_interval=30,
            retry=Retry(NoBackoff(), 1),  # once, for a connection that went stale; the rest is for our own backoff
        )
        client.connection_pool.make_connection()  # which connects to nothing yet, but reads the options
        return client
    except (TypeError, ValueError):
        raise ConfigurationError(
            "the storage URL is malformed: redis://:PASSWORD@host:6379/0, percent-encoded"
        ) from None


def series_name(key: str, part: str = "") -> str:
    """Name a Redis key of a series; the braces keep all of a series in one slot of Redis Cluster."""
    return f"qc:{{{key}}}:{part}" if part else f"qc:{{{key}}}"


@contextlib.contextmanager
def server_errors() -> Iterator[None]:
    """Turn what Redis says into our errors: StorageUnavailable where it is away, takes no writes or no login.

    A login may be mended while what was stored waits, so it is no reason to give that up.
    """
    try:
        yield
    except (redis.AuthenticationError, AuthorizationError, NoPermissionError) as error:
        raise StorageUnavailable(f"Redis refuses the login of the storage URL: {error}") from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StorageUnavailable(f"Redis is away: {error}") from error
    except redis.ResponseError as error:
        if str(error).startswith(_BUSY) or isinstance(error, redis.ReadOnlyError | redis.OutOfMemoryError):
            raise StorageUnavailable(f"Redis takes no writes: {error}") from error
        raise CollectionError(f"Redis: {error}") from error
    except redis.RedisError as error:
        raise CollectionError(f"Redis: {error}") from error


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
