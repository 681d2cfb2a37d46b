"""Between a writer's memory and its spool: what has waited too long goes to disk, and from there to the storage."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic

from collection.storage.batch import Batch, join
from collection.storage.queues import Queues
from collection.storage.spool import Spool

log = logging.getLogger(__name__)

LARGEST = 5_000
"""Records of a series in one frame, unless they came together."""
ADOPTION = 60.0
"""Seconds between two looks for the spools of dead processes."""


class Spooler:
    """Spills in a thread of its own, which `spill` starts: the writer may wait for the server meanwhile.

    `changed` guards `queues` and is notified when they become shorter.
    """

    def __init__(self, spool: Spool, queues: Queues, changed: threading.Condition) -> None:
        self.spool = spool
        self.trouble = ""
        """What is wrong with the disk."""
        self._queues = queues
        self._changed = changed
        self._wanted = False
        self._closed = False
        self._adopt_at = 0.0
        self._thread: threading.Thread | None = None

    @property
    def pending(self) -> bool:
        """Whether anything waits on disk."""
        return self.spool.pending

    @property
    def adopts(self) -> float:
        """Seconds until it looks for the spools of dead processes again."""
        return max(self._adopt_at - monotonic(), 0.0)

    def spill(self) -> None:
        """Have all that waits in memory moved to the disk; `changed` is held."""
        self._wanted = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="storage-spool", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def drain(self, deliver: Callable[[str, Batch], bool]) -> None:
        """Hand what waits on disk to `deliver`, oldest first, until it returns False; what it raises is raised."""
        number = 0
        try:
            self._adopt()
            while segment := self.spool.oldest():
                try:
                    for key, batch in self.spool.read(segment):
                        if not deliver(key, batch):
                            return
                        number += len(batch.entries)
                    self.spool.remove(segment)
                except OSError:
                    self.spool.forget(segment)  # whoever adopts its folder tries again
                    raise
        except OSError as error:
            self._tell(f"spool {self.spool.folder}: {error}")
        if number:
            log.warning("spool %s: %d records are in the storage now", self.spool.folder, number)

    def close(self, timeout: float) -> None:
        """End the thread, and leave to others what is on disk."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread:
            self._thread.join(timeout)
        self.spool.close()

    def _adopt(self) -> None:
        if not self.adopts:
            self._adopt_at = monotonic() + ADOPTION
            if found := self.spool.adopt():
                log.warning("spool %s: took over %d segments of dead processes", self.spool.folder, found)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._wanted)
                if self._closed:
                    return
                self._wanted = False
                upto = self._queues.last
            try:
                while self._spill(upto):
                    pass
                self.trouble = ""
            except Exception as error:  # whatever it is, what waits in memory stays there
                self._tell(f"{error}; what Redis does not take stays in memory")

    def _tell(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            log.error(trouble)

    def _spill(self, upto: int) -> bool:
        """Move the first batches of each series, with one sync for all; returns whether there were any."""
        with self._changed:
            first = [(key, parts) for key in self._queues.keys if (parts := self._queues.first(key, upto, LARGEST))]
        if first:
            if not self.pending:
                log.warning("spool %s: takes what Redis does not take", self.spool.folder)
            self.spool.append([(key, join([batch for _, batch in parts])) for key, parts in first])
            with self._changed:
                for key, parts in first:
                    self._queues.remove(key, parts[-1][0])
                self._changed.notify_all()
        return bool(first)
