"""CPU of one round of quotes: `python -m bench.quotes`.

A hundred markets with a thousand trades in each window of five minutes; the feeds ask for VWAP, TWAP, median and last
by turns, some for half the window, and a tenth of them are composites. Between two rounds, of a second each, every
market gets three trades, some of them late. CPU is this process's, without Redis's: of computing the quotes, and of the
whole round, in which they are stored, durable and published as well.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from collection.data_collectors import CollectorFactory
from collection.embedded import EmbeddedRedis
from collection.feeds import PriceFeed
from collection.loading import build_feeds
from collection.quotes import Feeder, RedisPublisher, Updater
from collection.records import Trade
from collection.settings import Settings
from collection.storage import Covers, Interval, RedisStorage

MARKETS = 100
WINDOW = 300_000
TRADES = 1_000
BEGIN = 1_767_225_600_000
METHODS = ("vwap", "twap", "median", "last")
TARGET = 0.150


def make_feeds(count: int, markets: int = MARKETS) -> list[PriceFeed]:
    factory = CollectorFactory(Settings())
    composites = count // 10
    plain = count - composites
    tables: list[dict[str, object]] = [
        {
            "name": f"f{number}",
            "type": "cex_trades",
            "exchange": "binance",
            "market": f"M{number % markets}/USD",
            "window": WINDOW / 1000 / (1 + number // markets),
            "method": METHODS[number % 4],
        }
        for number in range(plain)
    ]
    for number in range(composites):
        parts = [f"f{(number * 7 + place) % plain}" for place in range(5)]
        tables.append({"name": f"c{number}", "type": "median" if number % 2 else "weighted", "feeds": parts})
    return build_feeds(tables, factory)


class Market:
    """Makes the trades of one market; one in fifty comes with the batch after its own."""

    def __init__(self, number: int) -> None:
        self.key = f"trades:binance:M{number}/USD"
        self._chance = random.Random(number)
        self._id = self._covered = 0
        self._held: list[Trade] = []

    def trades(self, start: int, end: int, count: int) -> list[Trade]:
        chance, late = self._chance, self._held
        made = []
        for timestamp in sorted(chance.randint(start, end - 1) for _ in range(count)):
            self._id += 1
            price, amount = Decimal(chance.randint(640_000, 650_000)), Decimal(chance.randint(1, 10**7))
            made.append(
                Trade(timestamp, str(self._id), "buy", price.scaleb(-2), amount.scaleb(-5), min(timestamp + 40, end))
            )
        self._held = [trade for trade in made if chance.random() < 0.02]
        return [*late, *(trade for trade in made if trade not in self._held)]

    def store(self, storage: RedisStorage, start: int, end: int, count: int) -> None:
        values = [(trade.timestamp, trade) for trade in self.trades(start, end, count)]
        storage.store_batch(self.key, values, Covers("id", [Interval(0, self._id)]))


class Cost(NamedTuple):
    """CPU seconds."""

    feeds: int
    first: float
    """Of computing the quotes the first time, when all windows are read."""
    quotes: float
    """Of computing them again, the median of all rounds."""
    update: float
    """The same of a whole round."""


def rounds(url: str, counts: list[int], number: int) -> Iterator[Cost]:
    """Yield what rounds of so many feeds cost."""
    with RedisStorage(url) as storage:
        markets = [Market(place) for place in range(MARKETS)]
        for market in markets:
            market.store(storage, BEGIN, BEGIN + WINDOW, TRADES)
        storage.flush(timeout=120)
        at = BEGIN + WINDOW
        for count in counts:
            feeds = make_feeds(count, min(MARKETS, max(count // 2, 1)))
            feeder, publisher = Feeder(feeds, storage), RedisPublisher(url)
            updater = Updater(feeds, storage, publisher)
            first = _cpu(feeder, at)
            updater.update(at)
            quotes, updates = [], []
            for _ in range(number):
                for market in markets:
                    market.store(storage, at, at + 1000, TRADES * 1000 // WINDOW)
                storage.flush(timeout=60)
                at += 1000
                quotes.append(_cpu(feeder, at))
                before = time.process_time()  # several threads have a part in it
                done = updater.update(at)
                updates.append(time.process_time() - before)
                if done.quoted != count:
                    raise RuntimeError(f"{done.late} of {count} feeds were late")
            publisher.close()
            yield Cost(count, first, statistics.median(quotes), statistics.median(updates))


def _cpu(feeder: Feeder, at: int) -> float:
    before = time.thread_time()  # not what the writer's thread does
    quotes = feeder.quotes(at)
    cost = time.thread_time() - before
    missing = [quote for quote in quotes.values() if quote.price is None]
    if missing:
        raise RuntimeError(f"a quote is missing: {missing[0]}")
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feeds", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    print(f"{TRADES:,} trades a window, two feeds for each market, {options.rounds} rounds\n")
    print("feeds   first quotes   quotes   whole round   (CPU)")
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder) as server:
        for cost in rounds(server.url, options.feeds, options.rounds):
            first, quotes, update = (f"{seconds * 1000:.0f} ms" for seconds in cost[1:])
            print(f"{cost.feeds:5} {first:>14} {quotes:>8} {update:>13}", flush=True)
    print(f"\ntarget of 200 feeds: ≤ {TARGET * 1000:.0f} ms")


if __name__ == "__main__":
    main()
