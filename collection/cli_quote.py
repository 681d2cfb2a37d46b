"""The commands that tell what feeds say: quote and explain."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.live import Live

from collection import clock
from collection.cli import app
from collection.cli_options import FORMATS, FormOption, checked_format, read_option
from collection.data_collectors import CollectorFactory
from collection.errors import ConfigurationError
from collection.feeds import Explanation, PriceFeed
from collection.loading import load_feeds
from collection.local import opened_storage
from collection.output import cells, out, tell, write_rows
from collection.output_quote import quote_line, quote_tree, quotes_table
from collection.output_tail import closed_quietly
from collection.quotes import Feeder, Moment
from collection.records import Quote
from collection.settings import current
from collection.text import milliseconds, nearest

FeedsOption = Annotated[
    Path | None, typer.Option("--feeds", metavar="FILE", help="The feeds file, by default that of the settings.")
]
AtOption = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help="As of this time (Unix ms or ISO 8601, UTC), by default now.")
]
EVERY = 1.0
"""Seconds between two looks."""
UNLIMITED = 1_000_000
"""Columns of a line that only the terminal wraps."""


@app.command(
    epilog="Examples:  collection quote  ·  collection quote 'BTC*' --watch  ·  "
    "collection quote BTC-USD --at 2026-01-31T12:00 --format json"
)
def quote(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME…]", help="Feeds, or patterns of them.")] = None,
    at: AtOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C, with a look a second.")] = False,
    file: FeedsOption = None,
    form: FormOption = "table",
) -> None:
    """Quote feeds by what is stored. Exits with 1 where a quote is missing, unless it watches."""
    checked_format(form, FORMATS)
    if watch and (at is not None or form == "csv"):
        raise ConfigurationError("--watch goes with neither --at nor --format csv")
    moment = read_option(milliseconds, "--at", at)
    feeds = _chosen(_load(file), names or ["*"])
    with opened_storage(current(), tell) as storage:
        storage.series()  # raises where the storage is away: of quotes it would only be the reason, of each
        feeder = Feeder(feeds, storage)
        if watch:
            _watch(feeder, form)
            return
        quotes = list(feeder.quotes(moment).values())
    if form == "table":
        out.print(quotes_table(quotes, {}))
    else:
        _write(quotes, form)
    if any(one.price is None for one in quotes):
        raise typer.Exit(1)


@app.command(epilog="Examples:  collection explain BTC-USD  ·  collection explain BTC-USD --at 2026-01-31T12:00")
def explain(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A feed.")],
    at: AtOption = None,
    file: FeedsOption = None,
    form: Annotated[str, typer.Option("--format", help="tree, or json.")] = "tree",
) -> None:
    """Draw what a quote is made of: prices, ages, weights, and why a part was left out."""
    checked_format(form, ["tree", "json"])
    moment = read_option(milliseconds, "--at", at)
    feeds = {feed.name: feed for feed in _load(file)}
    if name not in feeds:
        raise ConfigurationError(f"no feed {name!r}{nearest(name, feeds)}")
    with opened_storage(current(), tell) as storage:
        storage.series()
        explained = Explanation.of(feeds[name], Moment(storage, clock.now() if moment is None else moment))
    if form == "json":
        sys.stdout.write(msgspec.json.encode(explained).decode() + "\n")
    else:
        out.width = UNLIMITED  # a tree is cut, even with soft_wrap, and far down nothing would be left of it
        out.print(quote_tree(explained), soft_wrap=True)


def _load(file: Path | None) -> list[PriceFeed]:
    return load_feeds(file or current().feeds, CollectorFactory(current()))


def _chosen(feeds: list[PriceFeed], patterns: list[str]) -> list[PriceFeed]:
    """Return the feeds that are meant; raises ConfigurationError where a pattern means none."""
    for pattern in patterns:
        if not any(_is_meant(feed, pattern) for feed in feeds):
            raise ConfigurationError(f"no feed is like {pattern!r}{nearest(pattern, [feed.name for feed in feeds])}")
    return [feed for feed in feeds if any(_is_meant(feed, pattern) for pattern in patterns)]


def _is_meant(feed: PriceFeed, pattern: str) -> bool:
    return feed.name == pattern or fnmatchcase(feed.name, pattern)


def _write(quotes: list[Quote], form: str) -> None:
    if form == "json":
        for one in quotes:
            sys.stdout.write(msgspec.json.encode(one).decode() + "\n")
        sys.stdout.flush()
    else:
        header, rows = cells([(one.at, one) for one in quotes])
        write_rows(["feed", *header], ([one.name, *row] for one, row in zip(quotes, rows, strict=True)), "csv")


def _watch(feeder: Feeder, form: str) -> None:
    """Show quotes until Ctrl-C: on a terminal as a table, else a line for each that changed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    drawn = Live(console=out, auto_refresh=False) if out.is_terminal and form == "table" else None
    before: dict[str, Quote] = {}
    with contextlib.suppress(KeyboardInterrupt), closed_quietly(), drawn or contextlib.nullcontext():
        while True:
            quotes = feeder.quotes()
            if drawn:
                drawn.update(quotes_table(quotes.values(), before), refresh=True)
            else:
                changed = [one for one in quotes.values() if _said(one) != _said(before.get(one.name))]
                if form == "json":
                    _write(changed, form)
                else:
                    sys.stdout.write("".join(f"{quote_line(one)}\n" for one in changed))
                    sys.stdout.flush()
            before = quotes
            time.sleep(EVERY - time.time() % EVERY)


def _said(quote: Quote | None) -> object:
    """What has to change for a quote to be told again."""
    return quote and (quote.price, quote.status)
