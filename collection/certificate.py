"""Certificate: what a series of trades holds, in numbers that anyone can compare with what was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from collection.storage.coverage import By

Verdict = Literal["complete", "gaps", "holes", "doubles", "unproven"]
Kind = Literal["missing", "unproven"]
"""Of what is not there: ids that are known to exist; or times of which nobody can tell what was traded in them."""


class Span(msgspec.Struct, frozen=True):
    """Positions from `first` to `last`, both included: trade ids, or times in Unix milliseconds."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many positions these are."""
        return self.last - self.first + 1


class Stretch(msgspec.Struct, frozen=True):
    """Positions, as in `Span`, of which nothing is claimed or what is claimed is not there."""

    kind: Kind
    first: int
    last: int
    reason: str
    """Why it is so, as far as that was noted; empty where it may still be closed."""


class Record(msgspec.Struct, frozen=True):
    """Which trade: its id, and its time in Unix milliseconds."""

    id: str
    timestamp: int


class Dropped(msgspec.Struct, frozen=True):
    """What retention took: all before a time in Unix milliseconds, up to an id where ids are numbers."""

    before: int
    last_id: int | None


class Certificate(msgspec.Struct, frozen=True):
    """What a series of trades holds, and what of it is proven to be all that was published.

    Where positions are ids, all covered ones are expected, except those that retention dropped.
    """

    key: str
    verdict: Verdict
    by: By
    """What positions are: trade ids, or times."""
    start: int | None
    """Only trades from this time on, in Unix milliseconds; then ids are expected from the first found to the last."""
    end: int | None
    covered: Sequence[Span]
    gaps: Sequence[Span]
    """What is not known to be complete between covered spans: where positions are times it is unproven."""
    dropped: Dropped | None
    first: Record | None
    last: Record | None
    expected: int | None
    """How many ids are covered; None where positions are times, or ids no integers."""
    stored: int
    """How many trades are stored."""
    missing: int | None
    """How many ids are covered, but not stored."""
    hole_count: int | None
    """How many spans they make."""
    holes: Sequence[Span]
    """The first of these."""
    doubled: int | None
    """How many trades are stored more than once: under one id, with different times."""
    outside: int | None
    """How many ids are stored, but not covered."""
    stretches: Sequence[Stretch]
    """What of `gaps` is not stored, and `holes`, in order, each with its kind and reason."""
    counters: Mapping[str, int]
    digest: str
    """SHA-256 of the lines `timestamp_ms,trade_id,side,price,amount`, by (time, id), each ended by a newline."""

    @property
    def broken(self) -> bool:
        """Whether what is stored is not what was promised."""
        return self.verdict in ("holes", "doubles")
