"""Small readings of text that people write: durations, times, and the name they probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}


def seconds(text: Any) -> float:
    """Read a duration: `250ms`, `5s`, `1m30s`, `2h`, `30d`, or a plain number of seconds.

    Raises:
        ValueError: It is no positive duration.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        total = float(text)
    else:
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])", str(text))
        if not parts or re.sub(r"\d+(?:\.\d+)?\s*(?:ms|[smhdw])\s*", "", str(text)).strip():
            raise ValueError(f"{text!r} is no duration such as '5s', '1m30s', '2h' or '30d'")
        total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < total < float("inf"):
        raise ValueError(f"{text!r} is no duration above zero")
    return total


def shortly(duration: float) -> str:
    """Write a duration in seconds as people do: `5s`, `1h`, `30d`."""
    for unit in ("d", "h", "m", "s"):
        if duration >= _UNITS[unit] and duration % _UNITS[unit] == 0:
            return f"{int(duration // _UNITS[unit])}{unit}"
    return f"{duration:g}s"


def milliseconds(text: str) -> int:
    """Read a time as Unix milliseconds: a number of them, or ISO 8601 such as `2026-01-31T12:00` (UTC if unsaid).

    Raises:
        ValueError: It is neither.
    """
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time: give Unix milliseconds or 2026-01-31T12:00:00") from None
    return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp() * 1000)


def nearest(name: str, names: Iterable[str], case: Callable[[str], str] = str.lower) -> str:
    """Say which known name was probably meant, as the end of a message."""
    known = sorted(names)
    close = difflib.get_close_matches(case(name), known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}" if 0 < len(known) <= 12 else ""


Seconds = Annotated[float, BeforeValidator(seconds)]
"""A duration in seconds, written as `5s` or `30d`."""
