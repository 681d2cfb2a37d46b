"""What `collection up` runs: which processes, with which settings."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from collection.data_collectors import CollectorFactory
from collection.errors import ConfigurationError
from collection.loading import load_data_source_collectors
from collection.local import REAL
from collection.settings import FOLDER, Settings, current
from collection.simulator import Simulator
from workers.children import Child
from workers.queues import BACKFILL, CONTROL, POLLS, QUOTES, STREAMS

DEMO_MARKETS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "ETH/BTC")
DEMO_FEEDS = FOLDER / "simulated-feeds.toml"
SIMULATED = "binance"
"""The exchange whose protocol the simulator speaks."""


class Simulation(NamedTuple):
    """What the simulated exchange publishes."""

    tapes: Mapping[str, Path]
    speed: float
    rate: float
    seed: int
    misbehave: str

    def source(self, market: str) -> str:
        """Say in words whose trades a market's are."""
        if market in self.tapes:
            sha = hashlib.sha256(self.tapes[market].read_bytes()).hexdigest()[:12]
            return f"tape {self.tapes[market].name} ({sha}) at speed {self.speed:g}"
        return f"the simulation with seed {self.seed} and rate {self.rate:g}"


class Plan(NamedTuple):
    """The processes of `collection up`."""

    feeds: Path
    collectors: list[str]
    sources: Mapping[str, str]
    simulator: Child | None
    simulator_url: str | None
    children: list[Child]
    flower_url: str


def make_plan(feeds: Path | None, simulation: Simulation | None, transport: str) -> Plan:
    """Work out what is to run; nothing is started.

    Raises:
        ConfigurationError: The feeds file is wrong, or what is asked for does not go together.
    """
    settings = current()
    variables: dict[str, str] = {}
    simulator = simulator_url = None
    if simulation:
        feeds, markets = _simulated_feeds(feeds, simulation)
        port = _free_port()
        simulator_url = f"http://127.0.0.1:{port}"
        simulator = _child("simulator", ["workers.cli", *_simulate_arguments(simulation, markets, port)], {})
        variables = _point_at(port, settings)
    feeds = feeds or settings.feeds
    if transport != "auto":
        variables["COLLECTION_EXCHANGES"] = _with_transport(variables, feeds, transport)
    variables["COLLECTION_FEEDS"] = str(feeds.resolve())
    as_children_will = _settings_with(variables)
    if simulator_url and (wrong := _beside_the_simulator(as_children_will, variables)):
        raise ConfigurationError(
            f"exchanges.{SIMULATED}.{wrong} is set and would bypass the simulation: unset it first"
        )
    factory = CollectorFactory(as_children_will)
    wanted = load_data_source_collectors(feeds, factory)
    collectors, streamed = [one.id for one in wanted], sum(one.interval is None for one in wanted)
    sources = {name: simulation.source(name.split(":", 2)[2]) if simulation else REAL for name in collectors}
    flower_port = _free_port(int(os.environ.get("FLOWER_PORT", "5555")))
    # What says how the real exchange is reached is no part of a simulation.
    without = f"COLLECTION_EXCHANGES__{SIMULATED.upper()}__" if simulation else ""
    processes = {
        "worker": ["workers", "worker", "-Q", f"{POLLS},{CONTROL},{BACKFILL},{QUOTES}", "-n", "polls@%h", "-l", "info"],
        "streams": ["workers", "worker", "-Q", STREAMS, "-n", "streams@%h", "-l", "info", "-c", f"{2 * streamed + 50}"],
        "beat": ["beat_schedule", "beat", "-l", "info"],
        "flower": ["workers", "flower", "--address=127.0.0.1", f"--port={flower_port}"],
    }
    children = [
        _child(name, ["celery", "--quiet", "-A", *rest], variables, without)
        for name, rest in processes.items()
        if streamed or name != "streams"
    ]
    return Plan(feeds, collectors, sources, simulator, simulator_url, children, f"http://127.0.0.1:{flower_port}")


def _child(name: str, arguments: list[str], variables: Mapping[str, str], without: str = "") -> Child:
    return Child(name, arguments, variables, FOLDER / "logs" / f"{name}.log", without)


