"""What a server says of itself, and when it's ready."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from collection.errors import CollectionError, StorageUnavailable


class ServerEnded(CollectionError):
    """The server ended before it was ready: the message has its last words."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a server says of itself: its process, its modules, and where it loads its data how far it is, in percent."""

    pid: int
    modules: frozenset[str]
    loading: float | None


def vitals(socket: str, password: str, patience: float = 5.0) -> Vitals:
    """Ask the server; raises redis-py's errors. INFO, as it's answered while the data load, unlike PING."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = Redis(
        unix_socket_path=socket,
        password=password,
        socket_timeout=patience,
        socket_connect_timeout=patience,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    with client:
        info: dict[str, Any] = client.info()
        loading = float(info.get("loading_loaded_perc", 0.0)) if int(info["loading"]) else None
        if loading is None:
            client.ping()
        modules = frozenset(str(module["name"]) for module in info.get("modules", ()))
        return Vitals(pid=int(info["process_id"]), modules=modules, loading=loading)


def wait_ready(
    socket: str,
    password: str,
    ended: Callable[[], int | None],
    patience: float,
    on_progress: Callable[[str], None],
) -> Vitals:
    """Wait until the server has its data and answers.

    `ended` gives the process' return code, None while it lives. Raises ServerEnded where it ends, StorageUnavailable
    after `patience` seconds, redis-py's AuthenticationError where it has another password.
    """
    from redis.exceptions import AuthenticationError, RedisError

    begin = said = time.monotonic()
    pause = 0.002
    while True:
        try:
            found = vitals(socket, password)
        except AuthenticationError:
            raise
        except (RedisError, OSError) as error:
            state = f"it doesn't answer ({error})"
        else:
            if found.loading is None:
                return found
            state = f"it loads its data, {found.loading:.0f} %"
        code = ended()
        if code is not None:
            raise ServerEnded(f"ended with code {code}")
        now = time.monotonic()
        if now - begin > patience:
            raise StorageUnavailable(f"The server is not ready after {patience:g} s: {state}")
        if now - said > 2.0:
            said = now
            on_progress(f"the Redis server is not ready yet: {state}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
