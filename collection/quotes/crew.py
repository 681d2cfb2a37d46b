"""Crew: does jobs one after another, and goes on with the others while one of them takes long."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

LIMIT = 0.5
"""Seconds that a job may take by default; longer than this it is waited for no more."""
PATIENCE = 0.2
"""The part of it without any job done after which other threads begin with the next ones."""
MORE = 4
"""Threads that begin then."""
AT_ONCE = 16
"""Threads among which no more begin, beside those whose jobs are over their limit."""


class Crew(Generic[T]):
    """Usually one thread does all jobs, which costs least. What a job waits for delays no other job."""

    def __init__(self, limit: float = LIMIT) -> None:
        self.limit = limit
        self.slow: set[str] = set()
        """Jobs that others had to begin beside when they were done last: better begun after the others."""
        self._patience = limit * PATIENCE
        self._begun: dict[str, float] = {}

    @property
    def busy(self) -> dict[str, float]:
        """The jobs that are not done yet, and for how many seconds."""
        now = time.monotonic()
        return {name: now - began for name, began in self._begun.copy().items()}

    def run(self, jobs: Mapping[str, Callable[[], T]]) -> Iterator[dict[str, T]]:
        """Do jobs in their order, and yield what they return by name; a job that raises returns nothing.

        All in one go, if that does not take long; else piece by piece. What is not done within its limit is not
        yielded, but goes on: leave out what is `busy`.
        """
        shift = _Shift(jobs)
        progress = time.monotonic()
        self._join(shift)
        while not shift.over.wait(self._patience):
            if done := shift.taken():
                yield done
                progress = time.monotonic()
            elif not shift.left:
                if time.monotonic() - progress > self.limit:
                    return
            elif sum(seconds < self.limit for seconds in self.busy.values()) < AT_ONCE:
                for _ in range(MORE):  # where one is stuck, others may be as well
                    self._join(shift)
        yield shift.taken()

    def _join(self, shift: _Shift[T]) -> None:
        threading.Thread(target=self._work, args=[shift], name="quotes", daemon=True).start()

    def _work(self, shift: _Shift[T]) -> None:
        while job := shift.next():
            name, work = job
            self._begun[name] = began = time.monotonic()
            try:
                shift.done.append((name, work()))
            finally:
                del self._begun[name]
                took = time.monotonic() - began
                (self.slow.add if took > self._patience else self.slow.discard)(name)
                shift.count()


class _Shift(Generic[T]):
    """The jobs of one run, for several threads."""

    def __init__(self, jobs: Mapping[str, Callable[[], T]]) -> None:
        self.left = deque(jobs.items())
        self.done: deque[tuple[str, T]] = deque()
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._open = len(jobs)
        if not jobs:
            self.over.set()

    def next(self) -> tuple[str, Callable[[], T]] | None:
        try:
            return self.left.popleft()
        except IndexError:
            return None

    def count(self) -> None:
        with self._lock:
            self._open -= 1
            if not self._open:
                self.over.set()

    def taken(self) -> dict[str, T]:
        return dict(self.done.popleft() for _ in range(len(self.done)))
