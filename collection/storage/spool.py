"""The disk behind the writer: what Redis does not take waits in files until it does, also beyond the end of a process.

ROOT/set-aside.jsonl               what Redis can't take for its own sake, see `set_aside`
ROOT/STORAGE/url                   the storage that this waits for, without its login
ROOT/STORAGE/PID-RANDOM/           one folder for each process, locked (flock) as long as it lives
ROOT/STORAGE/PID-RANDOM/*.segment  frames of batches, see `segments`; the names ascend in time
ROOT/STORAGE/*.damaged             segments that could not be read to their end, kept whole
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from collection.errors import StorageUnavailable
from collection.storage.batch import Batch
from collection.storage.delivery import Bad
from collection.storage.disk import file_size, listed
from collection.storage.segments import Segment, encode_frame
from collection.storage.set_aside import append_set_aside
from collection.storage.spool_folders import Folders
from collection.storage.values import SeriesType

log = logging.getLogger(__name__)

LIMIT = 1_000_000_000
"""Bytes of all segments that wait for a storage, those of other processes included."""
_SEGMENT = 8_000_000


class Spool:
    """The folder of one process for one storage, and those of dead processes that it adopted.

    Nothing is created before the first `append`. Thread-safe; one thread at a time reads.
    """

    def __init__(self, root: Path, url: str, *, limit: int = LIMIT) -> None:
        self.root = root
        self.torn = 0
        """Frames that were left out, for they were cut off while they were written."""
        self._limit = limit
        self._folders = Folders(root, url)
        self._segments: list[Segment] = []  # oldest first, without the one that is written
        self._current: Segment | None = None
        self._last = 0  # number of a segment
        self._reading: Segment | None = None
        self._closed = False
        self._lock = threading.RLock()

    @property
    def folder(self) -> Path:
        """The folder of the storage, which all processes share."""
        return self._folders.storage

    @property
    def pending(self) -> bool:
        """Whether anything waits in the folders of this process."""
        return bool(self._segments or self._current)

    def append(self, batches: Iterable[tuple[str, Batch]]) -> None:
        """Write batches, each with its key; they are durable on return.

        Beyond the limit the oldest segments go, and their records are counted as `dropped:spool_full`.

        Raises:
            StorageUnavailable: The disk does not take them.
        """
        data = b"".join(encode_frame(key, batch) for key, batch in batches)
        with self._lock:
            try:
                if self._closed or len(data) > self._limit:
                    raise OSError("it is closed" if self._closed else f"its limit is {self._limit} bytes")
                oldest = self._beyond_limit(len(data))
                self._write(data + self._counted(oldest))
                for segment in oldest:
                    self.remove(segment)
            except OSError as error:
                raise StorageUnavailable(f"spool {self.folder}: {error.strerror or error}") from error

    def oldest(self) -> Segment | None:
        """Return the segment to be read first; what is appended from now on goes to another one. Raises OSError."""
        with self._lock:
            if not self._segments:
                self._seal()
            return self._segments[0] if self._segments else None

    def read(self, segment: Segment) -> Iterator[tuple[str, Batch]]:
        """Yield key and batch, from where the reading ended before; asking for the next acknowledges the last.

        Raises OSError.
        """
        self._reading = segment
        try:
            for end, key, batch in segment.read():
                yield key, batch
                segment.done = end
            self.torn += segment.torn
        finally:
            self._reading = None

    def remove(self, segment: Segment) -> None:
        """Delete a segment that was acknowledged; one that is damaged is kept beside its folder. Raises OSError."""
        with self._lock:
            self.forget(segment)
            folder = segment.path.parent
            if segment.damaged:
                kept = self.folder / f"{folder.name}-{segment.path.stem}.damaged"
                segment.path.replace(kept)
                log.error("%s: the damaged segment is kept; the coverage of what can't be read stays open", kept)
            else:
                segment.path.unlink(missing_ok=True)
            self._folders.leave_empty(folder)

    def forget(self, segment: Segment) -> None:
        """Leave a segment where it is, for whoever adopts its folder."""
        with self._lock, contextlib.suppress(ValueError):
            self._segments.remove(segment)

    def adopt(self) -> int:
        """Take over the folders that no living process holds; returns how many segments they have. Raises OSError."""
        with self._lock:
            folders = () if self._closed else self._folders.adopt()
            found = [Segment(path) for folder in folders for path in folder.glob("*.segment")]
            for folder in folders:
                self._folders.leave_empty(folder)
            self._segments = sorted([*self._segments, *found], key=lambda segment: segment.path.name)
        return len(found)

    def set_aside(self, key: str, series_type: SeriesType | None, bad: Sequence[Bad]) -> None:
        """Keep records that Redis can't take, for people to look at. Raises OSError."""
        append_set_aside(self.root, key, series_type, bad)

    def close(self) -> None:
        """Leave what waits to those who come later."""
        with self._lock:
            self._closed = True
            self._seal()
            self._folders.leave_all()

    def _beyond_limit(self, added: int) -> Sequence[Segment]:
        """Return the oldest segments, as many as must go before something is added."""
        excess = sum(map(file_size, listed(self.folder, "*/*.segment"))) + added - self._limit
        oldest: list[Segment] = []
        for segment in (*self._segments, *([self._current] if self._current else [])):
            if excess > 0 and segment is not self._reading:
                excess -= segment.size
                oldest.append(segment)
        if self._current in oldest:
            self._seal()
        return oldest

    def _counted(self, oldest: Sequence[Segment]) -> bytes:
        """Return the frames that count the records of segments, and what was to be counted with them."""
        counts: dict[str, Counter[str]] = {}
        for segment in oldest:
            for _, key, batch in segment.read():
                counts.setdefault(key, Counter()).update(batch.counts)
                counts[key]["dropped:spool_full"] += len(batch.entries)
        if oldest:
            records = sum(count["dropped:spool_full"] for count in counts.values())
            text = "spool %s: %d records of %d series go, the oldest, for it has reached its limit of %d bytes"
            log.error(text, self.folder, records, len(counts), self._limit)
        return b"".join(encode_frame(key, Batch(None, counts=+count)) for key, count in counts.items())

    def _write(self, frames: bytes) -> None:
        # One that somebody deleted is not written on: it would begin in the middle.
        if self._current and not 0 < self._current.size < min(_SEGMENT, self._limit // 8):
            self._seal()
        if self._current is None:
            self._last = max(time.time_ns(), self._last + 1)
            self._current = Segment(self._folders.own() / f"{self._last:020}.segment")
        try:
            self._current.append(frames)
        except OSError:
            self._seal()  # what a failed fsync did not write will never be: the next try is another segment
            raise

    def _seal(self) -> None:
        segment, self._current = self._current, None
        if segment and segment.size:
            self._segments.append(segment)
