"""Arguments and options that several commands have, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any

import typer

from collection.data_collectors.lag import is_beside
from collection.errors import ConfigurationError
from collection.records import Trade
from collection.storage import DataCollectionStorage
from collection.text import milliseconds, nearest, seconds

KeyArgument = Annotated[
    str, typer.Argument(metavar="KEY", help="The key of a series, as `collection series` lists them.")
]
StartOption = Annotated[str | None, typer.Option(help="From this time on (Unix ms or ISO 8601, UTC).")]
EndOption = Annotated[str | None, typer.Option(help="Up to this time, included.")]
LastOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the newest N.")]
FormOption = Annotated[str, typer.Option("--format", help="table, json (a line each) or csv.")]
FORMATS = ("table", "json", "csv")


def read_option(read: Callable[[str], Any], name: str, text: str | None) -> Any:
    """Read an option that may be missing; raises ConfigurationError, naming it, where `read` raises ValueError."""
    try:
        return None if text is None else read(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None


def checked_format(form: str, formats: Sequence[str] = FORMATS) -> None:
    """Raise ConfigurationError for a format that is none of these."""
    if form not in formats:
        raise ConfigurationError(f"--format {form}: unknown{nearest(form, formats)}")


def time_range(start: str | None, end: str | None) -> tuple[int | None, int | None]:
    """Read --start and --end; raises ConfigurationError."""
    return read_option(milliseconds, "--start", start), read_option(milliseconds, "--end", end)


def bar_width(text: str) -> int:
    """Read the width of bars in milliseconds; raises ValueError."""
    width = seconds(text) * 1000
    if width != int(width):
        raise ValueError(f"{text!r} is no whole number of milliseconds")
    return int(width)


def checked_key(storage: DataCollectionStorage, key: str) -> None:
    """Raise ConfigurationError, naming the nearest, where there is no such series."""
    if key not in (keys := storage.series()):
        hint = nearest(key, keys, str) or ("; `collection series` lists them" if keys else "; nothing is stored yet")
        raise ConfigurationError(f"no series {key!r}{hint}")


def is_meant(key: str, pattern: str) -> bool:
    """Whether a series is the one that is named, or like the pattern; `*` alone leaves out lags and skews."""
    return key == pattern or (fnmatchcase(key, pattern) and (pattern != "*" or not is_beside(key)))


def checked_trades(storage: DataCollectionStorage, key: str) -> None:
    """Raise ConfigurationError where there is no such series, or it holds something else than trades."""
    checked_key(storage, key)
    if any(not isinstance(value, Trade) for _, value in storage.latest(key)):
        raise ConfigurationError(f"{key} holds no trades")
