"""Why a gap stays a gap: notes beside a series, kept as a series of their own, `gaps:KEY`."""

from __future__ import annotations

from collection import clock
from collection.storage import Coverage, DataCollectionStorage, Interval

PREFIX = "gaps:"


def note_gap(storage: DataCollectionStorage, key: str, coverage: Coverage, gap: Interval, reason: str) -> None:
    """Note, once, why a gap of a series can't be closed."""
    if reason not in (said for noted, said in _notes(storage, key) if noted == gap):
        note = {"by": coverage.by, "after": gap.after, "upto": gap.upto, "reason": reason}
        storage.store(f"{PREFIX}{key}", note, clock.now())


def noted_gaps(storage: DataCollectionStorage, key: str) -> list[Interval]:
    """Return the gaps of which it was noted that they can't be closed."""
    return [gap for gap, _ in _notes(storage, key)]


def reason_for(storage: DataCollectionStorage, key: str, gap: Interval) -> str:
    """Return what was noted last of a gap, or of one that it is part of; empty where nothing was."""
    said = [reason for (after, upto), reason in _notes(storage, key) if after <= gap.after and gap.upto <= upto]
    return said[-1] if said else ""


def _notes(storage: DataCollectionStorage, key: str) -> list[tuple[Interval, str]]:
    notes = [value for _, value in storage.fetch(f"{PREFIX}{key}") if isinstance(value, dict)]
    return [(Interval(note["after"], note["upto"]), str(note["reason"])) for note in notes]
