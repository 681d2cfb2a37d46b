"""`collection up`: all processes on this machine, watched and started again, until stopped."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.text import Text

from collection.embedded import EmbeddedRedis
from collection.errors import CollectionError, ConfigurationError
from collection.local import claim
from collection.output import err, out, tell
from collection.records import digest
from collection.retention import check_starts
from collection.settings import FOLDER, current
from collection.storage import DataCollectionStorage, open_storage
from workers.children import Child
from workers.dashboard import Dashboard
from workers.plan import Plan

STOPPED = ("beat", "streams", "worker", "flower")
LOOK = 0.2
"""Seconds between two looks at the children."""


def run_up(plan: Plan, duration: float | None) -> bool:
    """Run what the plan says until Ctrl-C, SIGTERM or the end of `duration` seconds.

    Returns whether all that a simulated exchange published is stored, True where there is none.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    with _redis() as redis, open_storage(redis.url if redis else current().storage()) as storage:
        if not plan.simulator:
            check_starts(storage, plan.collectors, current().start, current().retention.model_dump(), time.time())
        claim(storage, plan.sources)
        try:
            if not _start(plan, stop):
                return True
            _watch(plan, redis, storage, stop, time.monotonic() + duration if duration else None)
            tell("stopping …")
            # Beat first, so that no new work comes; the worker ends what it does; the rest has nothing left to do.
            for child in sorted(plan.children, key=lambda child: STOPPED.index(child.name)):
                child.stop()
            return not plan.simulator_url or _audit(plan, plan.simulator_url, storage)
        finally:
            for child in (*plan.children, *([plan.simulator] if plan.simulator else [])):
                child.stop(3)


@contextlib.contextmanager
def _redis() -> Iterator[EmbeddedRedis | None]:
    """Run this folder's Redis, unless the settings name another."""
    if current().url or (current().storage_url and current().broker_url):
        current().broker()  # a cluster can't be one: better said here than by each process in its log
        yield None
        return
    with EmbeddedRedis(FOLDER, on_progress=tell) as server:
        yield server


def _start(plan: Plan, stop: threading.Event) -> bool:
    """Start all processes; False where it was stopped meanwhile."""
    if plan.simulator and plan.simulator_url:
        plan.simulator.start()
        until = time.monotonic() + 30
        while not stop.is_set() and not _answers(f"{plan.simulator_url}/api/v3/ping"):
            if plan.simulator.pid is None or time.monotonic() > until:
                raise ConfigurationError(f"the simulator does not start:\n{_tail(plan.simulator)}")
            stop.wait(0.05)
    if not stop.is_set():
        for child in plan.children:
            child.start()
    return not stop.is_set()


def _watch(
    plan: Plan, redis: EmbeddedRedis | None, storage: DataCollectionStorage, stop: threading.Event, until: float | None
) -> None:
    dashboard = Dashboard(storage, plan.collectors)
    sampler = threading.Thread(target=_sample, args=(dashboard, stop), daemon=True)
    sampler.start()
    watched = [*plan.children, *([plan.simulator] if plan.simulator else [])]
    tell(f"{len(plan.collectors)} collectors · Flower {plan.flower_url} · logs {FOLDER / 'logs'} · Ctrl-C stops")
    said = time.monotonic()
    live = Live(console=out, auto_refresh=False, transient=False) if out.is_terminal else None
    with live or contextlib.nullcontext():
        while not stop.wait(LOOK) and (until is None or time.monotonic() < until):
            for line in _mend(watched, redis):
                (live.console if live else err).print(line, markup=False, style="yellow", soft_wrap=True)
            if live:
                live.update(
                    Group(dashboard.table(_title(plan, watched)), Text(dashboard.trouble, style="red")), refresh=True
                )
            elif time.monotonic() - said >= 5:
                said = time.monotonic()
                tell(dashboard.trouble or dashboard.line())
    stop.set()
    sampler.join(10)


def _sample(dashboard: Dashboard, stop: threading.Event) -> None:
    while not stop.is_set():
        dashboard.sample()
        stop.wait(1)


def _mend(watched: list[Child], redis: EmbeddedRedis | None) -> Iterator[str]:
    if redis and (code := redis.poll()) is not None:
        yield f"Redis ended with code {code}; starting it again"
        try:
            redis.start()
        except CollectionError as error:
            yield f"Redis does not start: {error}"
    for child in watched:
        if line := child.look():
            yield line


def _title(plan: Plan, watched: list[Child]) -> str:
    parts = [f"{c.name} {'✓' if c.pid else '✗'}" + (f" ({c.restarts} restarts)" if c.restarts else "") for c in watched]
    return f"{' · '.join(parts)} · Flower {plan.flower_url}"


def _audit(plan: Plan, url: str, storage: DataCollectionStorage) -> bool:
    """Hold what is covered against what the simulated exchange says it published, and say so."""
    equal = True
    for key in plan.collectors:
        truth = f"{url}/_truth/{urllib.parse.quote(key.split(':', 2)[2], safe='')}"
        trades = sorted((trade for _, trade in storage.fetch(key)), key=lambda trade: int(trade.id))
        covered = 0
        same = True
        for after, upto in storage.coverage(key).intervals:
            ours = [trade for trade in trades if after < int(trade.id) <= upto]
            told = _get(f"{truth}?after={after}&until={upto}")
            same &= (told["count"], told["digest"]) == (len(ours), digest(ours))
            covered += len(ours)
        if not covered:
            out.print(f"{key}: nothing stored yet", style="yellow")
            continue
        equal &= same
        # What was published after the end is not lost: the next run reads on from there, and what lies in gaps.
        unread = _get(f"{truth}?until={trades[-1].id}")["count"] - covered
        verdict = "equal to what was published" if same else "NOT equal to what was published"
        out.print(
            f"{key}: {covered:,} trades stored, {verdict}"
            + (f"; {unread:,} before the last are yet to be read" if unread else ""),
            style=("yellow" if unread else "green") if same else "red",
        )
    return equal


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def _answers(url: str) -> bool:
    try:
        _get(url)
    except (OSError, ValueError):
        return False
    return True


def _tail(child: Child) -> str:
    lines = child.log.read_text(errors="replace").splitlines() if child.log.exists() else []
    return "\n".join(lines[-5:])
