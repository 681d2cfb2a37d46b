"""Backfills: the chunks of history that are to be read, a day of one series each, kept in Redis (`backfill.lua`).

A job outlives the command that asked for it, the workers that do it, and any message: what nobody has in hand is sent
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from itertools import pairwise
from typing import Any, Literal, NamedTuple, cast

import msgspec
import redis

from collection.storage.days import DAY_MS, day_start
from collection.storage.redis_server import server_errors

Outcome = Literal["waiting", "done", "partly", "failed", "cancelled"]
State = Literal["waiting", "sent", "running", "done", "partly", "failed", "cancelled"]

TTL = 6.0
"""Seconds that a chunk stays in hand of a worker that is not heard of."""
JOB = 30 * 86_400.0
"""Seconds for which it is remembered what became of a job."""
AT_ONCE = 8
"""Chunks in hand at once: half of the threads that one worker has by default."""
AT_ONCE_OF_ONE = 6
"""Of these, chunks of one series."""

_SCRIPT = files("workers").joinpath("backfill.lua").read_bytes()
_WAITING, _HELD = "qc:{backfill}:waiting", "qc:{backfill}:held"


class Progress(msgspec.Struct, omit_defaults=True):
    """How far a chunk has come; positions as those of coverage, None where they are not known yet."""

    end: int = 0
    """The end (Unix ms, not included) that `upto` belongs to."""
    after: int | None = None
    """The position before its first trade."""
    upto: int | None = None
    """The position of its last trade."""
    reached: int | None = None
    """All up to here is stored, or can't be had."""
    read: int = 0
    """Trades that were read of it."""
    tries: int = 0
    """Times in a row that the exchange did not give what follows `reached`."""
    failures: int = 0
    """Failures in a row."""
    lacking: str = ""
    """What can't be had, and why."""
    note: str = ""
    """The last error."""


class Chunk(NamedTuple):
    """The trades of a series from `start` up to, but not including, `end` (Unix ms)."""

    start: int
    end: int
    state: State
    progress: Progress

    @property
    def is_open(self) -> bool:
        """Whether there is still something to do."""
        return self.state in ("waiting", "sent", "running")

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1."""
        after, upto, reached = self.progress.after, self.progress.upto, self.progress.reached
        if not self.is_open:
            return 1.0
        if after is None or upto is None or reached is None:
            return 0.0
        return min(max((reached - after) / max(upto - after, 1), 0.0), 1.0)


class Begun(NamedTuple):
    """A chunk in hand."""

    key: str
    start: int
    end: int
    token: str
    progress: Progress


class Backfills:
    """Thread-safe. All methods raise StorageUnavailable while Redis is away."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._script = client.register_script(_SCRIPT)

    def add(self, key: str, chunks: Iterable[tuple[int, int]], again: bool = False) -> int:
        """Ask for chunks, given as (start, end) in the order of their turns; returns how many are to be done.

        One that is there is made longer where its end is later. `again`: what has ended begins again.
        """
        bounds = [str(bound) for chunk in chunks for bound in chunk]
        return int(self._call("add", key, key, int(again), *bounds))

    def take_turns(self) -> list[tuple[str, int, str]]:
        """Return, as (key, start, token), what is to be sent to workers now; it counts as in hand from now on."""
        sent = [value.decode() for value in self._call("send", None, AT_ONCE, AT_ONCE_OF_ONE)]
        named = ((name.rpartition("|"), token) for name, token in zip(sent[::2], sent[1::2], strict=True))
        return [(key, int(start), token) for (key, _, start), token in named]

    def enter(self, key: str, start: int, token: str) -> Begun | None:
        """Begin what a message asks for; None where the message is stale, or came before."""
        found = self._call("enter", key, key, start, token)
        return found and Begun(key, start, int(found[0]), token, _decoded(found[1]))

    def keep(self, chunk: Begun) -> bool:
        """Renew what is in hand, and note how far it has come; False where it is not this worker's any more."""
        return bool(self._call("keep", chunk.key, chunk.key, chunk.start, chunk.token, _encoded(chunk.progress)))

    def leave(self, chunk: Begun, state: Outcome, pause: float = 0.0) -> bool:
        """Note what became of a chunk; one that waits is due after `pause` seconds."""
        given = (chunk.key, chunk.start, chunk.token, _encoded(chunk.progress), chunk.end, state, int(pause * 1000))
        return bool(self._call("leave", chunk.key, *given))

    def cancel(self, key: str) -> int:
        """End all chunks of a series that are not done; returns how many those were."""
        return int(self._call("cancel", key, key))

    def view(self, key: str) -> list[Chunk]:
        """Return all chunks of a series that are known, in the order of time."""
        with server_errors():
            fields = cast("dict[bytes, bytes]", self._client.hgetall(_job(key)))
            held = cast("dict[bytes, bytes]", self._client.hgetall(_HELD)) if fields else {}
        return list(_chunks(key, fields, held))

    def any_open(self) -> bool:
        """Whether any chunk waits or is in hand."""
        with server_errors():
            return bool(self._client.exists(_WAITING, _HELD))

    def open(self) -> dict[str, int]:
        """Return how many chunks of each series wait or are in hand."""
        with server_errors():
            waiting, held = self._client.zrange(_WAITING, 0, -1), self._client.hkeys(_HELD)
        names = {*cast("list[bytes]", waiting), *cast("list[bytes]", held)}
        keys = sorted(name.decode().rpartition("|")[0] for name in names)
        return {key: keys.count(key) for key in dict.fromkeys(keys)}

    def _call(self, action: str, key: str | None, *values: str | bytes | int) -> Any:
        keys = [_WAITING, _HELD, _WAITING if key is None else _job(key)]
        with server_errors():
            return self._script(keys=keys, args=[action, int(TTL * 1000), int(JOB * 1000), *values])


