"""Tail: hands over records as they are stored, and keeps in a file how far it came."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from collection.errors import ConfigurationError
from collection.storage import DataCollectionStorage

PAGE = 1_000
"""Records of a series that are handed over between two notes of the position: after a crash so many may come twice."""
WILD = "*?["


class Batch(NamedTuple):
    """What was stored of one series."""

    key: str
    values: Sequence[tuple[int, Any]]
    complete: bool
    """False where something was dropped before it was read."""


class Positions:
    """How far each series was read, kept in a file if one is given: its replacement is atomic and durable.

    Raises:
        ConfigurationError: The file holds something else.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self.known: dict[str, str] = {}
        self.resumed = file is not None and file.exists()
        """Whether there is a file from before."""
        if file is not None and self.resumed:
            try:
                self.known = json.loads(file.read_text(encoding="utf-8"))
                if not isinstance(self.known, dict) or not all(isinstance(one, str) for one in self.known.values()):
                    raise ValueError("no object of texts")
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"{file}: it holds no positions of a tail: {error}") from None

    def save(self, positions: Mapping[str, str]) -> None:
        """Note the positions; once it returns they survive a crash."""
        self.known |= positions
        if self._file is None or not positions:
            return
        beside = self._file.with_name(f"{self._file.name}.{os.getpid()}.new")
        try:
            with beside.open("w", encoding="utf-8") as file:
                json.dump(self.known, file, indent=1, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._file)
            folder = os.open(self._file.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise ConfigurationError(f"{self._file}: the position can't be kept: {error.strerror}") from None


class Follower:
    """Reads on in all series that are named, or are like a pattern; what comes into being later is read as well."""

    def __init__(
        self, storage: DataCollectionStorage, patterns: Sequence[str], positions: Positions, *, from_start: bool
    ) -> None:
        self._storage = storage
        self._patterns = patterns
        self._positions = positions
        self._first = "" if from_start or positions.resumed else "now"

    def begin(self) -> list[str]:
        """Note where each series stands that is not known yet, and return the keys that are followed."""
        keys = self._keys()
        started = {key: self._first for key in keys if key not in self._positions.known}
        self._first = ""  # what appears from now on is new
        if "now" in started.values():
            started = {key: tail.position for key, tail in self._storage.tail(started).items()}
        self._positions.save(started)
        return keys

    def read(self, hand_over: Callable[[Batch], object]) -> bool:
        """Hand over what came since, then note the positions; returns whether there is more at once."""
        keys = self.begin()
        if not keys:
            return False
        tails = self._storage.tail({key: self._positions.known[key] for key in keys}, PAGE)
        for key, tail in tails.items():
            if tail.values or not tail.complete:
                hand_over(Batch(key, tail.values, tail.complete))
        moved = {key: tail.position for key, tail in tails.items() if tail.position != self._positions.known[key]}
        self._positions.save(moved)
        return any(tail.more for tail in tails.values())

    def _keys(self) -> list[str]:
        stored = self._storage.series() if any(set(WILD) & set(pattern) for pattern in self._patterns) else []
        return list(dict.fromkeys(key for pattern in self._patterns for key in matching(pattern, stored)))


def matching(pattern: str, keys: Sequence[str]) -> Iterator[str]:
    """Return the key that is meant, or those that are like the pattern: * and ? stand for anything."""
    if pattern in keys or not set(WILD) & set(pattern):
        return iter([pattern])
    return (key for key in keys if fnmatchcase(key, pattern))
