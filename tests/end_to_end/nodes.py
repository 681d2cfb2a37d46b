"""Local processes as pytest-celery nodes: what its containers are elsewhere, without a container engine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_celery import CeleryTestCluster, CeleryTestNode, CeleryTestWorker

from collection.embedded import EmbeddedRedis
from collection.storage.redis_server import connect

_NOT_ENDING = (signal.SIGSTOP, signal.SIGCONT)


class LocalProcess:
    """One process with the part of a container's interface that nodes use."""

    def __init__(self, name: str, arguments: list[str], variables: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self._arguments = [sys.executable, "-m", *arguments]
        self._environment = {**os.environ, **variables, "PYTHONUNBUFFERED": "1"}
        self._folder = folder
        self._log = folder / f"{name}.log"
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._arguments,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def id(self) -> str:
        return str(self._process.pid)

    @property
    def status(self) -> str:
        return "running" if self._process.poll() is None else "exited"

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def logs(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self, signal: str | int = "SIGKILL") -> None:
        number = getattr(__import__("signal"), signal) if isinstance(signal, str) else signal
        self._process.send_signal(number)
        if number not in _NOT_ENDING:
            self._process.wait(40)

    def restart(self, timeout: float = 30) -> None:
        self.teardown()
        self._process = self._start()

    def reload(self) -> None:
        """A process is always as it is."""

    def teardown(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.destroy()

    def destroy(self) -> None:
        """End it without asking, whatever state it is in."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Nodes:
    """Starts nodes in one folder with one set of variables, and ends them all."""

    def __init__(self, folder: Path, variables: Mapping[str, str], celery: Sequence[str] = ("celery",)) -> None:
        self._folder = folder
        self.variables = dict(variables)
        self._celery = celery
        self.all: list[Any] = []

    def worker(self, name: str = "worker") -> CeleryTestWorker:
        return self._worker(name, "-Q", "polls,control,backfill,quotes")

    def streams(self, name: str, concurrency: int = 20, variables: Mapping[str, str] | None = None) -> CeleryTestWorker:
        """A worker that streams are placed on."""
        return self._worker(name, "-Q", "streams", "-c", str(concurrency), variables=variables)

    def _worker(self, name: str, *arguments: str, variables: Mapping[str, str] | None = None) -> CeleryTestWorker:
        command = [*self._celery, "-A", "workers", "worker", *arguments, "-l", "info", "-n", f"{name}@%h"]
        return self._add(CeleryTestWorker, name, command, ready="ready.", variables=variables)

    def beat(self, name: str = "beat", app: str = "beat_schedule") -> CeleryTestNode:
        command = [*self._celery, "-A", app, "beat", "-l", "info"]
        return self._add(CeleryTestNode, name, command, ready="beat: Starting...")

    def flower(self, port: int) -> CeleryTestNode:
        return self._add(CeleryTestNode, "flower", ["celery", "-A", "workers", "flower", f"--port={port}"])

    def daemon(self) -> CeleryTestNode:
        return self._add(CeleryTestNode, "daemon", ["workers.cli", "run", "feeds.toml"], ready="collectors run")

    def simulator(self, *arguments: str) -> CeleryTestNode:
        return self._add(CeleryTestNode, "simulator", ["workers.cli", "simulate", *arguments], ready=" at http://")

    def _add(
        self,
        kind: Any,
        name: str,
        command: list[str],
        ready: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Any:
        node = kind(LocalProcess(name, command, {**self.variables, **(variables or {})}, self._folder), None)
        self.all.append(node)
        if ready:
            node.assert_log_exists(ready, timeout=30)
        return node

    def cluster(self) -> CeleryTestCluster:
        """All nodes started so far."""
        return CeleryTestCluster(self.all)

    def teardown(self) -> None:
        for node in self.all:
            node.teardown()

    def destroy(self) -> None:
        """End all nodes without asking."""
        for node in self.all:
            node.container.destroy()


class RedisNode:
    """A Redis of its own, with its append-only file on, to which anything may happen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = EmbeddedRedis(folder).start()

    @property
    def url(self) -> str:
        return self._server.url

    def kill(self) -> None:
        assert self._server.process is not None
        self._server.process.kill()
        self._server.process.wait()

    def start(self) -> None:
        """Start it after its death, with what it had on disk."""
        self._server.start()

    def forget(self) -> None:
        """Remove what it has on disk, as if it were not durable."""
        shutil.rmtree(self._folder / "redis" / "appendonlydir")

    def freeze(self) -> None:
        assert self._server.pid is not None
        os.kill(self._server.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._server.pid is not None
        os.kill(self._server.pid, signal.SIGCONT)

    def fill(self) -> None:
        """Leave it no room for anything more, nor if some is freed."""
        with connect(self.url) as client:
            client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)

    def make_room(self) -> None:
        with connect(self.url) as client:
            client.config_set("maxmemory", 0)

    def teardown(self) -> None:
        if self._server.poll() is None:
            self.thaw()
        self._server.stop()
