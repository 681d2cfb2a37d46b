"""The one server that may live on a folder's data: starting it there, and finding one that outlived its owner."""

import subprocess
import time

from collection.embedded.health import Vitals, vitals
from collection.embedded.lock import FileLock
from collection.embedded.place import Place
from collection.embedded.process import Launch
from collection.embedded.state import State
from collection.embedded.trial import Binary
from collection.errors import ConfigurationError

# A server that has the data but doesn't listen yet was started by an owner who was killed a moment ago; one that
# listens no longer may have a child that still rewrites a file.
_SILENCE = 10.0


def has_server(place: Place) -> bool:
    """Whether a server lives on the data, reachable or not: it holds the lock as long as it lives, and no longer."""
    lock = FileLock(place.server_lock)
    try:
        return not lock.acquire()
    finally:
        lock.release()


def find_survivor(place: Place, state: State) -> Vitals | None:
    """The server that lives on the data, None where there's none.

    Raises ConfigurationError where there's one that has another password, or that doesn't answer for 10 seconds.
    """
    from redis.exceptions import AuthenticationError, RedisError

    deadline = time.monotonic() + _SILENCE
    while has_server(place):
        try:
            return vitals(state.socket, state.password)
        except AuthenticationError as error:
            raise ConfigurationError(_unreachable(place, f"it has another password than {place.state}")) from error
        except (RedisError, OSError) as error:
            if time.monotonic() > deadline:
                problem = f"it doesn't answer at {state.socket} ({error})"
                raise ConfigurationError(_unreachable(place, problem)) from error
        time.sleep(0.02)
    return None


def start_on_data(place: Place, state: State, binary: Binary) -> "subprocess.Popen[bytes]":
    """Start a server on the data; raises ConfigurationError where it can't be started or another one has them."""
    lock = FileLock(place.server_lock)
    if not lock.acquire():
        raise ConfigurationError(_unreachable(place, "it has just been started by someone else"))
    launch = Launch(
        server=binary.server,
        module=binary.module,
        data=place.data,
        socket=state.socket,
        password=state.password,
        log=place.log,
        lock=lock.descriptor(),
    )
    try:
        process = launch.start()
        lock.sign(str(process.pid))
    except OSError as error:
        raise ConfigurationError(f"{binary}: can't be started ({error.strerror})") from error
    finally:
        lock.release()
    return process


def _unreachable(place: Place, problem: str) -> str:
    pid = FileLock(place.server_lock).signature() or "of unknown number"
    return f"{place.data}: a Redis server (process {pid}) has these data, but {problem}. Stop that process."
