"""Storage against a plain XADD pipeline of the same trades: ratios from one interleaved run.

    python -m bench.storage [--trades 100000] [--rounds 5] [--tape FILE]

Both store the same trades in batches of 500: ours with bars, coverage and time of receipt; the plain way with time of
receipt, and late trades lost. Each round empties Redis, stores first the one way and then the other, by turns, and then
the same once more. CPU of client and server come from the operating system, bytes from Redis; ratios are medians over
the rounds. `each batch flushed` waits until a batch is durable before the next one.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import msgspec
import redis

from collection.embedded import EmbeddedRedis
from collection.records import Trade
from collection.simulator.tape import read_tape
from collection.storage import Covers, Interval, RedisStorage
from collection.storage.redis_server import connect

BATCH = 500
KEY = "trades:bench:BTC/USDT"
Batches = list[list[Trade]]


class Cost(NamedTuple):
    """Seconds of the wall clock, of this process's CPU and of the server's."""

    wall: float
    client: float
    server: float


def make_trades(count: int) -> list[Trade]:
    """Trades of which a fifth share their millisecond with the one before, as in recordings; some 40 a second."""
    chance, now, trades = random.Random(1), 1_767_225_600_000, []
    for number in range(count):
        now += 0 if chance.random() < 0.22 else chance.randint(1, 60)
        price = Decimal(chance.randint(6_400_000, 6_500_000)).scaleb(-2)
        amount = Decimal(int(chance.lognormvariate(6, 2)) + 1).scaleb(-5)
        trades.append(Trade(now, str(10**9 + number), chance.choice(("buy", "sell")), price, amount, now + 40))
    return trades


def taped_trades(path: Path) -> list[Trade]:
    return [
        Trade(row.timestamp, str(row.id), row.side, Decimal(row.price), Decimal(row.amount), row.timestamp + 40)
        for row in read_tape(path).rows
    ]


def in_batches(trades: list[Trade]) -> Batches:
    return [trades[start : start + BATCH] for start in range(0, len(trades), BATCH)]


def with_late(batches: Batches) -> Batches:
    """The same trades, of which one in a hundred comes with a later batch."""
    chance, late, mixed = random.Random(2), list[Trade](), []
    for batch in batches:
        held = [trade for trade in batch if chance.random() < 0.01]
        mixed.append([*late, *(trade for trade in batch if trade not in held)])
        late = held
    return [*mixed, late] if late else mixed


def store_ours(url: str, batches: Batches, *, flush: bool = False) -> None:
    with RedisStorage(url) as storage:
        for batch in batches:
            covers = Covers("id", [Interval(int(batch[0].id) - 1, int(batch[-1].id))])
            storage.store_batch(KEY, [(trade.timestamp, trade) for trade in batch], covers)
            if flush:
                storage.flush(KEY)
        storage.flush(KEY, timeout=600)


def store_plainly(url: str, batches: Batches) -> None:
    """What one would write first: a pipeline of XADD with explicit ids and a msgpack field."""
    encode = msgspec.msgpack.Encoder().encode
    with connect(url) as client:
        for batch in batches:
            pipe = client.pipeline(transaction=False)
            for t in batch:
                payload = encode((t.side, t.price, t.amount, t.received))
                pipe.xadd("plain", {"r": payload}, id=f"{t.timestamp}-{t.id}")
            pipe.execute(raise_on_error=False)


def measure(client: redis.Redis, work: Callable[[], object]) -> Cost:
    def cpu() -> tuple[float, float]:
        mine, server = resource.getrusage(resource.RUSAGE_SELF), client.info("cpu")
        return mine.ru_utime + mine.ru_stime, server["used_cpu_user"] + server["used_cpu_sys"]

    before, began = cpu(), time.perf_counter()
    work()
    wall, after = time.perf_counter() - began, cpu()
    return Cost(wall, after[0] - before[0], after[1] - before[1])


def rounds(
    url: str, client: redis.Redis, trades: list[Trade], count: int
) -> tuple[dict[str, list[Cost]], dict[str, int]]:
    """Measure everything `count` times; costs by name, and bytes."""
    batches, late = in_batches(trades), with_late(in_batches(trades))
    ways: list[tuple[str, Callable[[], object]]] = [
        ("plain", lambda: store_plainly(url, batches)),
        ("ours", lambda: store_ours(url, batches)),
        ("flushed", lambda: store_ours(url, batches, flush=True)),
        ("late", lambda: store_ours(url, late)),
    ]
    costs: dict[str, list[Cost]] = {}
    sizes: dict[str, int] = {}
    for number in range(count):
        print(f"round {number + 1} of {count} …", flush=True)
        for name, store in ways if number % 2 else ways[::-1]:
            client.flushall()
            empty = client.info("memory")["used_memory"]
            costs.setdefault(name, []).append(measure(client, store))
            sizes[name] = client.info("memory")["used_memory"] - empty
            if name in ("plain", "ours"):
                costs.setdefault(f"{name} again", []).append(measure(client, store))
            if name == "ours":
                with RedisStorage(url) as storage:
                    for _ in range(3):
                        costs.setdefault("objects", []).append(measure(client, lambda s=storage: s.fetch(KEY)))  # type: ignore[misc]
                        costs.setdefault("columns", []).append(measure(client, lambda s=storage: s.columns(KEY)))  # type: ignore[misc]
    return costs, sizes


def report(trades: int, costs: dict[str, list[Cost]], sizes: dict[str, int]) -> Iterable[str]:
    def ratio(ours: str, other: str, part: str) -> float:
        pairs = zip(costs[ours], costs[other], strict=True)
        return float(statistics.median(getattr(one, part) / getattr(two, part) for one, two in pairs))

    def each(name: str) -> float:
        return statistics.median(cost.client for cost in costs[name]) / trades * 1e6

    yield f"{'ours ÷ plain XADD pipeline':34} throughput   client CPU   server CPU"
    for label, ours, other in (
        ("store", "ours", "plain"),
        ("store, each batch flushed", "flushed", "plain"),
        ("store what is there already", "ours again", "plain again"),
    ):
        wall, client, server = (ratio(ours, other, part) for part in Cost._fields)
        yield f"{label:34} {1 / wall:8.2f} × {client:10.2f} × {server:10.2f} ×"
    yield f"{'targets of store':34} {'≥ 2':>8} × {'≤ 0.35':>10} × {'≤ 2.2':>10} ×"
    yield ""
    yield f"replay ÷ first time, server CPU    {ratio('ours again', 'ours', 'server'):.2f} ×   (target: ≤ 1)"
    yield f"1 % late ÷ none late, server CPU   {ratio('late', 'ours', 'server'):.2f} ×"
    bytes_each = sizes["ours"] / trades
    size = f"{sizes['ours'] / sizes['plain']:.2f} ×   (target: ≤ 1.3; {bytes_each:.1f} a trade)"
    yield f"bytes, ours ÷ plain                {size}"
    yield f"read as objects                    {each('objects'):.2f} µs of client CPU an object   (target: ≤ 1.5)"
    yield f"read as columns                    {each('columns'):.2f} µs of client CPU a record"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trades", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tape", type=Path, help="a CSV file of trades instead of made ones")
    options = parser.parse_args()
    trades = taped_trades(options.tape) if options.tape else make_trades(options.trades)
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(folder) as server, connect(server.url) as client:
        costs, sizes = rounds(server.url, client, trades, options.rounds)
    print(f"\n{len(trades):,} trades, batches of {BATCH}, {options.rounds} rounds\n")
    print("\n".join(report(len(trades), costs, sizes)))


if __name__ == "__main__":
    main()
