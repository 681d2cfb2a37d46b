"""The server of a folder and its owner: start, take over, watch, stop."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from collection.embedded.binaries import find_server
from collection.embedded.health import ServerEnded, Vitals, wait_ready
from collection.embedded.lock import FileLock
from collection.embedded.occupant import find_survivor, has_server, start_on_data
from collection.embedded.place import Place, make_private
from collection.embedded.process import last_words, size
from collection.embedded.state import State, load_state, new_state, save_state
from collection.embedded.trial import Binary, forget
from collection.errors import ConfigurationError

_KILL = 10.0
_UNKNOWN_CODE = 255


class EmbeddedRedis:
    """The Redis server of a folder, owned by this process from `start` to `stop`.

    The data are in `folder`/redis, append-only and synced every second, and stay. The server listens on a Unix socket
    only; URL and password are the same at each start. It survives an owner who's killed: the next one takes it over.

    `modules=False` runs a server without TimeSeries. `server` and `module` name the files to use, see `find_server`.
    `patience` is how many seconds the data may take to load; `on_progress` is told in words what takes long.
    """

    def __init__(
        self,
        folder: Path | str = ".collection",
        *,
        modules: bool = True,
        server: Path | str | None = None,
        module: Path | str | None = None,
        patience: float = 600.0,
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._place = Place.of(folder)
        self._modules = modules
        self._find: Callable[[], Binary] = lambda: find_server(
            server=server, module=module, modules=modules, on_progress=on_progress
        )
        self._patience = patience
        self._on_progress = on_progress
        self._owner = FileLock(self._place.owner_lock)
        self._binary: Binary | None = None
        self._state: State | None = None
        self._pid: int | None = None

    @property
    def url(self) -> str:
        """The URL for redis-py, `unix://:PASSWORD@/path/redis.sock?db=0`; raises ValueError before the first start."""
        return self._started().url

    @property
    def pid(self) -> int | None:
        """The server's process, None while this object runs none."""
        return self._pid

    @property
    def adopted(self) -> bool:
        """Whether the server was started by an earlier owner; `process` is None then."""
        return self._pid is not None and self.process is None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the server, or take over one whose owner died, and wait until it has its data and answers.

        Does nothing while it runs; after its death it starts it anew under the same URL. Raises ConfigurationError
        where another process owns the folder, the folder can't be used, no server is found or it ends at once (with
        its last words), and StorageUnavailable where it isn't ready in time.
        """
        if self._owner.held and self._pid is not None and self.poll() is None:
            return self
        owned = self._owner.held
        self._place.prepare()
        self._own()
        try:
            self._state = new_state(self._place, load_state(self._place))
            make_private(Path(self._state.socket).parent)
            # Before the server: who takes it over after a kill at any moment needs the password.
            self._save(None)
            self._save(self._take_over() or self._launch())
        except BaseException:
            self._end(_KILL)
            if not owned:
                self._owner.release()
            raise
        return self

    def poll(self) -> int | None:
        """The return code of the server that ended, None while it runs.

        The code of a server that was taken over can't be known and is given as 255, as is that of one never started.
        """
        if self._pid is None:
            return _UNKNOWN_CODE
        if self.process is not None:
            return self.process.poll()
        return None if has_server(self._place) else _UNKNOWN_CODE

    def stop(self, patience: float = 30.0) -> None:
        """Stop the server, killing it after `patience` seconds, and give the folder up.

        Does nothing where this process doesn't own the server, such as in a forked child.
        """
        if not self._owner.held:
            return
        try:
            self._end(patience)
            if self._state is not None:
                with contextlib.suppress(ConfigurationError):  # a full disk must not keep the folder owned
                    self._save(None)
                if Path(self._state.socket).parent != self._place.data:
                    with contextlib.suppress(OSError):
                        Path(self._state.socket).parent.rmdir()
        finally:
            self._owner.release()

    def _own(self) -> None:
        if self._owner.acquire(_this_process()):
            return
        raise ConfigurationError(
            f"{self._place.folder}: its Redis server belongs to {self._owner.signature() or 'another process'}. "
            "Read from it with `collection query`, use another folder, or stop that process."
        )

    def _save(self, pid: int | None) -> None:
        if self._state is not None:
            self._pid = pid
            self._state = State(password=self._state.password, socket=self._state.socket, pid=pid)
            save_state(self._place, self._state)

    def _take_over(self) -> int | None:
        """The process of a server that outlived its owner, None where there's none (or it lacked the modules)."""
        while found := find_survivor(self._place, self._started()):
            self.process, self._pid = None, found.pid
            if not self._modules or "timeseries" in self._ready().modules:
                return found.pid
            self._end(_KILL)
        return None

    def _launch(self) -> int:
        self._binary = self._binary or self._find()
        begin = size(self._place.log)
        self.process = start_on_data(self._place, self._started(), self._binary)
        self._pid = self.process.pid
        try:
            self._ready()
        except ServerEnded as error:
            problem = f"{self._binary}: {error} at its start; its last words in {self._place.log}:"
            words = last_words(self._place.log, begin, self._started().password)
            forget(self._binary)
            self._binary = None
            raise ConfigurationError(problem, *words) from error
        return self._pid

    def _ready(self) -> Vitals:
        state = self._started()
        return wait_ready(state.socket, state.password, self.poll, self._patience, self._on_progress)

    def _started(self) -> State:
        if self._state is None:
            raise ValueError("The server was not started yet")
        return self._state

    def _end(self, patience: float) -> None:
        """Ask the process to end, then make it."""
        for kind, limit in ((signal.SIGTERM, patience), (signal.SIGKILL, _KILL)):
            deadline = time.monotonic() + limit
            if self._pid is not None and self.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, kind)
            while self.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
        self.process, self._pid = None, None


def _this_process() -> str:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    return f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC ({command})"
