"""What waits on disk, and what was set aside, for those who look from outside."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from collection.storage.disk import listed, lock
from collection.storage.segments import Segment
from collection.storage.set_aside import count_set_aside


class Waiting(NamedTuple):
    """What one process left, or keeps, on disk."""

    storage: str
    """The URL of the storage that it waits for, without its login."""
    folder: Path
    held: bool
    """Whether a living process holds it; else the next one that writes to that storage adopts it."""
    bytes: int
    records: Mapping[str, int]
    """By key."""


class SpoolReport(NamedTuple):
    """See `spool_report`."""

    waiting: Sequence[Waiting]
    damaged: Sequence[Path]
    """Segments that could not be read to their end."""
    set_aside: Mapping[tuple[str, str], int]
    """How many records Redis could not take for their own sake, by key and reason."""


def spool_report(root: Path) -> SpoolReport:
    """Tell what is in a spool; reads all of it, and changes nothing. Raises OSError."""
    folders = [path for path in listed(root, "*/*") if path.is_dir()]
    waiting = [one for folder in folders if (one := _waiting(folder)).bytes]
    return SpoolReport(waiting, listed(root, "*/*.damaged"), count_set_aside(root))


def _waiting(folder: Path) -> Waiting:
    url = folder.parent / "url"
    records: Counter[str] = Counter()
    size = 0
    for path in listed(folder, "*.segment"):
        segment = Segment(path)
        try:
            for _, key, batch in segment.read():
                records[key] += len(batch.entries)
            size += segment.size
        except FileNotFoundError:  # it was drained meanwhile
            continue
    return Waiting(url.read_text().strip() if url.exists() else "", folder, _is_held(folder), size, dict(records))


def _is_held(folder: Path) -> bool:
    descriptor = lock(folder)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None
