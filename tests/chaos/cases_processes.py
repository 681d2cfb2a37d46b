"""Workers and beats that die, freeze, restart, come and go, or whose clock is wrong."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from beat_schedule.scheduler import TTL as BEAT_LEASE
from tests.chaos.place import TAKEOVER, Place, Recovery, Verdict

NO_SILENCE = 1.0


async def kill_worker(place: Place) -> Recovery:
    """`kill -9` of a stream worker"""
    await place.start()
    victim = place.workers[0]
    victim.kill()
    seconds = await place.flowing(time.time())
    victim.restart()
    await place.judge()
    return Recovery(seconds, TAKEOVER)


async def freeze_worker(place: Place) -> Recovery:
    """a stream worker frozen for longer than its lease, then going on"""
    await place.start()
    victim = place.workers[0]
    victim.kill("SIGSTOP")
    began = time.time()
    seconds = await place.flowing(began)
    await asyncio.sleep(3)
    victim.kill("SIGCONT")
    await place.judge()
    return Recovery(seconds, TAKEOVER)


async def rolling_restart(place: Place) -> Recovery:
    """SIGTERM: rolling restart of all stream workers"""
    await place.start(markets=6, workers=3)
    place.watch.begin()
    for worker in place.workers:
        await asyncio.to_thread(worker.kill, "SIGTERM")
        if worker.container.returncode != 0:
            raise Verdict(f"{worker.name()} ended with code {worker.container.returncode}")
        worker.restart()
        await place.until(lambda worker=worker: _takes_streams(place, worker), 30, "it is back")  # type: ignore[misc]
    silence = place.watch.longest
    await place.judge()
    return Recovery(silence, NO_SILENCE, "of silence in a market, at the longest")


async def kill_beat(place: Place) -> Recovery:
    """`kill -9` of one of two beats, the one that sends"""
    await place.start(beats=2)
    await place.until(lambda: any(_sends(beat) for beat in place.beats), 15, "one beat sends")
    first, second = sorted(place.beats, key=_sends, reverse=True)
    place.watch.begin()
    first.kill()
    began = time.time()
    await place.until(lambda: _sends(second), 30, "the other beat sends")
    seconds = time.time() - began
    first.restart()
    if place.watch.longest > NO_SILENCE:
        raise Verdict(f"{place.watch.longest:.1f} s of silence without a beat")
    await place.judge()
    return Recovery(seconds, BEAT_LEASE + 2, "until the other one sends")


async def join_and_leave(place: Place) -> Recovery:
    """a stream worker joins under load, and leaves again"""
    await place.start(markets=12)
    place.watch.begin()
    joiner = await asyncio.to_thread(place.nodes.streams, "joiner")
    began = time.time()
    await place.until(lambda: _even(place, 3), 60, "load is even over three")
    joined = time.time() - began
    await asyncio.to_thread(joiner.kill, "SIGTERM")
    place.nodes.all.remove(joiner)
    began = time.time()
    await place.until(lambda: _even(place, 2), 60, "load is even over two")
    left = time.time() - began
    if place.watch.longest > NO_SILENCE:
        raise Verdict(f"{place.watch.longest:.1f} s of silence in a market")
    await place.judge()
    return Recovery(max(joined, left), 60, "until load is even")


async def clock_jumps(place: Place) -> Recovery:
    """a stream worker's clock jumps by an hour, forth and back"""
    clock = place.folder / "clock"
    clock.write_text("+0")
    await place.start(first=_clock_of(clock))
    seconds = 0.0
    for offset in ("+3600", "-3600", "+0"):
        clock.write_text(offset)
        seconds = max(seconds, await place.flowing(time.time()))
        await asyncio.sleep(10)
        await place.judge()
    return Recovery(seconds, 5)


def _clock_of(file: Path) -> dict[str, str]:
    """Variables of a process whose wall clock is off by what the file says."""
    package = importlib.util.find_spec("libfaketime")
    if package is None or package.origin is None:
        pytest.skip("libfaketime is not there for this platform")
    library = Path(package.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def _takes_streams(place: Place, worker: Any) -> bool:
    return any(name.startswith(f"{worker.name()}@") and not w.draining for name, w in place.view().workers.items())


def _sends(beat: Any) -> bool:
    return "this one sends" in beat.logs()


def _even(place: Place, workers: int) -> bool:
    view = place.view()
    loads = Counter(dict.fromkeys(view.workers, 0))
    loads.update(lease.node for lease in view.leases.values() if lease.state == "running")
    spread = max(loads.values()) - min(loads.values())
    whole = len(loads) == workers and loads.total() == len(place.markets) and not view.next
    return whole and spread <= max(1, 0.1 * loads.total() / workers)
