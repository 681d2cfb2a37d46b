"""Where a server's files are, and that nobody else can read them."""

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from collection.errors import ConfigurationError

# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the closing zero included.
LONGEST_SOCKET = 107 if os.uname().sysname == "Linux" else 103


@dataclass(frozen=True, slots=True)
class Place:
    """The paths of the server of one folder."""

    folder: Path

    @classmethod
    def of(cls, folder: Path | str) -> "Place":
        """The place in `folder`, which need not exist."""
        return cls(Path(folder).expanduser().resolve())

    @property
    def data(self) -> Path:
        """The append-only files and the log: the server's working folder."""
        return self.folder / "redis"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.data / "redis.log"

    @property
    def state(self) -> Path:
        """Password, socket and process of the server."""
        return self.folder / "redis.json"

    @property
    def owner_lock(self) -> Path:
        """Held by the process that started the server, or took it over."""
        return self.folder / "redis.lock"

    @property
    def server_lock(self) -> Path:
        """Held by the server itself: two servers on the same append-only files would ruin them."""
        return self.data / "server.lock"

    def socket(self, known: Path | None = None) -> Path:
        """The path of the server's socket, the same for the same folder.

        A folder with a long path has it in the temporary folder; `known` is the socket of earlier starts, kept where
        it still belongs to this folder (TMPDIR may differ from one session to the next).
        """
        near = self.data / "redis.sock"
        if _fits(near):
            return near
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        parent = Path(tempfile.gettempdir()).resolve() / f"collection-{os.geteuid()}-{name}"
        if known is not None and known.parent.name == parent.name:
            return known
        far = parent / "redis.sock"
        if not _fits(far):
            raise ConfigurationError(
                f"{far}: longer than the {LONGEST_SOCKET} bytes of a socket path; set TMPDIR shorter"
            )
        return far

    def prepare(self) -> None:
        """Make the folders; raises ConfigurationError where they can't be made or are open to others."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:
            raise ConfigurationError(f"{self.folder}: is a file, a folder is needed here") from error
        except OSError as error:
            raise ConfigurationError(f"{self.folder}: can't be made ({error.strerror})") from error
        make_private(self.data)


def make_private(folder: Path) -> None:
    """Make `folder` for this user alone; raises ConfigurationError where it can't be made or isn't private."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ConfigurationError(f"{folder}: is not a folder") from error
    except OSError as error:
        raise ConfigurationError(f"{folder}: can't be made ({error.strerror})") from error
    check_private(folder)


def check_private(folder: Path) -> None:
    """Raise ConfigurationError unless `folder` is this user's and nobody else may enter it.

    The temporary folder is everybody's: whoever makes a folder there first could listen to what's meant for us.
    """
    try:
        found = folder.lstat()
    except OSError as error:
        raise ConfigurationError(f"{folder}: can't be looked at ({error.strerror})") from error
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(f"{folder}: is a link, a folder is needed here")
    if found.st_uid != os.geteuid():
        raise ConfigurationError(f"{folder}: belongs to user {found.st_uid}, not to {os.geteuid()} who runs this")
    if found.st_mode & 0o077:
        raise ConfigurationError(f"{folder}: others may enter it; run chmod 700 on it")


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` at once by `content`, readable by this user alone; raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _fits(socket: Path) -> bool:
    return len(os.fsencode(socket)) <= LONGEST_SOCKET
