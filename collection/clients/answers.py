"""What an HTTP answer that is an error means, whichever exchange it comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping

from collection.errors import RetryLater

BLOCKED = 60.0
"""Seconds between tries where a firewall or a country's block answers instead of the exchange."""

UNSAID = 10.0
"""Seconds between tries where an exchange is asked too often and does not say how long to wait."""


def status_error(exchange: str, status: int, headers: Mapping[str, str], what: str = "") -> RetryLater:
    """Return what an error's status means: how long to wait, where the exchange, or a firewall, says so."""
    text = f"{exchange}: the exchange answered {status}{what}"
    if status in (403, 404, 451):
        return RetryLater(f"{text}: blocked by a firewall or for this country? Trying slowly", BLOCKED)
    after = retry_after(headers)
    return RetryLater(text, UNSAID if after is None and status in (418, 429) else after)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait, None where it does not."""
    for name, value in headers.items():
        if name.lower() == "retry-after" and value.strip().isdecimal() and value.isascii():
            return float(value)
    return None


def in_short(error: BaseException) -> str:
    """Return one line of what an error says, or its name where it says nothing; never a login that is in an address."""
    text = re.sub(r"//[^/@\s]*@", "//", " ".join(str(error).split())) or type(error).__name__
    return text[:300] + ("…" if len(text) > 300 else "")
