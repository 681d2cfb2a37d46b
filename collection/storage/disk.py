"""Files that are written through to the disk, and folders that belong to one process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


def append_synced(path: Path, data: bytes) -> None:
    """Append to a file, or make it, and return once that is durable.

    Raises OSError; then nothing was added, as far as the disk can still be told so.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
            if not before:
                sync_folder(path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, before)
                if not before:
                    path.unlink()
            raise
    finally:
        os.close(descriptor)


def lock(folder: Path) -> int | None:
    """Lock a folder; returns the descriptor that holds the lock until it is closed, None where it can't be had.

    The folder itself is locked: a file in it could be deleted by one and made anew by another who then both had it.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == folder.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_size(path: Path) -> int:
    """Bytes of a file that somebody may delete; 0 where it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def listed(folder: Path, pattern: str) -> list[Path]:
    """Return what a glob finds, in order, though folders may be deleted while it looks."""
    for _ in range(10):
        with contextlib.suppress(FileNotFoundError):
            return sorted(folder.glob(pattern))
    return []
