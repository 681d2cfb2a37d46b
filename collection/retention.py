"""Retention: how long data of a kind are kept, by dropping whole days."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from collection.errors import ConfigurationError
from collection.storage import DataCollectionStorage
from collection.storage.days import day_start
from collection.text import milliseconds, shortly

log = logging.getLogger(__name__)


class Dropped(NamedTuple):
    """What was dropped of a series."""

    key: str
    records: int
    before: int
    """Unix milliseconds, the start of a day in UTC."""


def kept_since(kept: float, now: float) -> int:
    """Return the oldest millisecond of what is kept for `kept` seconds: days are dropped whole.

    `now` is Unix time in seconds.
    """
    return day_start(max(int((now - kept) * 1000), 0))


def drop_expired(storage: DataCollectionStorage, retention: Mapping[str, float], now: float) -> Iterator[Dropped]:
    """Drop, series by series, the days that are older than their kind is kept; yields what is gone.

    The kind is what stands before the first colon of a key; series of a kind that `retention` (seconds, by kind) does
    not name are kept. Doing it again drops nothing more. `now` is Unix time in seconds.
    """
    for key in storage.series():
        kind, colon, _ = key.partition(":")
        if not colon or kind not in retention:
            continue
        before = kept_since(retention[kind], now)
        [old] = storage.info([key])
        storage.drop_before(key, before)
        if old.first is None or old.last is None or old.first >= before:
            continue
        [new] = storage.info([key])
        records = max(old.records - new.records, 0)
        log.info("retention: %s: %d records before %s are dropped", key, records, _day(before))
        if old.last < before:
            log.warning("retention: %s: that was all of it, its newest record was of %s", key, _day(old.last))
        yield Dropped(key, records, before)


def check_start(start: str, kept: float, floor: int, now: float) -> None:
    """Refuse a `start` (the setting) before what is kept: what came of it would be dropped, or is refused.

    Raises:
        ConfigurationError: It is a time before `floor` (Unix milliseconds), or before `kept` seconds ago.
    """
    oldest = max(floor, kept_since(kept, now))
    if start not in ("now", "earliest") and milliseconds(start) < oldest:
        raise ConfigurationError(
            f"start = {start!r} lies before {_day(oldest)}, the oldest day that is kept "
            f"(retention.trades = {shortly(kept)}): make it 'earliest', or keep trades for longer"
        )


def check_starts(
    storage: DataCollectionStorage, keys: Iterable[str], start: str, retention: Mapping[str, float], now: float
) -> None:
    """Refuse a `start` before what is kept where a series is still empty; the others read on from where they are.

    Raises:
        ConfigurationError: As `check_start`, for all of them at once.
    """
    wrong: dict[str, None] = {}
    for key in keys:
        kept = retention.get(key.partition(":")[0])
        if kept is None or storage.coverage(key).end is not None:
            continue
        try:
            check_start(start, kept, storage.floor(key).timestamp, now)
        except ConfigurationError as error:
            wrong.update(dict.fromkeys(error.problems))
    if wrong:
        raise ConfigurationError(*wrong)


def _day(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp // 1000, UTC).strftime("%Y-%m-%d")
