"""How long a market may be silent before one should ask whether its subscription is dead."""

from __future__ import annotations

import random
import time

SHORTEST = 15.0
"""Seconds, at the least: a busy market is silent for some seconds now and then."""
LONGEST = 600.0
"""Seconds, at the most: what a dead subscription may cost in time, where nothing was known of the market."""
UNUSUAL = 4.0
"""How many times the longest silence of late is unusual."""
_FORGETTING = 0.999


class Silence:
    """Learns how long one market is silent between messages."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._last = time.monotonic()

    @property
    def limit(self) -> float:
        """Seconds of silence after which to ask; a little different each time, so that markets don't ask at once."""
        usual = min(max(UNUSUAL * self._longest, SHORTEST), LONGEST)
        return usual * random.uniform(0.8, 1.2)  # noqa: S311

    def begin(self) -> None:
        """It is listened to from now on: what passed before was no silence of the market."""
        self._last = time.monotonic()

    def heard(self) -> None:
        """Something came."""
        now = time.monotonic()
        self._longest = max(now - self._last, self._longest * _FORGETTING)
        self._last = now

    def quiet(self) -> None:
        """The exchange was asked, and had nothing new either."""
        self._longest = max(time.monotonic() - self._last, SHORTEST / UNUSUAL)
