"""Reading on from a position in Redis: what was stored since, each record once.

A position is `<id>/<note>`: the last id that was read of the log (of a number series <ms>-0), and the last note. What
is stored behind the newest record of a series, where a tail may have read on already, is noted in the stream
`qc:{KEY}:notes` by the script that stores it:

l ID r PAYLOAD     a late record
d DAY f ID t ID    records appended to an older day, from the first to the last
n MS v VALUE       a sample behind the newest, or one that replaced another

Log and notes are read in one transaction. A note of what lies beyond the position where the transaction began is
skipped: the log itself will bring it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import redis

from collection.errors import ConfigurationError
from collection.storage.base import Tail
from collection.storage.days import day_name
from collection.storage.redis_log import entries
from collection.storage.redis_numbers import sample
from collection.storage.redis_server import call, send, series_name
from collection.storage.values import LAST_TIMESTAMP, Records, SeriesType, decode

_Id = tuple[int, int]
_POSITION = re.compile(r"(\d+)-(\d+)/(\d+)-(\d+)")
_DAYS = 2
"""Days that are read in one call."""


class _Position(NamedTuple):
    log: _Id = (0, 0)
    note: _Id = (0, 0)

    def __str__(self) -> str:
        return "{}-{}/{}-{}".format(*self.log, *self.note)

    @classmethod
    def of(cls, text: str) -> _Position:
        if text == "":
            return cls()
        found = _POSITION.fullmatch(text)
        if not found:
            raise ConfigurationError(f"{text[:60]!r} is no position of this storage")
        ms, seq, note_ms, note_seq = map(int, found.groups())
        return cls((ms, seq), (note_ms, note_seq))


class _Series(NamedTuple):
    """A series that is read on from, and where."""

    key: str
    since: _Position | None  # None: only where it ends is asked for
    type: SeriesType | None
    layout: str
    days: list[int]


class RedisTail:
    """Reads on in the series of one server."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def read(self, positions: Mapping[str, str], limit: int) -> dict[str, Tail]:
        """See DataCollectionStorage.tail: two round trips, however many keys, and one for each note of older days."""
        series = self._series({key: None if text == "now" else _Position.of(text) for key, text in positions.items()})
        commands = [_commands(one, limit) for one in series]
        answers = _transactions(self._redis, commands)
        return {one.key: self._tail(one, limit, answer) for one, answer in zip(series, answers, strict=True)}

    def _series(self, positions: Mapping[str, _Position | None]) -> list[_Series]:
        pipe = self._redis.pipeline(transaction=False)
        for key, since in positions.items():
            pipe.hmget(series_name(key), ["type", "layout"])
            send(pipe, *_days(key, since))
        answers = iter(pipe.execute() if positions else ())
        series = []
        for key, since in positions.items():
            series_type, layout = (found.decode() if found else None for found in next(answers))
            series.append(
                _Series(key, since, cast("SeriesType", series_type), layout or "", [*map(int, next(answers))])
            )
        return series

    def _tail(self, series: _Series, limit: int, answer: list[Any]) -> Tail:
        gone, gone_note = (_id(name) if name else (0, 0) for name in answer[0])
        notes, read = answer[3], _log_items(series, answer[4:])
        since = series.since
        if since is None:
            ends = _Position(max([gone, *map(_identity, read)]), max([gone_note, *(_id(name) for name, _ in notes)]))
            return Tail([], str(ends), False, True)
        seen = [name and name.decode() for name in answer[1]], [*map(int, answer[2])]
        if seen != ([series.type, series.layout or None], series.days):  # not as it was when the log was asked for
            return Tail([], str(since), True, True)
        late: list[Any] = []
        lost = False
        last_note, notes_left = since.note, len(notes) == limit
        for name, note in notes:
            if len(late) >= limit:
                notes_left = True
                break
            noted = self._noted(series, note, since.log)
            lost |= noted is None
            late += noted or ()
            last_note = _id(name)
        # What notes are left speak of what the log holds now: it is read once there are none.
        fresh = [] if notes_left else read[:limit]
        more = notes_left or len(read) >= limit or len(series.days) > _DAYS
        end_note = last_note if notes_left else max(gone_note, last_note)
        end = _Position(max([gone, since.log, *map(_identity, fresh[-1:])]), end_note)
        values = [*_decoded(series, fresh), *_decoded(series, late)]
        return Tail(values, str(end), more, not lost and gone <= since.log and gone_note <= since.note)

    def _noted(self, series: _Series, note: Sequence[bytes], since: _Id) -> list[Any] | None:
        """Return what a note is about, where the log itself does not bring it; None where that was dropped."""
        if note[0] == b"l":
            return [(*_id(note[1]), note[3])]
        if note[0] == b"n":
            return [(int(note[1]), float(note[3]))] if int(note[1]) <= since[0] else []
        if _id(note[3]) > since:
            return []
        segment = series_name(series.key, note[1].decode())
        return entries(call(self._redis, "XRANGE", segment, note[3], note[5])) or None


