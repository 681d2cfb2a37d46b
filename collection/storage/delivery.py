"""Writing a batch of which something may be bad: what is good goes through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from collection.errors import CollectionError, RetryLater
from collection.storage.batch import Batch
from collection.storage.values import Entry, Number

Write = Callable[[Sequence[tuple[str, Batch]]], Sequence[Exception | None]]
"""Writes batches of several series, and returns why each failed, if it did; RetryLater, returned or raised, means that
the server is away or takes no writes."""

_OF_COVERAGE = "MIXED the coverage"
"""What it says where the records may go through without what they cover."""
_OF_THE_SERIES = ("MIXED", "WRONGTYPE")
"""What Redis says of a whole series: no record of the batch would go through alone."""


class Bad(NamedTuple):
    """Records that can't be written for their own sake, or the coverage and counts of a batch where there are none."""

    entries: Sequence[Entry | Number]
    reason: str


def deliver(write: Write, key: str, batch: Batch) -> list[Bad]:
    """Write a batch, and return what of it can't be written.

    Where it fails it is halved until the bad records are alone. They are counted as `refused:set_aside`, and nothing
    is covered by a batch that had one. Raises RetryLater; then all of it is to be delivered again.
    """
    reason = _try(write, key, batch)
    if reason is None:
        return []
    if batch.covers and batch.entries and _OF_COVERAGE in reason:
        return [*deliver(write, key, batch._replace(covers=None)), Bad((), reason)]
    if any(word in reason for word in _OF_THE_SERIES):
        bad = [Bad(batch.entries, reason)]
    else:
        bad = _sift(write, key, batch, reason)
    if batch.covers and not bad and (reason := _try(write, key, Batch(None, covers=batch.covers))):
        bad = [Bad((), reason)]
    refused = sum(len(one.entries) for one in bad)
    counts = Counter(batch.counts) + Counter({"refused:set_aside": refused})
    if counts and (reason := _try(write, key, Batch(None, counts=counts))) and not bad:
        bad = [Bad((), reason)]
    return bad


def _sift(write: Write, key: str, batch: Batch, reason: str) -> list[Bad]:
    """Write what is good of records that failed together; return the others."""
    count = len(batch.entries)
    if count <= 1:
        if batch.covers or batch.counts:  # which may be what is wrong
            reason = (count and _try(write, key, Batch(batch.type, batch.entries))) or ""
        return [Bad(batch.entries, reason)] if reason else []
    bad: list[Bad] = []
    for entries in (batch.entries[: count // 2], batch.entries[count // 2 :]):
        half = Batch(batch.type, entries)
        if failure := _try(write, key, half):
            bad += _sift(write, key, half, failure)
    return bad


def _try(write: Write, key: str, batch: Batch) -> str | None:
    """Write, and return why that failed."""
    try:
        [error] = write([(key, batch)])
    except RetryLater:
        raise
    except Exception as raised:  # whatever is wrong with this batch must not stop the others
        error = raised
    if isinstance(error, RetryLater):
        raise error
    if error is None:
        return None
    return str(error) if isinstance(error, CollectionError) else f"{type(error).__name__}: {error}"
