"""Following quotes as they are published."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from collection import clock
from collection.backoff import Backoff
from collection.errors import StorageUnavailable
from collection.quotes.redis_publisher import LAST, STREAM, readable
from collection.records import Quote
from collection.storage.redis_server import connect, server_errors

log = logging.getLogger(__name__)

SILENCE = 30.0
"""Seconds without a quote of a feed after which it counts as missing: three heartbeats, as they are by default."""
BLOCK = 1_000
"""Milliseconds that one call waits for quotes."""
_SNAPSHOT = "return {redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1), redis.call('HVALS', KEYS[2])}"


async def follow(url: str, names: Iterable[str] = (), silence: float = SILENCE) -> AsyncIterator[Quote]:
    """Yield the last quote of each feed, then each one that is published, in order, none of a feed twice.

    `names` are the feeds, by default all. A feed of which nothing was heard for `silence` seconds, whatever the cause,
    is told once as a quote that is missing: let it be some heartbeats. What was published while the caller was busy, or
    Redis could not be reached, comes afterwards, as far as the stream goes back.
    """
    heard = _Heard(names, silence)
    backoff = Backoff()
    position = ""
    client = connect(url)
    try:
        while True:
            try:
                first = not position
                lines, position = await asyncio.to_thread(_read, client, position)
                backoff.reset()
            except StorageUnavailable as error:
                wait = backoff.next()
                log.warning("quotes: %s; next try in %.1f s", error, wait)
                lines = []
                await asyncio.sleep(wait)
            for quote in (*heard.new(lines, first), *heard.silent()):
                yield quote
    finally:
        client.close()


def _read(client: Any, position: str) -> tuple[list[bytes], str]:
    """Return what comes after a position in the stream, at first the last quote of each feed, and the next position."""
    with server_errors():
        if not position:
            newest, last = client.eval(_SNAPSHOT, 2, STREAM, LAST)
            return last, newest[0][0].decode() if newest else "0-0"
        answer = client.xread({STREAM: position}, count=1_000, block=BLOCK)
    entries = answer[0][1] if answer else []
    return [fields.get(b"quote", b"") for _, fields in entries], entries[-1][0].decode() if entries else position


class _Heard:
    """What was heard of each feed, and when."""

    def __init__(self, names: Iterable[str], silence: float) -> None:
        self._names = frozenset(names)
        self._silence = silence
        self._until = dict.fromkeys(self._names, time.monotonic() + silence)

    def new(self, lines: Iterable[bytes | str], first: bool) -> Iterator[Quote]:
        """Yield quotes; of the first ones only those that are not too old to be the last word."""
        for quote in readable(lines):
            if self._names and quote.name not in self._names:
                continue
            age = (clock.now() - quote.at) / 1000
            self._until[quote.name] = time.monotonic() + self._silence - max(age, 0.0)
            if age < self._silence or not first:
                yield quote

    def silent(self) -> Iterator[Quote]:
        now = time.monotonic()
        for name in [name for name, until in self._until.items() if until <= now]:
            del self._until[name]
            yield Quote.missing(name, clock.now(), f"nothing was heard of it for {self._silence:g} s")
