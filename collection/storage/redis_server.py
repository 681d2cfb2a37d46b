"""The connection to Redis: clients, the names of keys, and what its errors mean."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from secrets import token_hex
from typing import Any, cast

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from collection.errors import CollectionError, ConfigurationError, StorageUnavailable
from collection.redis_url import CLUSTER, Servers, servers
from collection.storage.redis_cluster import Cluster

INDEX = "qc:series"
"""The set of the keys of all series."""
END = 2**53
"""Later than any timestamp."""
_BUSY = ("OOM", "MISCONF", "LOADING", "READONLY", "BUSY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "NOREPLICAS")
_MOVING = ("Script attempted to access a non local key",)  # one that it took away while the slot moves
_FORBIDDEN = ("ACL failure in script", "The user executing the script")
_REFUSALS = (exceptions.ReadOnlyError, exceptions.OutOfMemoryError, exceptions.NoScriptError)

_LIMITS: Mapping[str, Any] = {"protocol": 2, "socket_timeout": 5, "socket_connect_timeout": 5}
_AWAY = (exceptions.ClusterError, exceptions.RedisClusterException, exceptions.TryAgainError)


def connect(url: str) -> redis.Redis:
    """Make a client whose calls end within seconds; it connects with its first call.

    A cluster's is a `redis.RedisCluster`, which has the same methods.
    """
    try:
        several = servers(url)
        if several is None:
            client = redis.Redis.from_url(url, **_LIMITS, health_check_interval=30, retry=_once())
        elif several.scheme in CLUSTER:
            return cast("redis.Redis", _cluster(several))
        else:
            client = _master(several)
        client.connection_pool.make_connection()  # which connects to nothing yet, but reads the options
        return client
    except (TypeError, ValueError):
        raise ConfigurationError(
            "the storage URL is malformed: redis://:PASSWORD@host:6379/0, redis+cluster://:PASSWORD@host:6379,host2:6379"
            " or redis+sentinel://:PASSWORD@host:26379,host2:26379/NAME/0, percent-encoded"
        ) from None


def _once() -> Retry:
    """Try again once, for a connection that went stale; the rest is for our own backoff."""
    return Retry(NoBackoff(), 1)


def _options(several: Servers) -> dict[str, Any]:
    options: dict[str, Any] = parse_url(f"{several.urls('redis')[0]}?{several.options}")  # type: ignore[no-untyped-call]
    tls = {"ssl": True} if several.tls else {}
    return {**_LIMITS, **options, **tls}


def _cluster(several: Servers) -> Cluster:
    options = {name: value for name, value in _options(several).items() if name not in ("host", "port", "db")}
    redis.Redis(**options)  # reads the options, as `Cluster` does later
    # redis-py keeps a map with gaps for good, where it takes one; and each MOVED brings the whole new map.
    return Cluster(several.hosts, {**options, "retry": _once(), "require_full_coverage": True, "reinitialize_steps": 1})


def _master(several: Servers) -> redis.Redis:
    """The client of whichever server the sentinels call the master, asked anew for each connection."""
    options = {name: value for name, value in _options(several).items() if name not in ("host", "port")}
    tls = {name: value for name, value in options.items() if name.startswith("ssl")}
    # Others may answer where one is away, and they are asked again with each try.
    hasty = {**_LIMITS, "socket_timeout": 1, "socket_connect_timeout": 1, "retry": Retry(NoBackoff(), 0)}
    sentinels = Sentinel(several.hosts, sentinel_kwargs={**hasty, **tls, **several.sentinel_login})  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinels.master_for(several.name, health_check_interval=30, retry=_once(), **options)  # type: ignore[no-untyped-call]
    return client


def series_name(key: str, part: str = "") -> str:
    """Name a Redis key of a series; the braces keep all of a series in one slot of Redis Cluster."""
    return f"qc:{{{key}}}:{part}" if part else f"qc:{{{key}}}"


@contextlib.contextmanager
def server_errors() -> Iterator[None]:
    """Turn what Redis says into our errors: StorageUnavailable where it is away, takes no writes or no login.

    A login may be mended while what was stored waits, so it is no reason to give that up; nor is a wrong scheme.
    """
    try:
        yield
    except (redis.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError) as error:
        raise StorageUnavailable(f"Redis refuses the login of the storage URL: {error}") from error
    except MasterNotFoundError as error:  # older versions of redis-py append the sentinels' password
        raise StorageUnavailable(f"Redis is away: {str(error).partition(' : ')[0]}") from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StorageUnavailable(f"Redis is away: {error}") from error
    except exceptions.AskError as error:  # or MovedError, which is one
        raise StorageUnavailable(f"Redis is a cluster that sends elsewhere (redis+cluster://…?): {error}") from error
    except _AWAY as error:
        raise StorageUnavailable(f"Redis Cluster is away: {error}") from error
    except redis.ResponseError as error:
        if str(error).startswith(_BUSY + _FORBIDDEN + _MOVING) or isinstance(error, _REFUSALS):
            raise StorageUnavailable(f"Redis takes no writes: {error}") from error
        raise CollectionError(f"Redis: {error}") from error
    except redis.RedisError as error:
        raise CollectionError(f"Redis: {error}") from error


def stated(error: Exception) -> Exception:
    """Return what an error of Redis is to our callers."""
    try:
        with server_errors():
            raise error
    except CollectionError as ours:
        return ours


def call(client: redis.Redis, *command: object) -> Any:
    """Send a command that the client has no typed method for."""
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


def send(pipe: redis.client.Pipeline, *command: object) -> None:
    """Put a command into a pipeline that has no typed method for it."""
    pipe.execute_command(*command)  # type: ignore[no-untyped-call]


def has_timeseries(client: redis.Redis) -> bool:
    """Tell whether the server has RedisTimeSeries: try a command of it, for versions say nothing."""
    try:
        # Of a cluster any node will do, and not one alone, which may be the one that's away.
        call(client, "TS.INFO", f"qc:is-the-module-there:{token_hex(4)}")
    except redis.RedisError as error:
        if "unknown command" in str(error) or "doesn't exist in Redis commands" in str(error):
            return False
        if "TSDB" not in str(error):  # which says that there's no such series
            raise
    return True
