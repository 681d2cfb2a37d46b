"""Assignments: which worker runs which stream, in three hashes of Redis and by its clock (`streams.lua`).

The lease of a stream names who runs it. While it is handed over, `next` names the successor, which gets the lease
once it delivers. Workers register themselves with each renewal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
import redis

from collection.storage.redis_server import server_errors

T = TypeVar("T")
State = Literal["placed", "running", "backing_off", "failed", "stopped"]
Kind = Literal["start", "hand_over"]

TTL = 10.0
"""Seconds that leases and registrations outlive their last renewal."""
PLACED = 15.0
"""Seconds in which a stream must be entered by the worker that it was placed on."""
FAILED = 600.0
"""Seconds for which a configuration error stays, and its stream is not placed again."""
STOPPED = 30.0
"""Seconds in which the runner of a stream that was stopped learns of it."""
GONE = 60.0
"""Seconds after which a worker that was not heard of will not come back."""
NOTE = 500
"""Characters that are kept of an error."""

_SCRIPT = files("workers").joinpath("streams.lua").read_bytes()
_KEYS = [f"qc:{{streams}}:{name}" for name in ("leases", "next", "workers", "token")]


class Entry(msgspec.Struct, frozen=True):
    """Who runs a stream, or will; times are Unix milliseconds of Redis's clock."""

    token: str
    """Greater than that of every entry before: microseconds."""
    state: State
    node: str
    """The name of the worker."""
    expires: int
    since: int
    """When this state began."""
    failing: int = 0
    """When the first failure in a row was, 0 where the last try delivered."""
    note: str = ""
    """The last error."""


class Worker(msgspec.Struct, frozen=True):
    """A worker that takes streams; times as in `Entry`."""

    capacity: int
    draining: bool
    seen: int
    began: int
    """When it first registered; 0 where it already ran streams then, so that Redis must have forgotten it."""
    running: int
    """Streams that it says it holds."""


class Kept(NamedTuple):
    """What a renewal found."""

    lost: list[str]
    """Streams that others hold now."""
    now: int
    """Redis's clock: Unix milliseconds."""
    room: int
    """Free places on other workers that take streams; counted only for one that drains, else 0."""


class View(NamedTuple):
    """All that is not expired."""

    now: int
    """Redis's clock: Unix milliseconds."""
    uptime: float
    """Seconds that the Redis server is up; it counts whole ones."""
    leases: dict[str, Entry]
    next: dict[str, Entry]
    workers: dict[str, Worker]
    gone: list[str]
    """Workers not heard of for GONE seconds; each is told once."""


class Assignments:
    """Thread-safe. All methods raise StorageUnavailable while Redis is away.

    Streams are named by their collectors' ids, workers by their nodes (`streams1@host`). Tokens say who is who: what
    is done with one that was succeeded changes nothing.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._script = client.register_script(_SCRIPT)

    def keep(self, node: str, capacity: int, draining: bool, held: Mapping[str, str]) -> Kept:
        """Register a worker and renew all that it holds, given as tokens by id; due every second.

        What is there no more is taken again under the same token: Redis lost its memory, or this process slept.
        """
        now, room, lost = self._call("keep", TTL, node, capacity, int(draining), *chain.from_iterable(held.items()))
        return Kept([name.decode() for name in lost], now, room)

    def forget(self, node: str) -> None:
        """Remove a worker that ends."""
        self._call("forget", TTL, node)

    def take(self, id: str, node: str) -> str | None:
        """Take the lease of a stream that nobody holds; returns its token, None where another holds it."""
        return _text(self._call("take", TTL, id, node))

    def enter(self, id: str, token: str, node: str) -> Literal["lease", "next"] | None:
        """Begin to run a stream that was placed here, or that backed off; None where the message is stale.

        Messages may come twice: a stream that runs is never entered.
        """
        kind = _text(self._call("enter", TTL, id, token, node))
        return "lease" if kind == "lease" else "next" if kind == "next" else None

    def promote(self, id: str, token: str) -> bool:
        """Take the lease as the successor that delivers now; False where it is another's."""
        return bool(self._call("promote", TTL, id, token))

    def back_off(self, id: str, token: str, seconds: float, note: str) -> bool:
        """Let a stream wait for its next try; False where another has it by now."""
        return bool(self._call("back_off", seconds + TTL, id, token, _note(note)))

    def delivered(self, id: str, token: str) -> None:
        """Forget what failed before."""
        self._call("delivered", TTL, id, token)

    def fail(self, id: str, token: str, note: str) -> None:
        """Give up on a stream whose configuration is wrong: for FAILED seconds that can be seen."""
        self._call("fail", FAILED, id, token, _note(note))

    def release(self, id: str, token: str) -> None:
        """Let go of a stream."""
        self._call("release", TTL, id, token)

    def view(self) -> View:
        """Return all streams and workers."""
        now, uptime, leases, successors, workers, gone = self._call("view", TTL, int(GONE * 1000))
        return View(
            now,
            float(uptime),
            _decoded(leases, Entry),
            _decoded(successors, Entry),
            _decoded(workers, Worker),
            sorted(name.decode() for name in gone),
        )

    def place(self, moves: Sequence[tuple[str, str, Kind]]) -> list[tuple[str, str, str]]:
        """Place streams, given as (id, node, kind): to `start` what nobody holds, to `hand_over` what somebody does.

        Returns (id, node, token) of those that were placed: the others changed meanwhile.
        """
        done = [value.decode() for value in self._call("place", PLACED, *chain.from_iterable(moves))]
        return list(zip(done[::3], done[1::3], done[2::3], strict=True))

    def stop(self, ids: Iterable[str]) -> None:
        """End streams wherever they run: their next `keep` reports them as lost."""
        self._call("stop", STOPPED, *ids)

    def _call(self, action: str, ttl: float, *values: str | bytes | int) -> Any:
        with server_errors():
            return self._script(keys=_KEYS, args=[action, int(ttl * 1000), *values])


def _decoded(flat: Sequence[bytes], kind: type[T]) -> dict[str, T]:
    decoder = msgspec.json.Decoder(kind)
    return {name.decode(): decoder.decode(text) for name, text in zip(flat[::2], flat[1::2], strict=True)}


def _text(answer: bytes | None) -> str | None:
    return None if answer is None else answer.decode()


def _note(note: str) -> bytes:
    return note[:NOTE].encode(errors="replace")
