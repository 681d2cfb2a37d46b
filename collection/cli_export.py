"""The command that writes what is stored to files: export."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import IO, Annotated, cast, get_args

import typer
from rich.progress import Progress

from collection import export as exporting
from collection.cli import app
from collection.cli_options import (
    EndOption,
    KeyArgument,
    StartOption,
    bar_width,
    checked_format,
    checked_key,
    checked_trades,
    read_option,
    time_range,
)
from collection.errors import ConfigurationError
from collection.local import opened_storage
from collection.output import err, tell
from collection.settings import current
from collection.storage import DataCollectionStorage
from collection.storage.frames import Numbers
from collection.text import nearest


@app.command(
    epilog="Examples:  collection export trades:binance:BTC/USDT --start 2026-01-31 --output trades.csv  ·  "
    "collection export trades:binance:BTC/USDT --format parquet --output trades.parquet  ·  "
    "collection export trades:binance:BTC/USDT --width 1m --format arrow --output bars.arrow"
)
def export(
    key: KeyArgument,
    form: Annotated[str, typer.Option("--format", help="csv, parquet or arrow.")] = "csv",
    start: StartOption = None,
    end: EndOption = None,
    width: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Bars of this width, such as 1m, instead of trades.")
    ] = None,
    numbers: Annotated[
        str, typer.Option(help="Prices and amounts in parquet and arrow: decimal, text or float.")
    ] = "decimal",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="By default CSV is printed.")] = None,
) -> None:
    """Write what is stored under a key to a file, which gets its name once it is complete."""
    checked_format(form, get_args(exporting.FileFormat))
    if numbers not in get_args(Numbers):
        raise ConfigurationError(f"--numbers {numbers}: unknown{nearest(numbers, get_args(Numbers))}")
    if output is None and form != "csv":
        raise ConfigurationError(f"--output is missing: {form} is no text; name a file")
    times, step = time_range(start, end), read_option(bar_width, "--width", width)
    what = exporting.Range(key, *times, step, cast("Numbers", numbers))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # nothing half done stays, nor a Redis that it started
    with opened_storage(current(), tell) as storage:
        (checked_trades if step else checked_key)(storage, key)
        if output is None:
            rows = _export(storage, what, form, sys.stdout.buffer)
        else:
            with exporting.whole_file(output) as file:
                rows = _export(storage, what, form, file)
    tell(f"{rows:,} rows" + (f" in {output}" if output else ""))


def _export(storage: DataCollectionStorage, what: exporting.Range, form: str, file: IO[bytes]) -> int:
    """Export, with a progress bar on a terminal; returns the number of rows."""
    whole = (what.start, what.end, what.width) == (None, None, None)
    total = storage.info([what.key])[0].records if whole else None
    rows = 0
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("writing", total=total)

        def told(number: int) -> None:
            nonlocal rows
            rows += number
            progress.advance(task, number)

        exporting.export(storage, what, cast("exporting.FileFormat", form), file, told)
    return rows
