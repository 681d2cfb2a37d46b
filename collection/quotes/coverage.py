"""Whether the trades of a window are known to be all."""

from __future__ import annotations

from collection.quotes.series import Window
from collection.storage.coverage import Coverage, Interval


def incomplete(coverage: Coverage, window: Window, start: int, at: int) -> str:
    """Say what of a window (start, at] that holds trades may be missing by the coverage of today; empty for nothing.

    By id the window is from its lowest id to its highest; a gap that touches it may lie within it, and counts.
    A series of which nothing is covered claims nothing, and neither is anything said of it.
    """
    if not coverage.intervals:
        return ""
    gaps = coverage.gaps
    began = coverage.intervals[0].after
    if coverage.by == "time":
        first, last = start, at
        before = f"collected only from {began} ms on" if began > start else ""
    else:
        if not gaps and began < window.oldest_id - 1:  # nearly always
            return ""
        low, last = window.ids
        first = low - 1
        before = f"collected only from id {began + 1} on" if began >= first else ""
        gaps = [gap for gap in gaps if gap.upto >= first and gap.after <= last]
        return "; ".join(filter(None, (before, _said(gaps, "ids"))))
    gaps = [gap for gap in gaps if gap.upto > first and gap.after < last]
    return "; ".join(filter(None, (before, _said(gaps, "ms"))))


def _said(gaps: list[Interval], unit: str) -> str:
    if not gaps:
        return ""
    more = f" and {len(gaps) - 1} more" if len(gaps) > 1 else ""
    return f"gap in the window ({unit} {gaps[0].after + 1} to {gaps[0].upto}{more})"
