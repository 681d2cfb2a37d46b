"""`collection status`: which worker runs which stream, and what keeps the others from running."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from collection.output import moment
from collection.records import Quote
from workers.assignments import View

STYLES = {"running": "green", "placed": "cyan", "backing_off": "yellow", "failed": "red", "stopped": "dim"}


def workers_table(view: View) -> Table:
    """Draw a row for each worker that offers places for streams."""
    table = Table("worker", box=None, pad_edge=False)
    for name in ("streams", "places"):
        table.add_column(name, justify="right")
    table.add_column("")
    held = Counter(entry.node for entry in view.leases.values() if entry.state not in ("failed", "stopped"))
    for node, worker in sorted(view.workers.items()):
        table.add_row(node, f"{held[node]:,}", f"{worker.capacity:,}", "ending" if worker.draining else "")
    return table


def streams_table(view: View, wanted: Sequence[str]) -> Table:
    """Draw a row for each stream that is wanted or has a lease."""
    table = Table("stream", "state", "worker", "since (UTC)", "note", box=None, pad_edge=False)
    for name in sorted({*wanted, *view.leases}):
        entry = view.leases.get(name)
        if entry is None:
            table.add_row(name, Text("not placed", style="red"))
            continue
        moving = view.next.get(name)
        node = f"{entry.node} → {moving.node}" if moving else entry.node
        state = Text(entry.state.replace("_", " "), style=STYLES.get(entry.state, ""))
        table.add_row(name, state, node, moment(entry.since), Text(entry.note))
    return table


def quotes_line(quotes: Sequence[Quote], now: int) -> str:
    """Say how many feeds are quoted, how, and how long ago the last quote was published; `now` is Unix milliseconds."""
    statuses = Counter(quote.status for quote in quotes)
    how = ", ".join(f"{number:,} {status}" for status, number in statuses.most_common())
    age = (now - max(quote.at for quote in quotes)) / 1000
    return f"{len(quotes):,} feeds are quoted ({how}), the last of them {age:.1f} s ago"
