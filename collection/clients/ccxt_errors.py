"""ccxt's errors, sorted by what to do about them: https://docs.ccxt.com/#/README?id=error-handling."""

from __future__ import annotations

import re
from collections.abc import Mapping

from collection.errors import CollectionError, ConfigurationError, RetryLater

BLOCKED = 60.0
"""Seconds between tries where a firewall or a country's block answers instead of the exchange."""


def sorted_error(exchange: str, error: Exception, headers: Mapping[str, str]) -> CollectionError:
    """Return what a failed call means: RetryLater, with the wait that the exchange asks for, or ConfigurationError.

    `headers` are those of the last answer. An error that is none of ccxt's comes from an answer that ccxt could not
    read (cut off, or of another form): the next one may be better.
    """
    import ccxt

    text = f"{exchange}: {type(error).__name__}: {_short(error)}"
    permanent = (
        ccxt.BadRequest,
        ccxt.AuthenticationError,
        ccxt.ArgumentsRequired,
        ccxt.NotSupported,
        ccxt.InvalidProxySettings,
        ccxt.RestrictedLocation,
    )
    if isinstance(error, permanent):
        return ConfigurationError(text)
    if isinstance(error, ccxt.DDoSProtection | ccxt.RateLimitExceeded):
        return RetryLater(text, _retry_after(headers))
    if isinstance(error, ccxt.ExchangeNotAvailable) and re.search(r" (403|404|451) ", str(error)):
        return RetryLater(f"{text}: blocked by a firewall or for this country? Trying slowly", BLOCKED)
    if isinstance(error, ccxt.BaseError):
        return RetryLater(text)
    return RetryLater(f"{exchange}: an answer that can't be read ({type(error).__name__}: {_short(error)})")


class DialError(RetryLater):
    """A connection broke or could not be made; `limited` says whether the exchange wants to be left alone."""

    limited = False


def dial_error(exchange: str, error: Exception, retry_after: float | None) -> DialError:
    """Return what a connection that broke, or a handshake that failed, means for the next one."""
    cause = error.args[0] if error.args else None
    status = getattr(cause, "status", None)
    if status is None:
        return DialError(f"{exchange}: {_short(error)}")
    text = f"{exchange}: the exchange answered {status} to a WebSocket's handshake"
    if status in (403, 404, 451):
        return DialError(f"{text}: blocked by a firewall or for this country? Trying slowly", BLOCKED)
    failure = DialError(text, retry_after)
    failure.limited = status in (418, 429)
    return failure


def is_network_error(error: Exception) -> bool:
    """Whether the network failed, and not what was asked for."""
    import ccxt

    return isinstance(error, ccxt.NetworkError) and not isinstance(error, ccxt.DDoSProtection | ccxt.RateLimitExceeded)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    for name, value in headers.items():
        if name.lower() == "retry-after" and value.strip().isdecimal():
            return float(value)
    return None


def _short(error: Exception) -> str:
    """One line of the message, without query parameters: they may hold a signature."""
    cause = f" ({error.__cause__})" if error.__cause__ else ""
    text = re.sub(r"\?\S*", "", " ".join(f"{error}{cause}".split()))
    return text[:300] + ("…" if len(text) > 300 else "")
