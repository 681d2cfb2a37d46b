"""What `collection backfill` shows: a bar, or a line now and then, and at the end what is there and what is not."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from collection.output import err, moment, out, tell
from collection.storage import Coverage, DataCollectionStorage
from collection.storage.coverage import Interval, clip
from workers.backfills import Chunk, in_days, overall

SAID = 5.0
"""Seconds between two lines where no bar can be drawn."""
UNTAKEN = 5.0
"""Seconds after which somebody should have begun."""
NOBODY = (
    "no worker takes it: run `collection up`, or `celery -A workers worker -Q polls,control,backfill,quotes`;"
    " it begins then"
)


class Display:
    """Shows how far a backfill is."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._bar = Progress(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=err,
            disable=not err.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0)
        self._said_at = time.monotonic()
        self._taken_at = time.monotonic()
        self._trouble = ""
        self._first: tuple[float, int] | None = None

    def __enter__(self) -> Self:
        if err.is_terminal:
            tell(self._key)
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, chunks: Sequence[Chunk], taken: bool) -> None:
        """Show how far the chunks are, and what keeps them from going on; `taken`: whether all messages were."""
        now, read = time.monotonic(), sum(chunk.progress.read for chunk in chunks)
        began, before = self._first = self._first or (now, read)
        rate = (read - before) / max(now - began, 1.0)
        ended = sum(not chunk.is_open for chunk in chunks)
        said = f"{ended} of {in_days(len(chunks))}, {read:,} trades, {rate:,.0f}/s"
        self._bar.update(self._task, completed=overall(chunks), description=said)
        if not err.is_terminal and now - self._said_at >= SAID:
            self._said_at = now
            tell(f"{self._key}: {overall(chunks):.0%}, {said}")
        notes = sorted({chunk.progress.note for chunk in chunks if chunk.is_open and chunk.progress.note})
        if taken or any(chunk.state == "running" for chunk in chunks):
            self._taken_at = now
        self.trouble(notes[0] if notes else NOBODY if now - self._taken_at > UNTAKEN else "")

    def trouble(self, text: str) -> None:
        """Say what is wrong, once until that changes."""
        if text and text != self._trouble:
            err.print(text, markup=False, style="yellow", soft_wrap=True)
        self._trouble = text


def summary(storage: DataCollectionStorage, key: str, chunks: Sequence[Chunk]) -> bool:
    """Say what is there now, and what is not and why; returns whether all is."""
    read = sum(chunk.progress.read for chunk in chunks)
    wrong: dict[tuple[str, str], list[Chunk]] = defaultdict(list)
    coverage = storage.coverage(key)
    for chunk in chunks:
        if chunk.state != "done" and not (coverage.by == "time" and _is_covered(coverage, chunk)):
            wrong[chunk.state, chunk.progress.note if chunk.state == "failed" else chunk.progress.lacking].append(chunk)
    gaps = _gaps(coverage, chunks)
    span = f"{moment(chunks[0].start)} to {moment(chunks[-1].end - 1)}"
    complete = not wrong and not gaps
    out.print(
        f"{key}: {span}: {'complete' if complete else 'not complete'}; {read:,} trades were read",
        style="green" if complete else "yellow",
        soft_wrap=True,
    )
    for (state, why), some in wrong.items():
        when = moment(some[0].start)[:10] + (f" and {in_days(len(some) - 1)} more" if len(some) > 1 else "")
        out.print(f"  {when}: {state}{f': {why}' if why else ''}", style="yellow", soft_wrap=True)
    for gap in gaps[:10]:
        out.print(
            f"  not known to be complete: {gap.after + 1} to {gap.upto} (`collection gaps` tells more)", style="yellow"
        )
    return complete


def _is_covered(coverage: Coverage, chunk: Chunk) -> bool:
    """Whether another chunk proved, by reading through it, that all of this one is there."""
    return any(one.after < chunk.start and chunk.end <= one.upto for one in coverage.intervals)


def _gaps(coverage: Coverage, chunks: Sequence[Chunk]) -> list[Interval]:
    """Return what is not covered between the first and the last position that were read."""
    known = [chunk.progress for chunk in chunks if chunk.progress.after is not None]
    first = min((one.after for one in known if one.after is not None), default=0)
    last = max((one.reached for one in known if one.reached is not None), default=0)
    return clip(coverage.gaps, Interval(first, max(first, last)))