def _transactions(client: redis.Redis, groups: list[list[tuple[object, ...]]]) -> list[list[Any]]:
    """Send groups of commands in transactions: all in one, but on a cluster, where each may have a node of its own."""
    together = [groups] if not isinstance(client, redis.RedisCluster) else [[group] for group in groups]
    answers: list[list[Any]] = []
    for some in together:
        pipe = client.pipeline(transaction=True)
        for command in (command for group in some for command in group):
            send(pipe, *command)
        found = iter(pipe.execute())
        answers += [[next(found) for _ in group] for group in some]
    return answers


def _days(key: str, since: _Position | None) -> tuple[object, ...]:
    """The command that lists the days that are read next, and whether there are more."""
    name = series_name(key, "days")
    if since is None:
        return ("ZRANGE", name, -1, -1)
    return ("ZRANGEBYSCORE", name, day_name(min(since.log[0], LAST_TIMESTAMP)), "+inf", "LIMIT", 0, _DAYS + 1)


def _commands(series: _Series, limit: int) -> list[tuple[object, ...]]:
    """What is asked in one transaction: what was dropped, the notes, the log."""
    key, since = series.key, series.since
    dropped = ("HMGET", series_name(key), "dropped", "unnoted")
    kind = ("HMGET", series_name(key), "type", "layout")
    notes: tuple[object, ...] = ("XREVRANGE", series_name(key, "notes"), "+", "-", "COUNT", 1)
    if since:
        notes = ("XRANGE", series_name(key, "notes"), "({}-{}".format(*since.note), "+", "COUNT", limit)
    log: list[tuple[object, ...]] = []
    if series.layout:
        name, start = series_name(key, series.layout), since.log[0] if since else 0
        log = [
            {
                ("ts", True): ("TS.RANGE", name, start + 1, "+", "COUNT", limit),
                ("ts", False): ("TS.REVRANGE", name, "-", "+", "COUNT", 1),
                ("z", True): ("ZRANGEBYSCORE", name, f"({start}", "+inf", "LIMIT", 0, limit),
                ("z", False): ("ZRANGE", name, -1, -1),
            }[series.layout, since is not None]
        ]
    elif since:
        after = "({}-{}".format(*since.log)
        log = [("XRANGE", series_name(key, str(day)), after, "+", "COUNT", limit) for day in series.days[:_DAYS]]
    elif series.days:
        log = [("XREVRANGE", series_name(key, str(series.days[-1])), "+", "-", "COUNT", 1)]
    return [dropped, kind, _days(key, since), notes, *log]


def _log_items(series: _Series, answers: Sequence[Any]) -> list[Any]:
    if series.layout == "ts":
        return [(int(ms), float(value)) for ms, value in answers[0]]
    if series.layout == "z":
        return [sample(member) for member in answers[0]]
    return [entry for answer in answers for entry in entries(answer)]


def _decoded(series: _Series, items: list[Any]) -> list[tuple[int, Any]]:
    if series.layout:
        return items
    return decode(series.type or "value", Records.of(items))


def _identity(item: tuple[Any, ...]) -> _Id:
    return (item[0], item[1] if len(item) == 3 else 0)


def _id(name: bytes) -> _Id:
    ms, seq = name.split(b"-")
    return int(ms), int(seq)
