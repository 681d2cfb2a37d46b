"""How the commands show what is proven of a series: certificates, gaps, counters."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

import msgspec
from rich.table import Table

from collection.certificate import Certificate, Record, Span, Stretch
from collection.output import moment, out
from collection.storage.coverage import By
from collection.storage.spool_report import SpoolReport

LISTED = 10
"""Spans that are listed, at the most."""
MEANINGS = {
    "new": "stored",
    "duplicate": "came again, and changed nothing",
    "late": "stored after a newer one",
    "replaced": "numbers stored over others of the same time",
    "refused:dropped_day": "refused: older than what is kept",
    "refused:conflict": "refused: another record of the same time and id is stored, and stays",
    "refused:in_the_future": "refused: later than this machine's clock, and read again",
    "refused": "refused: can't be what was published",
    "error": "rounds that failed, and were repeated",
    "skipped": "messages that found their poll done, or running",
    "stream:connected": "connections of its stream",
    "stream:dead": "subscriptions that had died while their connection lived, and were renewed",
    "gap:given_up": "gaps that can't be closed: `collection gaps` says why",
    "gap:lost": "times that the storage had lost what it was given, which was then read again",
    "backfill:read": "read by backfills",
    "backfill:lacking": "times that a backfill found something the exchange does not have",
    "repair:lost": "ids that were covered, and no longer stored",
    "repair:covered": "ids that were stored, and no longer covered",
    "repair:closed": "stretches that were missing, and that repair has read",
    "repair:given_up": "stretches that the exchange does not have: `collection gaps` says why",
    "repair": "turns of repair that failed, and were repeated",
    "over": "times that this clock was more than a second from the other",
    "dropped": "left out while the storage was away; the coverage stays open, so they are collected again",
}
_VERDICTS = {
    "complete": ("green", "all that is covered is stored, without a gap"),
    "gaps": ("yellow", "all that is covered is stored; the gaps are not known to be complete"),
    "holes": ("red", "covered, but not stored: what was promised is broken"),
    "doubles": ("red", "stored more than once: what was promised is broken"),
    "unproven": ("yellow", "nothing numbers these trades without holes: compare count and digest with another copy"),
}


def show_certificate(found: Certificate) -> None:
    """Print a certificate for people."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("series", found.key)
    if (found.start, found.end) != (None, None):
        table.add_row("of", f"{moment(found.start)} to {moment(found.end)}")
    table.add_row("covered", _spans(found.covered, found.by))
    table.add_row("gaps", _spans(found.gaps, found.by))
    if found.dropped:
        upto = "" if found.dropped.last_id is None else f", up to id {found.dropped.last_id}"
        table.add_row("dropped", f"what is before {moment(found.dropped.before)}{upto}")
    table.add_row("first", _record(found.first))
    table.add_row("last", _record(found.last))
    table.add_row("stored", f"{found.stored:,}")
    if found.expected is not None:
        table.add_row("expected", f"{found.expected:,}")
        table.add_row("missing", f"{found.missing:,}" + (f": {_holes(found)}" if found.missing else ""))
        table.add_row("doubled", f"{found.doubled:,}")
        table.add_row("not covered", f"{found.outside:,}")
    table.add_row("counted", " · ".join(f"{name} {number:,}" for name, number in found.counters.items()) or "–")
    table.add_row("sha256", found.digest)
    style, meaning = _VERDICTS[found.verdict]
    out.print(table)
    if found.stretches:
        out.print()
        show_gaps({found.key: (found.by, found.stretches[:LISTED])})
        more = len(found.stretches) - LISTED
        out.print(f"and {more:,} more: `collection gaps {found.key}`\n" if more > 0 else "")
    out.print(f"{found.verdict}: {meaning}", style=style)


def write_json(found: object, **more: object) -> None:
    """Print as one line of JSON."""
    sys.stdout.write(msgspec.json.encode({**more, **msgspec.to_builtins(found)}).decode() + "\n")
    sys.stdout.flush()


def show_gaps(gaps: Mapping[str, tuple[By, Sequence[Stretch]]]) -> None:
    """Print the gaps of each series that has some: ids that are missing, times that are unproven, and why."""
    table = Table("series", "", box=None, pad_edge=False)
    for name in ("first", "last", "size"):
        table.add_column(name, justify="right")
    table.add_column("why", overflow="fold")
    for key, (by, stretches) in gaps.items():
        for one in stretches:
            span = Span(one.first, one.last)
            table.add_row(key, one.kind, *_ends(span, by), _size([span], by), one.reason)
    out.print(table)


def show_counters(counters: Mapping[str, Mapping[str, int]]) -> None:
    """Print what was counted of each series, in words."""
    table = Table("series", "counted", box=None, pad_edge=False)
    table.add_column("number", justify="right")
    table.add_column("records that are, or what happened")
    for key, counted in counters.items():
        for name, number in counted.items():
            table.add_row(key, name, f"{number:,}", MEANINGS.get(name) or MEANINGS.get(name.partition(":")[0], ""))
    out.print(table)


def show_spool(report: SpoolReport) -> None:
    """Print what waits in a spool, what was set aside, and which files were damaged."""
    waiting = Table("waiting for", "folder", "series", box=None, pad_edge=False)
    waiting.add_column("records", justify="right")
    for one in report.waiting:
        folder = f"{one.folder.name} ({'held by a process' if one.held else 'to be adopted'})"
        for key, number in one.records.items():
            waiting.add_row(one.storage, folder, key, f"{number:,}")
    aside = Table("set aside", "reason", box=None, pad_edge=False)
    aside.add_column("records", justify="right")
    for (key, reason), number in report.set_aside.items():
        aside.add_row(key, reason, f"{number:,}")
    for table in (waiting, aside):
        if table.row_count:
            out.print(table)
    for path in report.damaged:
        out.print(f"damaged: {path}", style="red")


def spool_rows(report: SpoolReport) -> dict[str, object]:
    """Return the same for programs."""
    return {
        "waiting": [{**one._asdict(), "folder": str(one.folder)} for one in report.waiting],
        "set_aside": [
            {"key": key, "reason": reason, "records": number} for (key, reason), number in report.set_aside.items()
        ],
        "damaged": [str(path) for path in report.damaged],
    }


def _spans(spans: Sequence[Span], by: By) -> str:
    if not spans:
        return "none"
    listed = ", ".join(" – ".join(_ends(span, by)) for span in spans[:LISTED])
    more = f" and {len(spans) - LISTED:,} more" if len(spans) > LISTED else ""
    return f"{listed}{more} ({_size(spans, by)})"


def _holes(found: Certificate) -> str:
    listed = ", ".join(" – ".join(dict.fromkeys(_ends(span, found.by))) for span in found.holes)
    more = (found.hole_count or 0) - len(found.holes)
    refused = sum(n for name, n in found.counters.items() if name.startswith("refused:") and name not in MEANINGS)
    among = f" (of what was read {refused:,} were refused: they may be among these)" if refused else ""
    return listed + (f" and {more:,} more" if more else "") + among


def _ends(span: Span, by: By) -> tuple[str, str]:
    return (moment(span.first), moment(span.last)) if by == "time" else (str(span.first), str(span.last))


def _size(spans: Iterable[Span], by: By) -> str:
    total = sum(span.size for span in spans)
    if by == "id":
        return f"{total:,} id{'s' * (total != 1)}"
    return f"{total / 1000:g}s" if total < 60_000 else str(timedelta(seconds=round(total / 1000)))


def _record(record: Record | None) -> str:
    return "–" if record is None else f"{record.id} at {moment(record.timestamp)}"
