"""From a feeds file to price feeds, and from these to the collectors that they need."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from collection.data_collectors import CollectorFactory, DataSourceCollector
from collection.errors import ConfigurationError
from collection.feeds import PriceFeed, feed_type, feed_types
from collection.problems import problems
from collection.settings import current
from collection.text import nearest


def load_feeds(path: str | PathLike[str], factory: CollectorFactory | None = None) -> list[PriceFeed]:
    """Read a feeds file; `factory` makes the collectors, by default from the settings of this process.

    Raises:
        ConfigurationError: Everything that is wrong with the file, each with table and field.
    """
    tables, wrong = _read_file(Path(path))
    try:
        feeds = build_feeds(tables, factory, f"{path}: ")
    except ConfigurationError as error:
        raise ConfigurationError(*wrong, *error.problems) from None
    if wrong:
        raise ConfigurationError(*wrong)
    return feeds


def read_tables(path: str | PathLike[str]) -> list[dict[str, Any]]:
    """Read the tables of a feeds file as they are there, whatever is wrong with them.

    Raises:
        ConfigurationError: It is no feeds file.
    """
    return _read_file(Path(path))[0]


def _read_file(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the tables, and what is wrong beside them."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: there is no such feeds file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    wrong = [f"{path}: {name}: unknown{nearest(name, ['feeds'])}" for name in document if name != "feeds"]
    tables = document.get("feeds", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigurationError(*wrong, f"{path}: feeds: write each feed as a table [[feeds]]")
    if not tables and not wrong:
        raise ConfigurationError(f"{path}: it has no [[feeds]] table")
    return tables, wrong


def build_feeds(
    tables: Sequence[dict[str, Any]], factory: CollectorFactory | None = None, where: str = ""
) -> list[PriceFeed]:
    """Make feeds of the tables of a feeds file; `where` is what errors begin with.

    Raises:
        ConfigurationError: Everything that is wrong with them, each with table and field.
    """
    factory = factory or CollectorFactory(current())
    wrong: list[str] = []
    feeds: list[PriceFeed] = []
    places: dict[str, int] = {}
    for number, table in enumerate(tables, 1):
        name = table.get("name")
        place = f"{where}feeds[{number}]" + (f" {name!r}" if isinstance(name, str) else "")
        if isinstance(name, str) and places.setdefault(name, number) != number:
            wrong.append(f"{place}: name: feeds[{places[name]}] has it already")
        read = _read(table, factory)
        if isinstance(read, PriceFeed):
            feeds.append(read)
            wrong += [f"{place}: {line}" for line in _unknown(read, tables)]
        else:
            wrong += [f"{place}: {line}" for line in read]
    wrong += [f"{where}{line}" for line in cycles(feeds)]
    if wrong:
        raise ConfigurationError(*wrong)
    by_name = {feed.name: feed for feed in feeds}
    for feed in feeds:
        feed.bind(by_name)
    return feeds


def cycles(feeds: Iterable[PriceFeed]) -> Iterator[str]:
    """Describe each cycle among feeds that are made of one another; names that none of them has are passed over."""
    parts = {feed.name: list(dict.fromkeys(name for _, name in feed.references())) for feed in feeds}
    done: set[str] = set()
    for first in parts:
        path: list[str] = []
        left = [iter([first])]
        while left:
            name = next(left[-1], None)
            if name is None:
                left.pop()
                if path:
                    done.add(path.pop())
            elif name in path:
                around = path[path.index(name) :]
                yield f"feeds are made of one another: {' → '.join([*around, name])}"
            elif name in parts and name not in done:
                path.append(name)
                left.append(iter(parts[name]))


def load_data_source_collectors(
    path: str | PathLike[str], factory: CollectorFactory | None = None
) -> list[DataSourceCollector]:
    """Return the collectors that a feeds file needs, each once, however many feeds share it.

    Raises:
        ConfigurationError: As `load_feeds`, or a collector that can't be built.
    """
    return unique_collectors(load_feeds(path, factory))


def unique_collectors(feeds: Iterable[PriceFeed]) -> list[DataSourceCollector]:
    """Return the collectors of all feeds, each once, in the order of the feeds."""
    collectors: dict[str, DataSourceCollector] = {}
    wrong: dict[str, None] = {}
    for feed in feeds:
        try:
            for collector in feed.data_source_collectors():
                collectors.setdefault(collector.id, collector)
        except ConfigurationError as error:
            wrong.update(dict.fromkeys(error.problems))
    if wrong:
        raise ConfigurationError(*wrong)
    return list(collectors.values())


def build_collector(collector_id: str) -> DataSourceCollector:
    """Build a collector from its id and the settings of this process; raises ConfigurationError."""
    return CollectorFactory(current()).build(collector_id)


def _read(table: dict[str, Any], factory: CollectorFactory) -> PriceFeed | list[str]:
    kind = table.get("type")
    if not isinstance(kind, str):
        return ["type: missing" if kind is None else f"type: should be text, not {kind!r}"]
    try:
        found = feed_type(kind)
    except ConfigurationError as error:
        return [f"type: {line}" for line in error.problems]
    if found is None:
        return [f"type: unknown type {kind!r}{nearest(kind, feed_types())}"]
    try:
        return found.model_validate(table, strict=True, context=factory)
    except ValidationError as error:
        return list(_lines(error, found))


def _unknown(feed: PriceFeed, tables: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield what is wrong with the names that a feed refers to."""
    names = [table["name"] for table in tables if isinstance(table.get("name"), str)]
    for field, name in feed.references():
        if name not in names:
            others = [other for other in names if other != feed.name]
            yield f"{field}: there is no feed {name!r}{nearest(name, others)}"


def _lines(error: ValidationError, feed_type: type[PriceFeed]) -> Iterator[str]:
    for path, message in problems(error, feed_type):
        yield f"{'.'.join(path)}: {message}"
