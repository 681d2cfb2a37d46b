"""The commands that say what is proven of what is stored, and what became of the rest: audit, gaps, counters, spool."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import Progress

from collection.audit import certify, stretches
from collection.certificate import Certificate
from collection.cli import app
from collection.cli_options import (
    EndOption,
    KeyArgument,
    StartOption,
    checked_format,
    checked_key,
    checked_trades,
    is_meant,
    time_range,
)
from collection.comparison import differences
from collection.errors import ConfigurationError
from collection.gap_notes import PREFIX
from collection.local import opened_storage
from collection.output import err, out, tell
from collection.output_audit import show_certificate, show_counters, show_gaps, show_spool, spool_rows, write_json
from collection.settings import current
from collection.storage import DataCollectionStorage
from collection.storage.coverage import clip
from collection.storage.spool_report import spool_report
from collection.tail import WILD

KeysArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY…]", help="Keys; * and ? stand for anything. Without any: all.", show_default=False),
]
FormOption = Annotated[str, typer.Option("--format", help="table or json.")]


@app.command(
    epilog="Examples:  collection audit trades:binance:BTC/USDT  ·  "
    "collection audit trades:binance:BTC/USDT --start 2026-01-31 --format json  ·  "
    "collection audit trades:binance:BTC/USDT --truth http://127.0.0.1:8099"
)
def audit(
    key: KeyArgument,
    start: StartOption = None,
    end: EndOption = None,
    truth: Annotated[
        str | None, typer.Option(metavar="URL", help="Compare with what this simulated exchange published.")
    ] = None,
    form: FormOption = "table",
) -> None:
    """Certify what is stored of a market: what is complete, what is missing, and a digest that others can compare.

    Exits with 1 where something is missing that is said to be complete, or the exchange published something else.
    """
    checked_format(form, ["table", "json"])
    times = time_range(start, end)
    with opened_storage(current(), tell) as storage:
        checked_trades(storage, key)
        found = _certify(storage, key, *times)
        differing = differences(storage, found, truth) if truth is not None else []
    if form == "json":
        write_json(found, **({} if truth is None else {"differences": differing}))
    else:
        show_certificate(found)
        if truth is not None:
            out.print(
                f"NOT equal to what {truth} published:" if differing else f"equal to what {truth} published",
                style="red" if differing else "green",
            )
        for line in differing:
            out.print(f"  {line}", soft_wrap=True)
    if found.broken or differing:
        raise typer.Exit(1)


@app.command(epilog="Examples:  collection gaps  ·  collection gaps 'trades:binance:*' --format json")
def gaps(keys: KeysArgument = None, form: FormOption = "table") -> None:
    """List what is not known to be complete, within what was collected, and why where that is known."""
    checked_format(form, ["table", "json"])
    found = {}
    with opened_storage(current(), tell) as storage:
        meant = [key for key in chosen(storage, keys or ["*"]) if not key.startswith(PREFIX)]
        covered = 0
        for key in meant:
            coverage = storage.coverage(key)
            covered += bool(coverage.intervals)
            if some := clip(coverage.gaps, storage.floor(key).left_of(coverage)):
                found[key] = coverage.by, stretches(storage, key, coverage.by, some)
    if form == "json":
        for key, (by, listed) in found.items():
            for one in listed:
                write_json(one, key=key, by=by)
    elif found:
        show_gaps(found)
    number = sum(len(listed) for _, listed in found.values())
    tell(
        f"{number:,} gaps in {len(found):,} of {len(meant):,} series"
        if number
        else f"no gaps: each of {covered:,} series is complete from its first to its last covered record"
        if covered
        else "no gaps, for nothing was collected yet"
    )
    if covered < len(meant):
        tell(f"{len(meant) - covered:,} of them were stored without saying what is complete")


@app.command(epilog="Example:  collection counters trades:binance:BTC/USDT")
def counters(keys: KeysArgument = None, form: FormOption = "table") -> None:
    """Tell what became of records: stored, repeated, late, refused, dropped; and of the rounds that fetched them."""
    checked_format(form, ["table", "json"])
    with opened_storage(current(), tell) as storage:
        counted = {key: storage.counters(key) for key in chosen(storage, keys or ["*"])}
    if form == "json":
        write_json(counted)
    else:
        show_counters(counted)


@app.command(epilog="Example:  collection spool")
def spool(form: FormOption = "table") -> None:
    """Tell what waits on disk until Redis takes it, and what was set aside because Redis never will."""
    checked_format(form, ["table", "json"])
    root = current().spool
    try:
        report = spool_report(root)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or root}: {error.strerror}") from None
    if form == "json":
        write_json(spool_rows(report))
        return
    show_spool(report)
    waiting = sum(sum(one.records.values()) for one in report.waiting)
    aside = sum(report.set_aside.values())
    tell(f"{waiting:,} records wait in {root}, {aside:,} were set aside")


def chosen(storage: DataCollectionStorage, patterns: list[str]) -> list[str]:
    """Return the keys that are meant; raises ConfigurationError for one that is not there."""
    keys = storage.series()
    for pattern in patterns:
        if not set(WILD) & set(pattern):
            checked_key(storage, pattern)
    return [key for key in keys if any(is_meant(key, pattern) for pattern in patterns)]


def _certify(storage: DataCollectionStorage, key: str, start: int | None, end: int | None) -> Certificate:
    """Read the series through, with a progress bar on a terminal."""
    records = storage.info([key])[0].records if (start, end) == (None, None) else None
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("reading", total=records)
        return certify(storage, key, start, end, lambda number: progress.advance(task, number))
