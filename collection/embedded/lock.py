"""Who owns a folder: an advisory lock that ends with the process, and the holder's name in its file."""

import contextlib
import fcntl
import os
import time
import weakref
from pathlib import Path

from collection.errors import ConfigurationError

_held: "weakref.WeakSet[FileLock]" = weakref.WeakSet()


class FileLock:
    """An exclusive flock on `path`. The file stays: unlinking it would let two processes lock two files of one name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object, in this process, holds the lock."""
        return self._descriptor is not None

    def acquire(self, name: str = "", wait: float = 0.0) -> bool:
        """Take the lock, waiting at most `wait` seconds, and leave `name`, if any, in the file for later ones.

        Returns whether it's taken; raises ConfigurationError where the file can't be opened or locked at all.
        """
        if self.held:
            return True
        deadline = time.monotonic() + wait
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(f"{self.path}: can't be written ({error.strerror})") from error
        try:
            while not _lock(descriptor, self.path):
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    return False
                time.sleep(0.05)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _held.add(self)
        if name:
            self.sign(name)
        return True

    def sign(self, name: str) -> None:
        """Write the holder's name, a single line, into the file."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # a full disk: the name only serves a message
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, name.encode(errors="replace"), 0)

    def signature(self) -> str:
        """The name that the last holder left, empty where there's none."""
        try:
            return self.path.read_text(errors="replace").strip()
        except OSError:
            return ""

    def descriptor(self) -> int:
        """The open file of a held lock, for a child process that shall hold it on."""
        if self._descriptor is None:
            raise ValueError(f"{self.path} is not locked by this process")
        return self._descriptor

    def release(self) -> None:
        """Let go. A child that was given the descriptor holds on: closing is not unlocking."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _held.discard(self)


def _lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ConfigurationError(f"{path}: this file system can't lock files ({error.strerror})") from error
    return True


def _let_go_in_child() -> None:
    """A forked child shares the lock: a worker that outlives the owner would keep the folder for nobody."""
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_child)
