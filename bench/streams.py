"""Streams on real workers: 500 idle ones on one, and the same load over one, two and four, by turns.

`python -m bench.streams`; all processes share this machine's cores, so figures per trade and shares of a core mean
something, and how many trades a second go through only beside each other.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from collection.embedded import EmbeddedRedis
from collection.simulator import Simulator
from collection.storage import RedisStorage
from collection.storage.redis_server import connect
from workers.assignments import Assignments

TICKS = os.sysconf("SC_CLK_TCK")
FEED = '[[feeds]]\nname = "{0}"\ntype = "cex_trades"\nexchange = "binance"\nmarket = "{0}"\nwindow = "5m"\n'
SETTLE = 40.0
"""Seconds until what starting costs is over."""


class Measured(NamedTuple):
    """One run: what its workers used together, over `seconds`."""

    started: float
    """Seconds from the start of the workers until all streams ran."""
    cpu: float
    """CPU seconds of the workers."""
    redis_cpu: float
    memory: int
    """MB of the largest worker."""
    trades: int
    lag: float
    """Seconds, the median over the markets, from a last trade until it was received."""
    ended: float
    """Seconds that the workers took to end."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each run is measured")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of one, two and four workers")
    options = parser.parse_args()
    idle = measure(1, 500, 0.02, options.seconds)
    share = idle.cpu / options.seconds
    print(
        f"500 idle streams on one worker: {idle.memory} MB, {share:.1%} of a core, all ran after {idle.started:.1f} s,"
    )
    print(f"ended {idle.ended:.1f} s after SIGTERM\n")
    print("40 markets of 50 trades/s   trades/s   µs of CPU a trade, workers   Redis   MB of the largest   lag")
    for _ in range(options.rounds):
        for workers in (1, 2, 4):
            run = measure(workers, 40, 50.0, options.seconds)
            each = 1e6 / max(run.trades, 1)
            print(
                f"{workers} worker{'s' if workers > 1 else ' '} {run.trades / options.seconds:27,.0f}"
                f" {run.cpu * each:28,.0f} {run.redis_cpu * each:7,.0f} {run.memory:19} {run.lag * 1000:6,.0f} ms",
                flush=True,
            )


def measure(workers: int, markets: int, rate: float, seconds: float) -> Measured:
    """Run `markets` streams of `rate` trades a second each on so many workers."""
    names = [f"M{number:03}/USDT" for number in range(markets)]
    keys = [f"trades:binance:{name}" for name in names]
    folder = Path(tempfile.mkdtemp(prefix="bench-streams-"))
    try:
        with (
            EmbeddedRedis(folder / "redis") as server,
            RedisStorage(server.url) as storage,
            contextlib.ExitStack() as stack,
        ):
            environment = _prepare(folder, server.url, names)
            port = (
                json.loads(environment["COLLECTION_EXCHANGES"])["binance"]["urls"]["public"]
                .rsplit(":")[2]
                .split("/")[0]
            )
            wanted = [word for name in names for word in ("--market", name)]
            stack.enter_context(
                _process(folder, environment, "workers.cli", "simulate", *wanted, f"--rate={rate}", f"--port={port}")
            )
            celery = ("celery", "-A", "workers", "worker", "-l", "warning")
            stack.enter_context(_process(folder, environment, *celery, "-Q", "polls,control", "-n", "polls@%h"))
            stack.enter_context(_process(folder, environment, "celery", "-A", "beat_schedule", "beat"))
            began = time.monotonic()
            running = [
                stack.enter_context(
                    _process(folder, environment, *celery, "-Q", "streams", "-c", "500", "-n", f"s{n}@%h")
                )
                for n in range(workers)
            ]
            assignments = Assignments(stack.enter_context(connect(server.url)))
            _until(lambda: _evenly(assignments, markets, workers))
            started = time.monotonic() - began
            time.sleep(SETTLE)
            pids = [process.pid for process in running]
            assert server.process is not None
            before = _cpu(pids), _cpu([server.process.pid]), _stored(storage, keys)
            time.sleep(seconds)
            after = _cpu(pids), _cpu([server.process.pid]), _stored(storage, keys)
            memory = max(_memory(pid) for pid in pids)
            lags = sorted(trade.received - trade.timestamp for key in keys for _, trade in storage.latest(key))
            began = time.monotonic()
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                process.wait(60)
            ended = time.monotonic() - began
            used, redis_used, trades = (new - old for new, old in zip(after, before, strict=True))
            return Measured(started, used, redis_used, memory, int(trades), lags[len(lags) // 2] / 1000, ended)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(folder: Path, url: str, names: Sequence[str]) -> dict[str, str]:
    (folder / "feeds.toml").write_text("".join(FEED.format(name) for name in names))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    exchange = {
        "urls": Simulator(markets=["ANY/ONE"], port=port).ccxt_urls(),
        "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
        "transport": "stream",
    }
    return {
        **os.environ,
        "COLLECTION_URL": url,
        "COLLECTION_FEEDS": "feeds.toml",
        "COLLECTION_EXCHANGES": json.dumps({"binance": exchange}),
        "COLLECTION_HANDOVER": "1s",
    }


@contextlib.contextmanager
def _process(folder: Path, environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _evenly(assignments: Assignments, markets: int, workers: int) -> bool:
    view = assignments.view()
    nodes = [lease.node for lease in view.leases.values() if lease.state == "running"]
    held = [nodes.count(node) for node in set(nodes)]
    return (
        not view.next
        and sum(held) == markets
        and len(held) == workers
        and max(held) - min(held) <= max(1, markets // 10)
    )


def _until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("the streams do not run evenly on all workers")
        time.sleep(0.1)


def _stored(storage: RedisStorage, keys: Sequence[str]) -> float:
    return float(sum(storage.counters(key).get("new", 0) for key in keys))


def _cpu(pids: Sequence[int]) -> float:
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(field[11]) + int(field[12]) for field in fields) / TICKS


def _memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) // 1024


if __name__ == "__main__":
    main()
