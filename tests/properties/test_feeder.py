"""The Feeder's quotes equal the plain ones, whatever comes late, again, or is dropped between its rounds."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from collection.data_collectors import CollectorFactory
from collection.feeds import PriceFeed
from collection.loading import build_feeds
from collection.quotes import Feeder
from collection.records import Trade
from collection.settings import Settings
from collection.storage import Covers, DataCollectionStorage, Interval
from tests.properties.places import Place

DAY = 86_400_000
BEGIN = 1_767_225_600_000 + DAY - 20_000  # twenty seconds before midnight
KEYS = ("trades:binance:A/B", "trades:kraken:A/B")


def make_feeds() -> list[PriceFeed]:
    trades = {"type": "cex_trades", "market": "A/B", "stale_after": 4.0}
    tables = [
        {"name": f"{exchange}-{method}-{window}", "exchange": exchange, "method": method, "window": window, **trades}
        for exchange in ("binance", "kraken")
        for method, window in (("vwap", 10.0), ("twap", 5.0), ("median", 10.0), ("last", 1.5))
    ]
    tables += [
        {"name": "number", "type": "stored", "key": "number", "stale_after": 2.0},
        {"name": "decimal", "type": "stored", "key": "decimal", "stale_after": 2.0},
        {"name": "median", "type": "median", "feeds": [table["name"] for table in tables[:6]]},
        {"name": "weighted", "type": "weighted", "feeds": ["binance-vwap-10.0", "kraken-twap-5.0"]},
        {"name": "convert", "type": "convert", "feed": "weighted", "by": "number", "operation": "divide"},
        {"name": "fallback", "type": "fallback", "feeds": ["kraken-last-1.5", "convert", "decimal"]},
    ]
    factory = CollectorFactory(Settings())
    return build_feeds(tables, factory)


class Writer:
    """Stores what a bad day brings."""

    def __init__(self, storage: DataCollectionStorage, chance: random.Random) -> None:
        self._storage = storage
        self._chance = chance
        self._made: dict[str, list[Trade]] = {key: [] for key in KEYS}

    def write(self, now: int) -> None:
        chance = self._chance
        for key in KEYS:
            made = self._made[key]
            new = [self._trade(len(made) + number, now) for number in range(chance.choice((0, 0, 1, 3, 30)))]
            made += new
            again = chance.sample(made, min(len(made), chance.choice((0, 0, 5))))
            batch = [(trade.timestamp, trade) for trade in (*new, *again)]
            first = len(made) - len(new)
            covers = Covers("id", [Interval(first - 1, len(made) - 1)]) if new and chance.random() < 0.8 else None
            self._storage.store_batch(key, batch, covers)
        for _ in range(chance.choice((0, 1, 3))):
            at = now - chance.choice((0, 0, 1, 500, 3_000))
            self._storage.store("number", float(chance.randint(0, 50)), at)
            self._storage.store("decimal", Decimal(chance.randint(1, 10**9)).scaleb(-7), at)
        if chance.random() < 0.05:
            for key in (*KEYS, "number", "decimal"):
                self._storage.drop_before(key, now)
        self._storage.flush()

    def _trade(self, number: int, now: int) -> Trade:
        chance = self._chance
        timestamp = now - chance.choice((0, 0, 0, 1, 1, 700, 6_000, 20_000, -300))
        received = chance.choice((0, timestamp + 40, now, now + 2_000))
        identity = str(number) if chance.random() < 0.9 else f"x{number}"
        price = Decimal(chance.choice((1_000, 1_000, 1_001, 999, 1_010, 2_000))).scaleb(-2)
        return Trade(timestamp, identity, "buy", price, Decimal(chance.randint(0, 9)), received)


@pytest.mark.parametrize("seed", range(6))
def test_the_feeders_quotes_equal_the_plain_ones(place: Place, seed: int) -> None:
    chance = random.Random(seed)
    feeds = make_feeds()
    with place.fresh() as storage:
        writer, feeder = Writer(storage, chance), Feeder(feeds, storage)
        now, found = BEGIN, set()
        for _ in range(40):
            now += chance.choice((1, 300, 1_000, 3_000))
            writer.write(now)
            if chance.random() < 0.3:
                continue  # more comes before the next round
            at = now - chance.choice((0, 0, 0, 0, 1, 900, 15_000))
            quotes = feeder.quotes(at)
            assert quotes == {feed.name: feed.quote(storage, at) for feed in feeds}
            found |= {quote.status for quote in quotes.values()}
        assert found == {"ok", "degraded", "stale", "missing"}
