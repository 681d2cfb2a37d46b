"""Where a case takes place: a Redis, a simulated exchange and real Celery processes, watched and judged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from beat_schedule.schedule import TICK
from collection.errors import CollectionError
from collection.simulator import Simulator
from collection.storage import RedisStorage
from collection.storage.redis_server import connect
from tests.chaos.watch import Watch
from tests.conftest import ROOT
from tests.end_to_end.conftest import FEED, free_port
from tests.end_to_end.judge import faults_of, get, misbehave, missing, truth
from tests.end_to_end.nodes import Nodes, RedisNode
from workers.assignments import TTL, Assignments, View

RATE = 20.0
"""Trades a second of each market."""
TAKEOVER = TTL + TICK + 2
"""Seconds in which others take over what a worker ran that died."""
JOINED = 60.0
"""Seconds in which all holes must be closed when the storm is over."""


class Verdict(AssertionError):
    """The collection broke a promise; any other error is one of the suite's own."""


class Recovery(NamedTuple):
    """What a case measured."""

    seconds: float
    limit: float
    """What is promised."""
    what: str = "until data flows again"

    def judge(self) -> None:
        """Raise Verdict where it took too long."""
        if self.seconds > self.limit:
            raise Verdict(f"{self.seconds:.1f} s {self.what}, {self.limit:g} s are promised")


Case = Callable[["Place"], Awaitable[Recovery]]


class Place:
    """Everything of one case lies in `folder`; with `weakness` its Celery processes lack one safeguard."""

    def __init__(self, folder: Path, weakness: str = "") -> None:
        self.folder = folder
        self.redis = RedisNode(folder / "own")
        self.store = RedisStorage(self.redis.url)
        self.assignments = Assignments(connect(self.redis.url))
        self.port = free_port()
        exchange = {
            "urls": Simulator(markets=["ANY/ONE"], port=self.port).ccxt_urls(),
            "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
            "transport": "stream",
        }
        variables = {
            "COLLECTION_URL": self.redis.url,
            "COLLECTION_FEEDS": "feeds.toml",
            "COLLECTION_START": "earliest",
            "COLLECTION_EXCHANGES": json.dumps({"binance": exchange}),
            "PYTHONPATH": str(ROOT),
        }
        celery = ["tests.chaos.weakened", weakness] if weakness else ["celery"]
        self.nodes = Nodes(folder, variables, celery)
        self.markets: list[str] = []
        self.workers: list[Any] = []
        """The nodes that streams are placed on."""
        self.beats: list[Any] = []
        self.control: Any = None
        """The node that polls and supervises."""
        self._watch: Watch | None = None

    async def start(
        self, *, markets: int = 4, workers: int = 2, beats: int = 1, first: Mapping[str, str] | None = None
    ) -> None:
        """Start the processes and wait until every market flows; `first` are variables of the first stream worker."""
        self.markets = [f"M{number:02}/USDT" for number in range(markets)]
        (self.folder / "feeds.toml").write_text("".join(FEED.format(market) for market in self.markets))
        named = [argument for market in self.markets for argument in ("--market", market)]
        options = ["--rate", str(RATE), "--port", str(self.port), "--state", "simulator.json"]
        nodes, run = self.nodes, asyncio.to_thread
        _, self.control, self.workers, self.beats = await asyncio.gather(
            run(nodes.simulator, *named, *options),
            run(nodes.worker, "control"),
            asyncio.gather(
                *(run(nodes.streams, f"streams{n + 1}", variables={} if n else first) for n in range(workers))
            ),
            asyncio.gather(*(run(nodes.beat, f"beat{n + 1}") for n in range(beats))),
        )
        self._watch = Watch(self.redis.url, self.keys)
        self._watch.start()
        try:
            await self.flowing(0, 30)
        except Verdict as error:
            raise RuntimeError(f"it did not even begin: {error}") from error

    @property
    def keys(self) -> list[str]:
        return [f"trades:binance:{market}" for market in self.markets]

    @property
    def watch(self) -> Watch:
        assert self._watch is not None
        return self._watch

    async def misbehave(self, **faults: float) -> None:
        """Have the exchange make these faults, and no others."""
        await asyncio.to_thread(misbehave, self.port, faults)

    async def made(self, fault: str) -> int:
        """How often the exchange made a fault so far."""
        told = await asyncio.to_thread(get, f"http://127.0.0.1:{self.port}/_faults")
        return int(told["counts"].get(fault, 0))

    async def until(self, condition: Callable[[], bool], seconds: float, promise: str) -> None:
        """Wait for what was promised; what Redis does not answer is not so yet. Raises Verdict."""
        end = time.monotonic() + seconds
        while True:
            try:
                if await asyncio.to_thread(condition):
                    return
            except CollectionError:
                pass
            if time.monotonic() > end:
                raise Verdict(f"not within {seconds:g} s: {promise}")
            await asyncio.sleep(0.02)

    async def flowing(self, since: float, seconds: float = 60.0) -> float:
        """Wait until data of after `since` (Unix time) flow in every market; returns the seconds that it took."""
        watch = self.watch
        await self.until(lambda: all(watch.flows_since(key, since) for key in self.keys), seconds, "data flow")
        return max(watch.flows_since(key, since) or 0.0 for key in self.keys) - since

    def view(self) -> View:
        return self.assignments.view()

    async def judge(self) -> None:
        """Raise Verdict unless all that was published by now is stored, and all is as it should be."""
        dead = [node.name() for node in self.nodes.all if node.container.status != "running"]
        if dead:
            raise Verdict(f"ended: {', '.join(dead)}")
        published = {market: await asyncio.to_thread(truth, self.port, market) for market in self.markets}
        with contextlib.suppress(Verdict):  # what is wrong then is told one by one
            await self.until(lambda: all(map(self._complete, published.values())), JOINED, "all is complete")
        told = [await asyncio.to_thread(faults_of, self.store, one) for one in published.values()]
        if wrong := [fault for faults in told for fault in faults]:
            raise Verdict("; ".join(wrong))
        once = {f"{market.replace('/', '').lower()}@aggTrade": 1 for market in self.markets}
        url = f"http://127.0.0.1:{self.port}/_streams"
        await self.until(lambda: get(url) == once, 20, "each market is listened to once")

    def _complete(self, published: Mapping[str, Any]) -> bool:
        return not missing(self.store, published)

    def close(self) -> None:
        if self._watch:
            self._watch.stop()
        self.nodes.destroy()
        self.store.close()
        self.redis.teardown()
