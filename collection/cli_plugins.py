"""The command that lists plug-ins: plugins."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from rich.table import Table

from collection import plugins as installed
from collection.cli import app
from collection.clients import CEXClient
from collection.data_collectors import KINDS, DataSourceCollector
from collection.errors import ConfigurationError
from collection.feeds import FEED_TYPES, PriceFeed
from collection.names import known_exchanges
from collection.output import out, tell
from collection.storage import SCHEMES, DataCollectionStorage


class _Place(NamedTuple):
    what: str
    means: str
    base: type
    built_in: Container[str]


def _places() -> list[_Place]:
    return [
        _Place("feeds", "feed type", PriceFeed, FEED_TYPES),
        _Place("clients", "exchange", CEXClient, known_exchanges()),
        _Place("collectors", "kind of data", DataSourceCollector, KINDS),
        _Place("storages", "storage", DataCollectionStorage, SCHEMES),
    ]


@app.command(epilog="Example:  collection plugins")
def plugins() -> None:
    """List what plug-ins add: feed types, exchanges, kinds of data, storages; exits with 1 where one is broken."""
    found = [(place, one) for place in _places() for one in installed.listed(place.what, place.base, place.built_in)]
    if not found:
        tell("no plug-ins are installed")
        return
    table = Table("adds", "name", "of", "class", "", box=None, pad_edge=False)
    for place, one in found:
        state = "broken" if one.problem else "ok"
        table.add_row(place.means, one.name, one.distribution, one.value, state, style="red" if one.problem else "")
    out.print(table)
    if wrong := dict.fromkeys(one.problem for _, one in found if one.problem):
        raise ConfigurationError(*wrong)
