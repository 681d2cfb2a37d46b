"""When each market began, kept in a file so that a restarted simulator has the history that it had before."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from collection.errors import ConfigurationError


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds: for each market and what it publishes, when that began (Unix time in milliseconds)."""

    starts: dict[str, int]


def remembered_starts(path: Path | None, keys: list[str], now: int) -> dict[str, int]:
    """Return when each of `keys` began: what the file says, and `now` for those that it does not name.

    The file is replaced at once and as a whole, so a simulator that is killed leaves a good one.

    Raises:
        ConfigurationError: The file is damaged, or can't be read or written.
    """
    known: dict[str, int] = {}
    try:
        if path is not None and path.exists():
            known = msgspec.json.decode(path.read_bytes(), type=State).starts
        starts = {key: known.get(key, now) for key in keys}
        if path is not None and starts.keys() - known.keys():
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, msgspec.json.format(msgspec.json.encode(State(known | starts))))
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{path}: is no state of a simulator ({error}); remove it to begin anew") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: the simulator's state can't be kept there: {error}") from None
    return starts


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
