"""REST requests to one exchange: within its budget, and with errors sorted by what to do about them."""

from __future__ import annotations

import time
from collections.abc import Callable

import aiohttp

from collection.clients.answers import in_short, status_error
from collection.clients.budget import Budget
from collection.clients.skew import Skew
from collection.clients.wire import Request
from collection.clock import now
from collection.errors import CollectionError, ConfigurationError, RetryLater

TIMEOUT = 15.0
"""Seconds for one request."""
CONNECTING = 10.0
"""Seconds of them for the connection."""
LONGEST_BAN = 600.0
"""Seconds of silence that an answer may ask for, at the most: what is longer is asked for again."""


class Rest:
    """A pool of HTTP connections; connects with its first request, within one event loop."""

    def __init__(
        self,
        exchange: str,
        address: str,
        proxy: str | None,
        budget: Budget,
        skew: Skew,
        explain: Callable[[int, bytes], CollectionError | None],
    ) -> None:
        self._exchange, self._address, self._proxy = exchange, address.rstrip("/"), proxy
        self._budget, self._skew, self._explain = budget, skew, explain
        self._session: aiohttp.ClientSession | None = None
        self._silent_until = 0.0

    async def get(self, request: Request) -> bytes:
        """Return the body of the answer; raises RetryLater or ConfigurationError."""
        await self._budget.take(request.weight)
        silent = self._silent_until - time.monotonic()
        if silent > 0:
            raise RetryLater(f"{self._exchange} asked to wait another {silent:.0f} s", silent)
        if self._session is None:
            self._session = _session(self._proxy)
        sent = now()
        try:
            async with self._session.get(f"{self._address}{request.path}", params=request.params) as answer:
                self._skew.saw(answer.headers.get("Date"), sent, now())
                body = await answer.read()
        except TimeoutError:
            raise RetryLater(f"{self._exchange}: no answer to {request.path} within {TIMEOUT:g} s") from None
        except Exception as error:  # of aiohttp, of the system, of a proxy
            raise RetryLater(f"{self._exchange}: {request.path}: {in_short(error)}") from None
        if answer.status == 200:
            return body
        raise self._sorted(answer, request, body)

    def be_silent(self, seconds: float) -> None:
        """Ask nothing for a while: the exchange wants to be left alone."""
        self._silent_until = max(self._silent_until, time.monotonic() + min(seconds, LONGEST_BAN))

    def _sorted(self, answer: aiohttp.ClientResponse, request: Request, body: bytes) -> CollectionError:
        if answer.status not in (418, 429) and (explained := self._explain(answer.status, body)) is not None:
            return explained
        error = status_error(self._exchange, answer.status, answer.headers, f" to {request.path}")
        if error.after:
            self.be_silent(error.after)
        return error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()


def _session(proxy: str | None) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(TIMEOUT, connect=CONNECTING)
    if proxy and proxy.startswith("socks"):
        try:
            from aiohttp_socks import ProxyConnector
        except ImportError:
            raise ConfigurationError("a SOCKS proxy needs what the extra `socks` installs") from None
        return aiohttp.ClientSession(connector=ProxyConnector.from_url(proxy), timeout=timeout)
    return aiohttp.ClientSession(proxy=proxy, timeout=timeout)
