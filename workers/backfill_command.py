"""`collection backfill`: asks for history, and shows how the workers read it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Annotated

import typer
from kombu.exceptions import OperationalError

from collection.cli import app
from collection.cli_options import read_option
from collection.errors import ConfigurationError, RetryLater
from collection.loading import build_collector
from collection.output import moment, tell
from collection.retention import kept_since
from collection.settings import current
from collection.storage import DataCollectionStorage, open_storage
from collection.storage.redis_server import connect
from collection.text import milliseconds, shortly
from workers.backfill_progress import Display, summary
from workers.backfills import Backfills, Chunk, days, in_days

LOOK = 0.5
"""Seconds between two looks."""


@app.command(
    epilog="Examples:  collection backfill trades:binance:BTC/USDT --start 2026-01-01 --end 2026-01-08  ·  "
    "collection backfill trades:binance:BTC/USDT --cancel"
)
def backfill(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key of a series, such as trades:binance:BTC/USDT.")],
    start: Annotated[str | None, typer.Option(help="From this time on (Unix ms or ISO 8601, UTC).")] = None,
    end: Annotated[str | None, typer.Option(help="Up to this time, included; by default now.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for it.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="End all backfills of this series.")] = False,
) -> None:
    """Have the workers read the history of a market into its series, day by day; what is there already is not read.

    It goes on without this command, and through crashes; the same command shows it again.
    """
    build_collector(key)
    if not key.startswith("trades:"):
        raise ConfigurationError(f"{key}: only trades can be backfilled")
    with closing(connect(current().storage())) as redis, open_storage(current().storage()) as storage:
        backfills = Backfills(redis)
        if cancel:
            tell(f"{key}: {in_days(backfills.cancel(key))} cancelled; what was read of it stays")
            return
        chunks = days(*_checked_times(storage, key, start, end))
        _ask(backfills, storage, key, chunks)
        if detach:
            tell(f"{key}: {in_days(len(chunks))} to be read; the same command without --detach shows how far that is")
            return
        try:
            ended = _watch(backfills, key, chunks)
        except KeyboardInterrupt:
            tell("it goes on without this command; the same command shows it again, and ends it with --cancel")
            raise typer.Exit(130) from None
        if not summary(storage, key, ended):
            raise typer.Exit(1)


def _checked_times(storage: DataCollectionStorage, key: str, start: str | None, end: str | None) -> tuple[int, int]:
    """Return from when and up to when (not included) to read; raises ConfigurationError."""
    if start is None:
        raise ConfigurationError("--start is missing: say from which time on, such as --start 2026-01-31")
    first = read_option(milliseconds, "--start", start)
    last = read_option(milliseconds, "--end", end)
    now = time.time_ns() // 1_000_000
    if last is not None and last >= now:
        tell(f"--end {end} is yet to come: up to now")
    upto = min(now if last is None else last + 1, now)
    kept = current().retention.trades
    oldest = max(storage.floor(key).timestamp, kept_since(kept, now / 1000))
    if first < oldest:
        raise ConfigurationError(
            f"--start {start} lies before {moment(oldest)[:10]}, the oldest day that is kept "
            f"(retention.trades = {shortly(kept)}): start there, or keep trades for longer"
        )
    if first >= upto:
        raise ConfigurationError(f"--start {start} does not lie before the end, {moment(upto - 1)}")
    return first, upto


def _ask(backfills: Backfills, storage: DataCollectionStorage, key: str, chunks: Sequence[tuple[int, int]]) -> None:
    """Ask for the chunks; those that ended begin again, unless they are done and all of them is still there."""
    coverage = storage.coverage(key)

    def is_there(chunk: Chunk) -> bool:
        after, upto = chunk.progress.after, chunk.progress.reached
        if chunk.state != "done" or after is None or upto is None:
            return False
        return any(one.after <= after and upto <= one.upto for one in coverage.intervals)

    there = {chunk.start: chunk.end for chunk in backfills.view(key) if is_there(chunk)}
    backfills.add(key, [one for one in chunks if there.get(one[0], 0) < one[1]], again=True)


def _watch(backfills: Backfills, key: str, chunks: Sequence[tuple[int, int]]) -> list[Chunk]:
    """Show how far the chunks are until all have ended; returns what became of them."""
    with Display(key) as display:
        while True:
            try:
                wanted = dict(chunks)
                found = [chunk for chunk in backfills.view(key) if chunk.start in wanted]
                if len(found) < len(wanted):  # Redis forgot them
                    backfills.add(key, chunks)
                taken = _send(backfills)
                display.show(found, taken and not any(chunk.state == "sent" for chunk in found))
                if len(found) == len(wanted) and not any(chunk.is_open for chunk in found):
                    return found
            except (RetryLater, OperationalError) as error:
                display.trouble(str(error))
            time.sleep(LOOK)


def _send(backfills: Backfills) -> bool:
    """Have what is due sent, as supervise does; returns whether the workers take what is sent."""
    from workers.backfill_messages import send_turns  # imports Celery, which most commands need not

    return send_turns(backfills) is not None
