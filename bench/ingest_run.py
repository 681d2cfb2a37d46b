"""One contender, from its start to its end: what a trade costs it, how soon it can be read, how many it holds."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.ingest_contenders import ROOT, Contender
from bench.ingest_exchange import FIRST, Exchange
from collection.embedded import EmbeddedRedis

STEP = 2.5
"""Seconds for which a rate is tried."""
LAG = 0.5
"""Seconds after which all is stored where a rate is held."""
RATES = [1_000 * number for number in (3, 4, 6, 8, 12, 16, 24, 32, 48, 64)]


class Plan(NamedTuple):
    """What is measured."""

    markets: int
    rate: float
    seconds: float
    latency: float
    """Seconds for which the latency is measured; 0 for not at all."""
    capacity: bool
    warm: float = 1.5
    """Seconds of trades before anything is measured."""


class Result(NamedTuple):
    """What was measured."""

    cpu: float
    """Microseconds of the contender's CPU a trade."""
    redis: float
    """Microseconds of Redis's."""
    latencies: list[float]
    """Milliseconds from just before a trade was written to its socket until another process has read it."""
    held: int | None
    """The highest rate that was held; None where that was not tried."""
    missing: int
    """Trades that were sent and not stored seconds later."""
    twice: int
    """Trades that were stored more than once."""


def run(contender: Contender, plan: Plan) -> Result:
    """Start a contender on a Redis and an exchange of its own, and measure it."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-ingest-") as name,
        EmbeddedRedis(Path(name) / "redis") as server,
        Exchange(plan.markets) as exchange,
    ):
        folder = Path(name)
        process = contender.start(folder, exchange.address, server.url, exchange.names)
        try:
            _until(lambda: exchange.subscribed == plan.markets, 60, folder, process)
            time.sleep(0.5)
            return _measure(contender, plan, server, exchange, process)
        except TimeoutError as error:
            log = (folder / "log").read_text(errors="replace").strip()[-2000:]
            raise SystemExit(f"{contender.label}: {error}\n{log}") from None
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _measure(
    contender: Contender, plan: Plan, server: EmbeddedRedis, exchange: Exchange, process: subprocess.Popen[bytes]
) -> Result:
    url = server.url
    assert server.pid is not None

    def marks() -> tuple[int, float, float]:
        return exchange.made, _cpu(process.pid), _cpu(server.pid or 0)

    exchange.start(plan.rate)
    time.sleep(plan.warm)
    before = marks()
    time.sleep(plan.seconds)
    trades, cpu, redis_cpu = (after - old for after, old in zip(marks(), before, strict=True))
    latencies = _latencies(contender, plan, url, exchange) if plan.latency else []
    exchange.stop()
    _stored(contender, url, exchange, 5.0)
    until = time.monotonic() + 3.0  # what one has stored more than was sent may hide what is still to come
    while (compared := _compare(contender, url, exchange))[0] and time.monotonic() < until:
        time.sleep(0.2)
    held = None
    if plan.capacity:
        with _alone(process.pid):
            held = _capacity(contender, url, exchange)
    return Result(cpu / trades * 1e6, redis_cpu / trades * 1e6, latencies, held, *compared)


def _latencies(contender: Contender, plan: Plan, url: str, exchange: Exchange) -> list[float]:
    reader = subprocess.Popen(
        [sys.executable, "-m", "bench.ingest_reader", contender.kind, url, *exchange.names],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert reader.stdout is not None
    reader.stdout.readline()
    time.sleep(0.3)
    first = [len(market.sent) for market in exchange.markets]
    time.sleep(plan.latency)
    last = [len(market.sent) for market in exchange.markets]
    time.sleep(1.0)  # those sent last are to be read as well
    seen = array("q")
    seen.frombytes(reader.communicate()[0])
    found = []
    for market, id, at in zip(seen[::3], seen[1::3], seen[2::3], strict=True):
        if first[market] <= id - FIRST < last[market]:
            found.append((at - exchange.markets[market].sent[id - FIRST]) / 1e6)
    if len(found) < sum(last) - sum(first):
        print(f"{contender.label}: of {sum(last) - sum(first)} trades, {len(found)} could be read within a second")
    return found


def _stored(contender: Contender, url: str, exchange: Exchange, patience: float, but: float = 0.0) -> bool:
    """Wait until all that was sent, but so many trades, is stored; returns whether it is within so many seconds."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if contender.stored(url, exchange.names) >= exchange.made - but:
            return True
        time.sleep(0.02)
    return False


def _compare(contender: Contender, url: str, exchange: Exchange) -> tuple[int, int]:
    """Return how many trades are missing, and how many are stored twice."""
    missing = twice = 0
    for market, name in zip(exchange.markets, exchange.names, strict=True):
        ids = contender.ids(url, name)
        known = set(ids)
        missing += sum(id not in known for id in range(FIRST + 1, FIRST + len(market.times)))
        twice += len(ids) - len(known)
    return missing, twice


def _capacity(contender: Contender, url: str, exchange: Exchange) -> int:
    """Raise the rate until what is sent, but for a tenth of a second of it, is not stored soon after."""
    held = 0
    for rate in RATES:
        exchange.start(rate)
        time.sleep(STEP)
        behind = exchange.behind
        exchange.stop()
        if behind > LAG or not _stored(contender, url, exchange, LAG, but=rate / 10):
            break
        held = rate
    return held


@contextmanager
def _alone(pid: int) -> Iterator[None]:
    """Leave a process one core to itself, and to this one and Redis the others."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores[:1])
    yield


def _cpu(pid: int) -> float:
    """CPU seconds of a process, all of its threads, by the kernel's clock of it (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


def _until(condition: Callable[[], bool], patience: float, folder: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + patience
    while not condition():
        if process.poll() is not None:
            raise TimeoutError(f"it ended with {process.returncode} before it had subscribed")
        if time.monotonic() > until:
            raise TimeoutError(f"it has not subscribed within {patience:g} s")
        time.sleep(0.02)