def _settings_with(variables: Mapping[str, str]) -> Settings:
    """The settings as a child process will read them."""
    given: dict[str, Any] = {}
    if "COLLECTION_EXCHANGES" in variables:
        given["exchanges"] = json.loads(variables["COLLECTION_EXCHANGES"])
    return Settings(**given)


def _simulated_feeds(feeds: Path | None, simulation: Simulation) -> tuple[Path, list[str]]:
    """Return the feeds file, a demo one where none is given, and the markets to generate beside the tapes."""
    if feeds is None:
        markets = [] if simulation.tapes else list(DEMO_MARKETS)
        tables = [
            f'[[feeds]]\nname = "{market}"\ntype = "cex_trades"\n'
            f'exchange = "{SIMULATED}"\nmarket = "{market}"\nwindow = "5m"\n'
            for market in (*simulation.tapes, *markets)
        ]
        DEMO_FEEDS.parent.mkdir(parents=True, exist_ok=True)
        DEMO_FEEDS.write_text("\n".join(tables))
        return DEMO_FEEDS, markets
    wanted = [collector.id.split(":", 2) for collector in load_data_source_collectors(feeds)]
    wrong = [
        f"{feeds}: {':'.join(parts)}: the simulator speaks {SIMULATED}'s protocol only"
        for parts in wanted
        if parts[1] != SIMULATED
    ]
    if wrong:
        raise ConfigurationError(*wrong)
    return feeds, sorted({market for _, _, market in wanted} - set(simulation.tapes))


def _simulate_arguments(simulation: Simulation, markets: list[str], port: int) -> list[str]:
    tapes = [part for market, file in simulation.tapes.items() for part in ("--tape", f"{market}={file}")]
    generated = [part for market in markets for part in ("--market", market)]
    numbers = [
        f"--speed={simulation.speed}",
        f"--rate={simulation.rate}",
        f"--seed={simulation.seed}",
        f"--port={port}",
    ]
    state = f"--state={FOLDER / 'simulator.json'}"
    return ["simulate", *tapes, *generated, *numbers, state, f"--misbehave={simulation.misbehave}"]


def _point_at(port: int, settings: Settings) -> dict[str, str]:
    """Point the exchange at the simulator: its first trade on, polled every second, and all of it kept."""
    exchange: dict[str, Any] = {
        **dict.fromkeys(("proxy", "api_key", "secret", "password")),
        "urls": Simulator(markets=["ANY/ONE"], port=port).ccxt_urls(),
        "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
    }
    return {
        "COLLECTION_EXCHANGES": json.dumps({**_given_exchanges(), SIMULATED: exchange}),
        "COLLECTION_START": "earliest",
        "COLLECTION_RETENTION": json.dumps({"trades": "36500d"}),  # a tape may be of any length
        "COLLECTION_INTERVALS": json.dumps({"trades": min(1.0, settings.intervals.trades)}),
    }


def _beside_the_simulator(settings: Settings, variables: Mapping[str, str]) -> str | None:
    """Name a setting of the exchange that is not the simulator's own."""
    wanted = json.loads(variables["COLLECTION_EXCHANGES"])[SIMULATED]
    found = settings.exchange(SIMULATED)
    return next((name for name, value in wanted.items() if name != "transport" and getattr(found, name) != value), None)


def _with_transport(variables: Mapping[str, str], feeds: Path, transport: str) -> str:
    exchanges = json.loads(variables["COLLECTION_EXCHANGES"]) if variables else _given_exchanges()
    for collector in load_data_source_collectors(feeds):
        exchanges.setdefault(collector.id.split(":")[1], {})["transport"] = transport
    return json.dumps(exchanges)


def _given_exchanges() -> dict[str, Any]:
    """What the variable says already that the children's is to replace."""
    given: dict[str, Any] = json.loads(os.environ.get("COLLECTION_EXCHANGES", "{}"))
    return given


def _free_port(wanted: int = 0) -> int:
    """Return a free port, the wanted one if it is."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return _free_port()
        port: int = probe.getsockname()[1]
        return port
