"""Child processes that are started again when they die, and stopped in order."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from collection.backoff import HEALTHY, Backoff

_PR_SET_PDEATHSIG = 1


class Child:
    """One child process with its log file; `look` starts it again, with backoff, when it has died.

    It inherits the environment, but for the variables whose names begin with `without`.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], variables: Mapping[str, str], log: Path, without: str = ""
    ) -> None:
        self.name = name
        self.log = log
        self.restarts = 0
        self._arguments = [sys.executable, "-m", *arguments]
        inherited = {name: value for name, value in os.environ.items() if not (without and name.startswith(without))}
        self._environment = {**inherited, **variables, "PYTHONUNBUFFERED": "1"}
        self._backoff = Backoff()
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._due = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start it; it ends when this process does, however that ends."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C goes to the parent alone, which stops all in order
                preexec_fn=partial(_end_with, os.getpid()) if sys.platform == "linux" else None,
            )
        self._began = time.monotonic()

    def look(self) -> str | None:
        """Start it again when it has died and its pause is over; returns what there is to say."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        now = time.monotonic()
        if not self._due:
            if now - self._began > HEALTHY:
                self._backoff.reset()
            self._due = now + self._backoff.next()
            return f"{self.name} ended with code {code}; started again in {self._due - now:.1f} s (see {self.log})"
        if now >= self._due:
            self._due = 0.0
            self.restarts += 1
            self.start()
        return None

    def stop(self, patience: float = 15.0) -> None:
        """End it: SIGTERM, and SIGKILL after `patience` seconds."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _end_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before it could be said
        os._exit(1)
