"""A wire to Redis that is cut where it is told to: within, before or after a script call."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

How = Literal["before", "within", "after", "kill"]
"""Whether the call gets to the server not at all, half, whole, or whole and the server dies; no answer comes back."""
SCRIPTS = (b"EVALSHA", b"EVAL")


class CuttingProxy:
    """Listens at `url` and hands on to the server at another URL; both are unix sockets.

    `kill` is called where the server itself is to die of a call: it makes the call, kills, and returns when the server
    runs again.
    """

    def __init__(self, url: str, path: Path, kill: Callable[[Callable[[], None]], None]) -> None:
        parts = urlsplit(url)
        self.url = urlunsplit(parts._replace(path=str(path)))
        self._server = parts.path
        self._kill = kill
        self._left: int | None = None  # script calls until the wire is cut
        self._how: How = "before"
        self._refused = 0
        self._idle = threading.Event()  # or else it is being cut
        self._idle.set()
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, nth: int | None, how: How = "before", refused: int = 0) -> None:
        """Cut the wire at the n-th script call from now on, and refuse some connections then; None cuts no more.

        Returns once the cut before is done, and the server up again.
        """
        self._idle.wait()
        with self._lock:
            self._left, self._how, self._refused = nth, how, refused

    def close(self) -> None:
        """Take no more connections; those that are open end with their clients."""
        _shut(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            if self._is_refused():
                return
            server.connect(self._server)
            answers = threading.Thread(target=_copy, args=(server, client), daemon=True)
            answers.start()
            with client.makefile("rb") as stream:
                for name, command in _commands(stream):
                    if name in SCRIPTS and self._is_due():
                        try:
                            self._cut(command, client, server, answers)
                        finally:
                            self._idle.set()
                        return
                    server.sendall(command)
            _shut(server)

    def _is_refused(self) -> bool:
        with self._lock:
            refused = self._left is None and self._refused > 0
            self._refused -= refused
            return refused

    def _is_due(self) -> bool:
        with self._lock:
            if self._left is None:
                return False
            self._left -= 1
            if self._left > 0:
                return False
            self._left = None
            self._idle.clear()
            return True

    def _cut(self, command: bytes, client: socket.socket, server: socket.socket, answers: threading.Thread) -> None:
        _shut(client)
        if self._how == "kill":
            self._kill(lambda: server.sendall(command))
            return
        if self._how != "before":
            server.sendall(command[: len(command) // 2] if self._how == "within" else command)
        server.shutdown(socket.SHUT_WR)
        answers.join()  # the server has read all that it got


def _commands(stream: BufferedReader) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name of each command, and all of its bytes: *2 $4 ECHO $2 hi."""
    while head := stream.readline():
        parts, name = [head], b""
        for _ in range(int(head[1:])):
            length = stream.readline()
            argument = stream.read(int(length[1:]) + 2)
            parts += [length, argument]
            name = name or argument[:-2].upper()
        yield name, b"".join(parts)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            with contextlib.suppress(OSError):
                target.sendall(piece)
    _shut(target)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
