"""One redis-server process: what it's told, how it's started, and what it said."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_DURABLE = """\
appendonly yes
appendfsync everysec
aof-use-rdb-preamble yes
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
"""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a server is started with. `lock` is an open locked file which the server holds as long as it lives."""

    server: Path
    module: Path | None
    data: Path
    socket: str
    password: str
    log: Path
    durable: bool = True
    lock: int | None = None

    def configuration(self) -> str:
        """The server's configuration: given through stdin, so that no secret is in its arguments or environment."""
        lines = [
            "port 0",
            f"unixsocket {_quoted(self.socket)}",
            "unixsocketperm 600",
            f"requirepass {self.password}",
            f"dir {_quoted(self.data)}",
            f"logfile {_quoted(self.log)}",
            "daemonize no",
            'save ""',
            "maxmemory-policy noeviction",
        ]
        if self.module is not None:
            lines.append(f"loadmodule {_quoted(self.module)}")
        return "\n".join(lines) + "\n" + (_DURABLE if self.durable else "appendonly no\n")

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the process, in its own session: Ctrl-C in the terminal is for the owner. Raises OSError."""
        # A file, not a pipe: an owner killed half way through would leave a server with half a configuration,
        # which is one on TCP port 6379 without a password.
        with tempfile.TemporaryFile(dir=self.data) as stdin, _appending(self.log) as log:
            stdin.write(self.configuration().encode())
            stdin.seek(0)
            return subprocess.Popen(
                [self.server, "-"],
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.data,
                env=_environment(),
                start_new_session=True,
                pass_fds=() if self.lock is None else (self.lock,),
            )


def last_words(log: Path, since: int, password: str, lines: int = 12) -> list[str]:
    """The last lines that a server wrote to its log after byte `since`, without the password."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.replace(password, "…").splitlines() if line.strip()][-lines:]


def size(log: Path) -> int:
    """The length of the log in bytes, 0 where there's none."""
    return log.stat().st_size if log.exists() else 0


def _appending(log: Path) -> BinaryIO:
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _environment() -> dict[str, str]:
    # Nothing of ours is the server's business, and it refuses to start in a locale that the machine lacks.
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}


def _quoted(path: Path | str) -> str:
    """A path in redis.conf's notation, whatever it's made of."""
    return (
        '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in os.fsencode(path)) + '"'
    )