def days(start: int, end: int) -> list[tuple[int, int]]:
    """Cut a time at midnights (UTC), the newest part first: who collects meanwhile reads on from the newest trade."""
    cuts = [start, *range(day_start(start) + DAY_MS, end, DAY_MS), end]
    return list(pairwise(cuts))[::-1]


def known_positions(chunks: Sequence[Chunk]) -> dict[int, int]:
    """Return the positions of the first trades at or after a time, of those times that chunks found already."""
    known: dict[int, int] = {}
    for _, _, _, progress in chunks:
        if progress.upto is not None:
            known[progress.end] = progress.upto + 1
    known.update({start: progress.after + 1 for start, _, _, progress in chunks if progress.after is not None})
    return known


def in_days(number: int) -> str:
    """Write a number of chunks in words."""
    return "1 day" if number == 1 else f"{number:,} days"


def _job(key: str) -> str:
    return f"qc:{{backfill}}:job:{key}"


def _chunks(key: str, fields: dict[bytes, bytes], held: dict[bytes, bytes]) -> Iterator[Chunk]:
    for start in sorted(int(name.partition(b":")[0]) for name in fields if name.endswith(b":state")):
        name = str(start).encode()
        state = fields[name + b":state"].decode()
        if state == "waiting" and (holding := held.get(f"{key}|{start}".encode())):
            state = "sent" if holding.endswith(b"sent") else "running"
        yield Chunk(start, int(fields[name + b":end"]), cast("State", state), _decoded(fields.get(name, b"")))


def _encoded(progress: Progress) -> bytes:
    return msgspec.json.encode(progress)


def _decoded(text: bytes) -> Progress:
    return msgspec.json.decode(text, type=Progress) if text else Progress()


def overall(chunks: Sequence[Chunk]) -> float:
    """Return how much of the time of all chunks is done, from 0 to 1."""
    total = sum(chunk.end - chunk.start for chunk in chunks)
    return sum((chunk.end - chunk.start) * chunk.share for chunk in chunks) / total if total else 1.0
