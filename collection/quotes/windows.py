"""Windows that are kept in memory from round to round, and the moments that read them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from collection.errors import RetryLater
from collection.quotes.moment import Moment, Series
from collection.quotes.once import FOREVER, Once
from collection.quotes.series import Trades, Values
from collection.records import Trade
from collection.storage import DataCollectionStorage
from collection.storage.base import State, Tail

PAGES = 3
"""Pages of new records that are read before the window is read anew: a backfill brings days that nobody looks at."""


class Window:
    """A series of which the last `span` milliseconds are kept."""

    def __init__(self, kind: type[Trades] | type[Values], position: str, since: int, span: int, stored: int) -> None:
        self.kept = kind()
        self.position = position
        self.since = since  # all after it is kept
        self.span = span
        self.stored = stored
        self.lock = threading.Lock()
        self.moment: Moment | None = None
        """The one that it was brought up to date for."""
        self._early: list[tuple[int, Any]] = []

    def add(self, values: Iterable[tuple[int, Any]], at: int) -> None:
        """Add what had been received by a time; the rest waits, so that what is kept is what was known."""
        due: list[tuple[int, Any]] = []
        early: list[tuple[int, Any]] = []
        for pair in (*self._early, *values):
            if pair[0] > self.since:
                (due if _known(pair) <= at else early).append(pair)
        self._early = early
        self.kept.add(due)

    def trim(self, at: int) -> None:
        """Forget what nobody looks at any more."""
        if self.since < at - self.span:
            self.since = at - self.span
            self.kept.trim(self.since)


def _known(pair: tuple[int, Any]) -> int:
    timestamp, value = pair
    return (value.received or timestamp) if isinstance(value, Trade) else 0


class Windows:
    """Those of all series that were asked for."""

    def __init__(self) -> None:
        self.latest: Moment | None = None
        """The only one that may change windows: threads of earlier ones may be at work yet."""
        self.begun = Once(kept=False)
        """Reads windows, by what is read."""
        self._windows: dict[str, Window] = {}
        self._lock = threading.Lock()

    def all(self) -> dict[str, Window]:
        """Return them by key."""
        with self._lock:
            return dict(self._windows)

    def reaching(self, key: str, start: int) -> Window | None:
        """Return the window of a series if all after `start` is in it."""
        window = self._windows.get(key)
        return window if window and window.since <= start else None

    def add(self, key: str, window: Window) -> None:
        """Keep a window, unless there is a longer one."""
        with self._lock:
            if self.reaching(key, window.since) is None:
                self._windows[key] = window

    def remove(self, key: str, window: Window) -> None:
        """Let go of a window, unless another one took its place."""
        with self._lock:
            if self._windows.get(key) is window:
                del self._windows[key]


class KeptMoment(Moment):
    """A moment that reads windows that are kept."""

    def __init__(self, storage: DataCollectionStorage, at: int, windows: Windows, limit: float = FOREVER) -> None:
        super().__init__(storage, at, limit)
        self._windows = windows
        self._errors: dict[str, Exception] = {}

    def read_on(self) -> None:
        """Bring all windows up to what is stored; what can't be read fails the feeds that need it."""
        self._windows.latest = self
        windows = self._windows.all()
        with contextlib.ExitStack() as locked:
            for window in windows.values():
                locked.enter_context(window.lock)
            try:
                self._follow(windows)
            except RetryLater as error:
                self._errors = dict.fromkeys(windows, error)
            except Exception:  # one of them: each for itself
                for key, window in windows.items():
                    try:
                        self._follow({key: window})
                    except Exception as error:
                        self._errors[key] = error

    def state(self, key: str) -> State:
        if key in self._errors:
            raise self._errors[key]
        return super().state(key)

    def _follow(self, windows: Mapping[str, Window]) -> None:
        left, pages = set(windows), 0
        while left and pages < PAGES:
            pages += 1
            tails = self.storage.tail({key: windows[key].position for key in left})
            left = {key for key, tail in tails.items() if self._take(windows[key], tail)}
        for key in left:
            self._windows.remove(key, windows[key])
        followed = [key for key in windows if key not in left]
        self._states.update(self.storage.states(followed))
        for key in followed:
            window, stored = windows[key], self._states[key].stored
            if stored < window.stored:  # it was emptied: what is kept is there no more
                self._windows.remove(key, window)
                continue
            window.stored = stored
            window.moment = self
            window.trim(self.at)

    def _take(self, window: Window, tail: Tail) -> bool:
        window.add(tail.values, self.at)
        window.position = tail.position
        return tail.more

    def _read(self, key: str, start: int, kind: type[Series]) -> Series:
        if key in self._errors:
            raise self._errors[key]
        window = self._window(key, start, kind)
        while window.moment is not self and self._windows.latest is self:  # an earlier round has only now read it
            with window.lock:
                if window.moment is not self and self._windows.latest is self:
                    self._follow({key: window})
            window = self._window(key, start, kind)
        if not isinstance(window.kept, kind):  # the same series as trades and as numbers: one of them will fail
            return super()._read(key, start, kind)
        window.span = max(window.span, self.at - start)
        return window.kept

    def _window(self, key: str, start: int, kind: type[Series]) -> Window:
        """Return the window that is kept, or that somebody is reading since an earlier round, or read it."""
        begun = (key, kind, self.at - start)
        return self._windows.reaching(key, start) or self._windows.begun.do(
            begun, lambda: self._begin(key, start, kind), self.limit
        )

    def _begin(self, key: str, start: int, kind: type[Series]) -> Window:
        """Note where the series ends, then read the window: what comes in between is read twice and kept once."""
        position = self.storage.tail({key: "now"})[key].position
        window = Window(kind, position, start, self.at - start, self.state(key).stored)
        window.add(self.storage.fetch(key, start + 1), self.at)
        while self._take(window, self.storage.tail({key: window.position})[key]):
            pass  # to read a long window takes a while
        window.moment = self
        self._windows.add(key, window)
        return window
