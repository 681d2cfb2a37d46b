"""The folders of the spool: which storage and which process they belong to."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from collection.storage.disk import lock, sync_folder

_LOGIN = ("password", "username")


class Folders:
    """The folder of this process, those of dead ones that it took over, and the locks on them. They raise OSError."""

    def __init__(self, root: Path, url: str) -> None:
        name, self._url = storage_name(url)
        self.storage = root / name
        """What all processes share."""
        self._root = root
        self._own: Path | None = None
        self._locks: dict[Path, int] = {}

    def own(self) -> Path:
        """Return the folder of this process; the first call makes it, as does one after it was deleted."""
        while self._own is None or not self._own.exists():
            self.storage.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.storage / "url").write_text(f"{self._url}\n")
            path = self.storage / f"{os.getpid()}-{secrets.token_hex(4)}"
            path.mkdir(mode=0o700)
            if (descriptor := lock(path)) is not None:  # else somebody thinks that it was left behind
                self._own, self._locks[path] = path, descriptor
                for folder in (self.storage, self._root, self._root.parent):
                    with contextlib.suppress(PermissionError):  # above us it may be closed to us
                        sync_folder(folder)
        return self._own

    def adopt(self) -> Sequence[Path]:
        """Take over the folders that no living process holds, and return them."""
        adopted = []
        for folder in self.storage.iterdir() if self.storage.exists() else ():
            if folder not in self._locks and folder.is_dir() and (descriptor := lock(folder)) is not None:
                self._locks[folder] = descriptor
                adopted.append(folder)
        return adopted

    def leave_empty(self, folder: Path) -> None:
        """Delete a folder if nothing is in it, unless it is the own one."""
        if folder != self._own and not any(folder.glob("*")):
            self._leave(folder)

    def leave_all(self) -> None:
        """Let go of all folders, and delete those that are empty."""
        for folder in list(self._locks):
            self._leave(folder)

    def _leave(self, folder: Path) -> None:
        with contextlib.suppress(OSError):
            folder.rmdir()
        if (descriptor := self._locks.pop(folder, None)) is not None:
            os.close(descriptor)


def storage_name(url: str) -> tuple[str, str]:
    """Return the name of the folder of the storage at a URL, and the URL without its login.

    The login is no part of the name: what waits still belongs to the storage when a password was changed.
    """
    parts = urlsplit(url)
    hosts, path = parts.netloc.rpartition("@")[2].lower(), parts.path
    if parts.scheme in ("redis", "rediss"):
        hosts, path = hosts if ":" in hosts.rpartition("]")[2] else f"{hosts}:6379", path if path != "/0" else ""
    query = sorted((name, value) for name, value in parse_qsl(parts.query) if not any(word in name for word in _LOGIN))
    bare = f"{parts.scheme}://{hosts}{path.rstrip('/')}" + (f"?{urlencode(query, safe='/')}" if query else "")
    return blake2b(bare.encode(), digest_size=8).hexdigest(), bare
