"""Storage against a plain XADD pipeline of the same trades: ratios from one interleaved run.

    python -m bench.storage [--trades 100000] [--rounds 5]

Each round empties Redis, stores the same trades in batches of 500 both ways, and stores them once more; client and
server CPU come from the operating system, bytes from Redis. Ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal

import msgspec
import redis

from collection.embedded import EmbeddedRedis
from collection.records import Trade
from collection.storage import Covers, Interval, RedisStorage
from collection.storage.redis_server import connect

BATCH = 500
KEY = "trades:bench:BTC/USDT"


def make_trades(count: int) -> list[Trade]:
    """Trades of which a fifth share their millisecond with the one before, as in recordings."""
    chance, now, trades = random.Random(1), 1_767_225_600_000, []
    for number in range(count):
        now += 0 if chance.random() < 0.22 else chance.randint(1, 60)
        price, amount = (
            Decimal(chance.randint(6_400_000, 6_500_000)).scaleb(-2),
            Decimal(chance.randint(1, 10**8)).scaleb(-5),
        )
        trades.append(Trade(now, str(10**9 + number), chance.choice(("buy", "sell")), price, amount, now + 40))
    return trades


def store_ours(url: str, batches: list[list[Trade]]) -> None:
    with RedisStorage(url) as storage:
        for batch in batches:
            covers = Covers("id", [Interval(int(batch[0].id) - 1, int(batch[-1].id))])
            storage.store_batch(KEY, [(trade.timestamp, trade) for trade in batch], covers)
            storage.flush(KEY)


def store_plainly(url: str, batches: list[list[Trade]]) -> None:
    """What one would write first: a pipeline of XADD with explicit ids and a msgpack field."""
    encode = msgspec.msgpack.Encoder().encode
    with connect(url) as client:
        for batch in batches:
            pipe = client.pipeline(transaction=False)
            for t in batch:
                payload = encode((t.side, t.price, t.amount, t.received))
                pipe.xadd("plain", {"r": payload}, id=f"{t.timestamp}-{t.id}")
            pipe.execute(raise_on_error=False)


def measure(client: redis.Redis, work: Callable[[], object]) -> tuple[float, float, float]:
    """Seconds of wall clock, of this process's CPU and of the server's."""

    def cpu() -> tuple[float, float]:
        mine, server = resource.getrusage(resource.RUSAGE_SELF), client.info("cpu")
        return mine.ru_utime + mine.ru_stime, server["used_cpu_user"] + server["used_cpu_sys"]

    before, began = cpu(), time.perf_counter()
    work()
    wall, after = time.perf_counter() - began, cpu()
    return wall, after[0] - before[0], after[1] - before[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trades", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    trades = make_trades(options.trades)
    batches = [trades[start : start + BATCH] for start in range(0, len(trades), BATCH)]
    rows: dict[str, list[tuple[float, float, float]]] = {}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder) as server, connect(server.url) as client:
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds} …", flush=True)
            client.flushall()
            ways = [("plain", store_plainly), ("ours", store_ours)]
            for name, store in ways if number % 2 else ways[::-1]:
                empty = client.info("memory")["used_memory"]
                for kind in ("store", "replay"):
                    seconds = measure(client, lambda store=store: store(server.url, batches))  # type: ignore[misc]
                    rows.setdefault(f"{name} {kind}", []).append(seconds)
                sizes[name] = client.info("memory")["used_memory"] - empty
            with RedisStorage(server.url) as storage:
                rows.setdefault("read", []).append(measure(client, lambda: storage.fetch(KEY)))
    print(f"\n{len(trades):,} trades, batches of {BATCH}, {options.rounds} rounds; ours ÷ plain XADD pipeline\n")
    for kind in ("store", "replay"):
        pairs = list(zip(rows[f"ours {kind}"], rows[f"plain {kind}"], strict=True))
        throughput, client_cpu, server_cpu = (
            statistics.median(ours[index] / plain[index] for ours, plain in pairs) for index in range(3)
        )
        cpu = f"client CPU {client_cpu:5.2f} ×   server CPU {server_cpu:5.2f} ×"
        print(f"{kind:8} throughput {1 / throughput:5.2f} ×   {cpu}")
    again = statistics.median(b[2] / a[2] for a, b in zip(rows["ours store"], rows["ours replay"], strict=True))
    print(f"replay ÷ first time, server CPU {again:.2f} ×")
    per_object = statistics.median(row[1] for row in rows["read"]) / len(trades) * 1e6
    print(f"bytes    {sizes['ours'] / sizes['plain']:5.2f} ×   ({sizes['ours'] / len(trades):.1f} a trade)")
    print(f"read     {per_object:5.2f} µs of client CPU an object")


if __name__ == "__main__":
    main()
