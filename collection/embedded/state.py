"""What other processes must know of a folder's server: how to reach it, and whether it's there."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec

from collection.embedded.health import vitals
from collection.embedded.place import Place, check_private, write_private
from collection.errors import ConfigurationError


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The state file. The password outlives the server: clients of a restarted one come back with the same URL."""

    password: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    socket: str
    pid: int | None = None

    @property
    def url(self) -> str:
        """The server's URL in redis-py's notation."""
        return f"unix://:{self.password}@{quote(self.socket)}?db=0"


@dataclass(frozen=True, slots=True)
class RunningRedis:
    """A live server: its URL for redis-py and its process."""

    url: str
    pid: int


def load_state(place: Place) -> State | None:
    """The state of the place's server, None where none ever ran; raises ConfigurationError where it can't be read."""
    try:
        return msgspec.json.decode(place.state.read_bytes(), type=State)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(f"{place.state}: can't be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigurationError(
            f"{place.state}: is damaged ({error}); remove it, a new password is made then and the data stay"
        ) from error


def save_state(place: Place, state: State) -> None:
    """Write the state file; raises ConfigurationError where that fails."""
    try:
        write_private(place.state, msgspec.json.encode(state))
    except OSError as error:
        raise ConfigurationError(f"{place.state}: can't be written ({error.strerror})") from error


def new_state(place: Place, known: State | None) -> State:
    """The state for the next start: the known password where there's one, and the socket."""
    socket = place.socket(Path(known.socket) if known else None)
    return State(password=known.password if known else secrets.token_hex(32), socket=str(socket))


def running(folder: Path | str) -> RunningRedis | None:
    """The live server of `folder`, None where there's none or it still loads; starts nothing.

    Raises ConfigurationError where the state file can't be read, or where others could have made the socket.
    """
    from redis.exceptions import RedisError

    state = load_state(Place.of(folder))
    if state is None or not Path(state.socket).exists():
        return None
    check_private(Path(state.socket).parent)
    try:
        found = vitals(state.socket, state.password, patience=2.0)
    except (RedisError, OSError):
        return None
    return None if found.loading is not None else RunningRedis(url=state.url, pid=found.pid)


def find_running(folder: Path | str) -> str | None:
    """The URL of the live server of `folder`, None where there's none; starts nothing. Errors as in `running`."""
    found = running(folder)
    return found.url if found else None
