"""What the storage shows of every market as time goes by."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from collection.errors import CollectionError
from collection.storage import RedisStorage

LOOK = 0.02
"""Seconds between two looks."""
FRESH = 1.0
"""Seconds that the newest record may be old where data flow."""


class Watch(threading.Thread):
    """Looks at the newest record of each series, all the time; all times are Unix times in seconds."""

    def __init__(self, url: str, keys: Sequence[str]) -> None:
        super().__init__(name="watch", daemon=True)
        self._url, self._keys = url, keys
        self._newest: dict[str, int] = {}
        self._changed: dict[str, float] = {}
        self._fresh: dict[str, list[tuple[float, int]]] = {key: [] for key in keys}  # when it was seen, and its time
        self._longest: dict[str, float] = {}
        self._stopped = threading.Event()

    def run(self) -> None:
        with RedisStorage(self._url) as store:
            while not self._stopped.wait(LOOK):
                for key in self._keys:
                    try:
                        self._look(key, store.latest(key))
                    except CollectionError:
                        continue

    def _look(self, key: str, latest: Sequence[tuple[int, object]]) -> None:
        now = time.time()
        timestamp = latest[-1][0] if latest else 0
        if timestamp != self._newest.get(key):
            before = self._changed.get(key, now)
            self._longest[key] = max(self._longest.get(key, 0.0), now - before)
            self._newest[key], self._changed[key] = timestamp, now
            if now - timestamp / 1000 < FRESH:
                self._fresh[key].append((now, timestamp))

    def flows_since(self, key: str, moment: float) -> float | None:
        """When it was first seen that the newest record is of after that moment, and fresh."""
        for seen, timestamp in self._fresh[key]:
            if timestamp > moment * 1000:
                return seen
        return None

    def begin(self) -> None:
        """Forget the silences of before."""
        self._longest.clear()

    @property
    def longest(self) -> float:
        """The longest time, since `begin`, in which nothing new came into one of the series."""
        now = time.time()
        running = [now - changed for changed in list(self._changed.values())]
        return max([*running, *list(self._longest.values())])

    def stop(self) -> None:
        self._stopped.set()
        self.join(15)
