"""How late live trades are, and how far the clocks are apart, as number series beside the trades.

| series               | milliseconds                                                             | how often        |
|----------------------|--------------------------------------------------------------------------|------------------|
| `lag:p50:KEY`        | median of receipt − exchange time of the live trades of KEY              | 10 s with trades |
| `lag:p99:KEY`        | 99th percentile of the same                                              | 10 s with trades |
| `skew:EXCHANGE:HOST` | by how much the exchange's clock is ahead of the one that HOST judges by | a minute         |
| `skew:redis:HOST`    | by how much the clock of HOST is ahead of Redis's                        | a minute         |

They are kept for `KEPT` seconds, whatever they are about.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from math import ceil
from zlib import crc32

from collection import clock
from collection.clients import CEXClient
from collection.records import QUOTES, Trade
from collection.storage import DataCollectionStorage

WINDOW = 10_000
"""Milliseconds of which one sample tells."""
SETTLING = 5_000
"""Milliseconds after a connection in which trades of before it may come again: these are not live."""
KEPT = 7 * 86_400.0
"""Seconds for which samples are kept."""
LAG, SKEW = "lag", "skew"
"""The kinds of these series: what stands before the first colon of their keys."""
REDIS = "redis"
_HOST = socket.gethostname().replace(" ", "-")[:60] or "localhost"


def lag_key(percentile: int, key: str) -> str:
    """Name the series of the lag of another series."""
    return f"{LAG}:p{percentile}:{key}"


def skew_key(other: str, host: str = _HOST) -> str:
    """Name the series of how far a clock, an exchange's or Redis's, is from a machine's."""
    return f"{SKEW}:{other}:{host}"


def is_beside(key: str) -> bool:
    """Whether a series tells of others or of clocks: none that was collected."""
    return key.partition(":")[0] in (LAG, SKEW, QUOTES)


def percentile(numbers: Sequence[int], percent: int) -> int:
    """Return the nearest rank: the least number that so many percent of all are not above. `numbers` are in order."""
    return numbers[max(ceil(len(numbers) * percent / 100), 1) - 1]


class Lag:
    """The lag of one market's live trades, window by window; windows of different markets end at different times."""

    def __init__(self, key: str, client: CEXClient, storage: DataCollectionStorage) -> None:
        self._key, self._client, self._storage = key, client, storage
        self._phase = crc32(key.encode()) % WINDOW
        self._lags: list[int] = []
        self._ends = 0
        self._connected = 0

    def connected(self) -> None:
        """What comes from now on is live, unless it was executed before."""
        self._connected = clock.now()

    def add(self, trades: Sequence[Trade]) -> None:
        """Take what came live, with its times of receipt."""
        now = clock.now()
        if now >= self._ends or now < self._ends - WINDOW:
            self.store()
            self._ends = now - (now - self._phase) % WINDOW + WINDOW
        if now < self._connected + SETTLING:
            trades = [trade for trade in trades if trade.timestamp >= self._connected]
        self._lags += [trade.received - trade.timestamp for trade in trades]

    def store(self) -> None:
        """Store what a window came to, at the time at which it began; nothing where no trades came."""
        if self._lags:
            lags, self._lags = sorted(self._lags), []
            began = self._ends - WINDOW
            for percent in (50, 99):
                self._storage.store(lag_key(percent, self._key), percentile(lags, percent), began)
            if lags[0] < 0:
                self._client.skew.saw_trade(self._ends - lags[0], self._ends)
        store_skew(self._storage, self._client)


def store_skew(storage: DataCollectionStorage, client: CEXClient) -> None:
    """Store how far the clocks are apart, where a sample is due."""
    now, skew = clock.now(), client.skew
    if (ahead := skew.sample(now)) is None:
        return
    key = skew_key(client.exchange)
    storage.store(key, ahead, now)
    if skew.times_over:
        storage.count(key, "over", skew.times_over)
        skew.times_over = 0
    if (of_redis := clock.ahead_of_redis()) is not None:
        storage.store(skew_key(REDIS), of_redis, now)
