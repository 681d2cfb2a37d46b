"""Where the time of a stream goes: the CPU clock of the thread is read around each step.

A profiler that is called for each function would double the cost of what is small; this reads two clocks a step.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.ingest_exchange import Exchange
from collection.embedded import EmbeddedRedis

STEPS = {
    "collection.clients.socket:Socket.on_ws_frame": "a message noted, with the time",
    "collection.clients.socket:Socket._read": "messages read and handed to their streams",
    "collection.data_collectors.live_trades:LiveTrades._take": "collectors: what came taken",
    "collection.data_collectors.live_trades:LiveTrades._claims": "  … its coverage",
    "collection.data_collectors.holes:Holes.add": "  … holes looked for",
    "collection.data_collectors.lag:Lag.add": "  … lag",
    "collection.storage.redis_storage:encode": "  … encoded",
    "collection.storage.writer:Writer.put": "  … enqueued",
    "collection.storage.redis_storage:RedisStorage._write": "writer's thread: sent to Redis",
}


def profile(markets: int, rate: float, seconds: float) -> Iterable[str]:
    """Run the native client, and yield a line for each step."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder,
        EmbeddedRedis(Path(folder) / "redis") as server,
        Exchange(markets) as exchange,
    ):
        root = str(Path(__file__).parents[1])
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.ingest_profile", exchange.address, server.url, *exchange.names],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
        )
        while exchange.subscribed < markets:
            time.sleep(0.05)
        exchange.start(rate)
        time.sleep(1.5)
        process.send_signal(signal.SIGUSR1)
        time.sleep(seconds)
        process.send_signal(signal.SIGUSR1)
        found = json.loads(process.communicate(timeout=10)[0])
        exchange.stop()
    steps: dict[str, tuple[int, int]] = found["steps"]
    trades = steps[next(iter(STEPS))][1]
    yield f"\n{rate:,.0f} trades/s of {markets} markets, {seconds:g} s\n"
    yield f"{'':45}{'µs of CPU a trade':>18}{'times a second':>16}"
    yield f"{'the process':45}{found['process'] / trades / 1e3:18.1f}"
    yield f"{'event loop’s thread':45}{found['loop'] / trades / 1e3:18.1f}"
    for step, label in STEPS.items():
        if step in steps:
            used, times = steps[step]
            yield f"{label:45}{used / trades / 1e3:18.1f}{times / seconds:16,.0f}"
    known = sum(steps[step][0] for step in list(STEPS)[:3])
    yield f"{'rest of that thread: kernel, event loop':45}{(found['loop'] - known) / trades / 1e3:18.1f}"


async def main() -> None:
    from bench.ingest_ours import main as collect

    steps = {step: used for step in STEPS if (used := _measure(step)) is not None}
    marks: list[tuple[int, int]] = []
    ended = asyncio.Event()

    def mark() -> None:
        marks.append((time.process_time_ns(), time.thread_time_ns()))
        if len(marks) == 1:
            for used in steps.values():
                used[:] = [0, 0]
        else:
            ended.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, mark)
    work = asyncio.ensure_future(collect("native", *sys.argv[1:]))
    await ended.wait()
    process, loop = (new - old for old, new in zip(*marks, strict=True))
    print(json.dumps({"process": process, "loop": loop, "steps": steps}), flush=True)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


def _measure(step: str) -> list[int] | None:
    """Count a function's time, in nanoseconds, and its calls from now on; None where there is no such function."""
    module, _, path = step.partition(":")
    try:
        owner: Any = __import__(module, fromlist=["_"])
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        function: Callable[..., Any] = getattr(owner, name)
    except (ImportError, AttributeError):
        return None
    used, clock = [0, 0], time.thread_time_ns

    def measured(*given: Any, **named: Any) -> Any:
        began = clock()
        try:
            return function(*given, **named)
        finally:
            used[0] += clock() - began
            used[1] += 1

    setattr(owner, name, measured)
    return used


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
