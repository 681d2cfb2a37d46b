"""Plug-ins: what other distributions bring, through entry points of the groups in `GROUPS`.

They are looked up only where a name is none of this project's own, so that whoever has none pays nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from collection.errors import CollectionError, ConfigurationError

GROUPS = {
    "feeds": "quoting_collection.feeds",
    "clients": "quoting_collection.clients",
    "collectors": "quoting_collection.collectors",
    "storages": "quoting_collection.storages",
}
"""The group of entry points for each thing that can be added."""


class Plugin(NamedTuple):
    """One entry point, and what is wrong with it."""

    group: str
    name: str
    distribution: str
    """Name and version."""
    value: str
    """Where the class is: `module:Class`."""
    problem: str | None


def names(what: str) -> list[str]:
    """Return the names that plug-ins give to feed types, exchanges, kinds of data or schemes, without loading any."""
    return sorted(_installed(what))


def find(what: str, name: str, base: type) -> Any:
    """Return the class that a plug-in brings under a name that is not built in, or None where there is none.

    Raises:
        ConfigurationError: The plug-in can't be loaded, brings something else than a class of `base`, or another
            one brings the same name; it says which distribution and entry point that is.
    """
    found = _installed(what).get(name, ())
    if len(found) > 1:
        others = " and ".join(sorted(map(_distribution, found)))
        raise ConfigurationError(f"{GROUPS[what]}: {name!r} is brought by {others}: uninstall one of them")
    return _loaded(found[0], base) if found else None


def listed(what: str, base: type, built_in: Container[str]) -> Iterator[Plugin]:
    """Yield all plug-ins of a kind; loads them, for only then shows what is wrong. Names in `built_in` are refused."""
    for name in names(what):
        for entry in _installed(what)[name]:
            problem = None
            if name in built_in:
                problem = f"{_where(entry)}: {name!r} is built in, and stays so: give it another name"
            else:
                try:
                    find(what, name, base)
                except CollectionError as error:
                    problem = str(error)
            yield Plugin(what, name, _distribution(entry), entry.value, problem)


@cache
def _installed(what: str) -> Mapping[str, Sequence[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUPS[what]):
        found.setdefault(entry.name, []).append(entry)
    return found


@cache
def _loaded(entry: EntryPoint, base: type) -> type:
    try:
        brought = entry.load()
    except Exception as error:  # whatever the import of somebody else's module raises
        said = (str(error).splitlines() or [""])[0]
        raise ConfigurationError(f"{_where(entry)}: {type(error).__name__}: {said}") from error
    if not (isinstance(brought, type) and issubclass(brought, base)):
        raise ConfigurationError(f"{_where(entry)}: it is no class of {base.__name__}")
    if inspect.isabstract(brought):
        lacking = ", ".join(sorted(getattr(brought, "__abstractmethods__", ())))
        raise ConfigurationError(f"{_where(entry)}: {brought.__name__} lacks what {base.__name__} asks for: {lacking}")
    return brought


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"


def _where(entry: EntryPoint) -> str:
    return f"plug-in of {_distribution(entry)}, entry point {entry.group}: {entry.name} = {entry.value}"
