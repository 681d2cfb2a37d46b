"""Trying a redis-server out in a scratch folder before it gets near data, and remembering what came of it."""

import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from collection.embedded import wheel
from collection.embedded.health import wait_ready
from collection.embedded.place import LONGEST_SOCKET, make_private, write_private
from collection.embedded.process import Launch, last_words
from collection.errors import CollectionError, ConfigurationError

_PATIENCE = 10.0
_REMEMBERED = 20


@dataclass(frozen=True, slots=True)
class Binary:
    """A server and the module that it loads, None where it needs none."""

    server: Path
    module: Path | None

    def __str__(self) -> str:
        return f"{self.server} with {self.module}" if self.module else str(self.server)


def try_out(binary: Binary, *, modules: bool, again: bool = False) -> str | None:
    """Start the server and, with `modules`, look for TimeSeries; returns why it can't be taken, None if it can.

    What came of an earlier trial of the same files is taken as the answer, unless `again`.
    """
    key, known = _key(binary, modules), _recall()
    if key in known and not again:
        return known[key]
    temporary = tempfile.gettempdir()
    short = len(os.fsencode(temporary)) < LONGEST_SOCKET - 40
    with tempfile.TemporaryDirectory(prefix="collection-", dir=temporary if short else "/tmp") as scratch:  # noqa: S108
        problem = _start(binary, modules, Path(scratch))
    _remember({**known, key: problem})
    return problem


def forget(binary: Binary) -> None:
    """Try `binary` out again next time: it no longer starts, though its files are the same."""
    keys = (_key(binary, True), _key(binary, False))
    _remember({key: problem for key, problem in _recall().items() if key not in keys})


def _start(binary: Binary, modules: bool, scratch: Path) -> str | None:
    launch = Launch(
        server=binary.server,
        module=binary.module,
        data=scratch,
        socket=str(scratch / "s"),
        password=secrets.token_hex(16),
        log=scratch / "log",
        durable=False,
    )
    try:
        process = launch.start()
    except OSError as error:
        return f"can't be started ({error.strerror})"
    try:
        found = wait_ready(launch.socket, launch.password, process.poll, _PATIENCE, lambda text: None)
    except CollectionError as error:
        return " — ".join([str(error), *last_words(launch.log, 0, launch.password)[-1:]])
    finally:
        process.kill()
        process.wait()
    return "has no TimeSeries" if modules and "timeseries" not in found.modules else None


def _key(binary: Binary, modules: bool) -> str:
    """A name that changes when the server or its module is replaced."""
    parts = ["timeseries" if modules else "plain"]
    for path in (binary.server, binary.module):
        try:
            parts.append(f"{path}:{path.stat().st_size}:{path.stat().st_mtime_ns}" if path else "")
        except OSError:
            parts.append(f"{path}: missing")
    return " ".join(parts)


def _recall() -> dict[str, str | None]:
    try:
        return msgspec.json.decode((wheel.cache_folder() / "servers.json").read_bytes(), type=dict[str, str | None])
    except (OSError, ValueError, wheel.NotHere):
        return {}


def _remember(trials: dict[str, str | None]) -> None:
    """Best effort: a user without a cache waits a little longer at each start."""
    try:
        cache = wheel.cache_folder()
        make_private(cache)
        latest = dict(list(trials.items())[-_REMEMBERED:])
        write_private(cache / "servers.json", msgspec.json.encode(latest))
    except (OSError, ConfigurationError, wheel.NotHere):
        return
