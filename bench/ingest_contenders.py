"""Who is compared in `bench.ingest`: how each is started, and what it stored."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.ingest_ours import HAS_NATIVE
from collection.records import Trade
from collection.storage import RedisStorage
from collection.storage.redis_server import call, connect

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".bench"
CRYPTOFEED = "2.4.1"


class Contender(ABC):
    """A program that brings the trades of markets from the exchange at `host:port` to the Redis at a URL."""

    name: str
    label: str
    kind: str
    """How its streams are read: `ours`, or the format of its streams' keys."""
    program: Sequence[str]

    def start(self, folder: Path, address: str, url: str, names: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start it in a folder, where its output goes to `log`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COLLECTION_")}
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                [*self.program, address, url, *names],
                cwd=folder,
                env={**environment, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @abstractmethod
    def stored(self, url: str, names: Sequence[str]) -> int:
        """How many trades are stored."""

    @abstractmethod
    def ids(self, url: str, name: str) -> list[int]:
        """The ids that are stored of a market."""


class Ours(Contender):
    kind = "ours"

    def __init__(self, client: str) -> None:
        self.name, self.label = client, f"ours, {client} client"
        self.program = (sys.executable, "-m", "bench.ingest_ours", client)

    def stored(self, url: str, names: Sequence[str]) -> int:
        with RedisStorage(url) as storage:
            return sum(storage.counters(f"trades:binance:{name}").get("new", 0) for name in names)

    def ids(self, url: str, name: str) -> list[int]:
        with RedisStorage(url) as storage:
            found = storage.fetch(f"trades:binance:{name}")
        return [int(trade.id) for _, trade in found if isinstance(trade, Trade)]


class Streams(Contender):
    """One that adds each trade to a Redis stream, its id in the field `id`."""

    def __init__(self, name: str, label: str, kind: str, program: Sequence[str]) -> None:
        self.name, self.label, self.kind, self.program = name, label, kind, program

    def stored(self, url: str, names: Sequence[str]) -> int:
        with connect(url) as client:
            return sum(int(call(client, "XLEN", stream_key(self.kind, name))) for name in names)

    def ids(self, url: str, name: str) -> list[int]:
        with connect(url) as client:
            client.set_response_callback("XRANGE", as_it_is)
            return [trade_id(row) for row in call(client, "XRANGE", stream_key(self.kind, name), "-", "+")]


def stream_key(kind: str, name: str) -> str:
    """Return the key of a market's stream."""
    return kind.format(name, name.replace("/", "-"))


def trade_id(row: tuple[bytes, list[bytes]]) -> int:
    """Return the id of a trade in a stream, as Redis answers it."""
    fields = row[1]
    return int(fields[fields.index(b"id") + 1])


def as_it_is(answer: Any, **_: Any) -> Any:
    return answer


def contenders(names: Sequence[str]) -> list[Contender]:
    """Return those that are asked for and can be had."""
    known: list[Contender] = []
    if "native" in names:
        if HAS_NATIVE:
            known.append(Ours("native"))
        else:
            print("there is no native client yet: left out")
    if "ccxt" in names:
        known.append(Ours("ccxt"))
    if "cryptofeed" in names and (python := _cryptofeed()):
        script = str(Path(__file__).with_name("ingest_cryptofeed.py"))
        known.append(Streams("cryptofeed", f"cryptofeed {CRYPTOFEED}", "trades-BINANCE-{1}", (str(python), script)))
    if "plain" in names:
        script = "bench.ingest_ccxt"
        known.append(Streams("plain", "ccxt.pro + XADD", "trades-binance-{0}", (sys.executable, "-m", script)))
    return known


def _cryptofeed() -> Path | None:
    """Return the Python of an environment of its own that has it, made once; None where it can't be installed."""
    folder = CACHE / f"cryptofeed-{CRYPTOFEED}-{sys.version_info.major}.{sys.version_info.minor}"
    python, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        print(f"installing cryptofeed {CRYPTOFEED} into {folder.relative_to(ROOT)} …", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        pip = f"{python} -m pip --disable-pip-version-check --quiet install".split()
        wanted = ["-c", str(ROOT / "constraints.txt"), f"cryptofeed=={CRYPTOFEED}", "redis[hiredis]", "uvloop"]
        installed = subprocess.run([*pip, *wanted], capture_output=True, text=True)
        if installed.returncode:
            print(f"cryptofeed can't be installed, and is left out: {installed.stderr.strip()[-500:]}")
            return None
        done.touch()
    return python
