"""Quotes over Redis: a channel for each feed, a stream of all, and the last one of each.

| name                        | is                                                                     |
|-----------------------------|------------------------------------------------------------------------|
| channel `quotes:NAME`       | the quotes of a feed: SUBSCRIBE `quotes:BTC-USD`, PSUBSCRIBE `quotes:*`|
| stream `qc:{quotes}:stream` | all quotes, the newest hundred thousand, each in a field `quote`       |
| hash `qc:{quotes}:last`     | the last quote of each feed, by its name                               |

A quote is a JSON object with the fields of `Quote`; exact numbers are texts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

import msgspec
import redis

from collection.quotes.publisher import DEVIATION, HEARTBEAT, Publisher
from collection.records import Quote, quote_key
from collection.storage import SCHEMES
from collection.storage.redis_server import connect, server_errors

log = logging.getLogger(__name__)

STREAM = "qc:{quotes}:stream"
LAST = "qc:{quotes}:last"
LENGTH = 100_000
"""Quotes that the stream keeps."""
_SCRIPT = files("collection.quotes").joinpath("publish.lua").read_bytes()
_AT_ONCE = 500
_TRIES = 3

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Quote).decode


class RedisPublisher(Publisher):
    """Tells whoever listens to Redis. Any number of publishers may quote the same feeds: what is news is told once."""

    def __init__(self, url: str, deviation: float = DEVIATION, heartbeat: float = HEARTBEAT) -> None:
        super().__init__(deviation, heartbeat)
        self._client = connect(url)
        self._script = self._client.register_script(_SCRIPT)
        self._known: dict[str, bytes] = {}  # the last quote of each feed, as Redis has it

    def publish(self, quotes: Iterable[Quote]) -> list[Quote]:
        """Publish what is news, and return it; raises StorageUnavailable."""
        left, told = list(quotes), []
        for _ in range(_TRIES):  # again where another one published meanwhile, or before
            left = [quote for quote in left if self.is_news(quote)]
            for place in range(0, len(left), _AT_ONCE):
                told += self._tell(left[place : place + _AT_ONCE])
        return told

    def _tell(self, news: Sequence[Quote]) -> list[Quote]:
        lines = [encode(quote) for quote in news]
        args: list[str | bytes | int] = [LENGTH, quote_key("")]
        for quote, line in zip(news, lines, strict=True):
            args += [quote.name, self._known.get(quote.name, b""), line]
        with server_errors():
            last = self._script(keys=[LAST, STREAM], args=args)
        told = []
        for quote, line, now in zip(news, lines, last, strict=True):
            self._known[quote.name] = now
            if now == line:  # also where the answer to a first try was lost
                told.append(quote)
                self._last[quote.name] = quote
            else:
                self._learn(quote.name, now)
        return told

    def _learn(self, name: str, line: bytes) -> None:
        self._last.pop(name, None)
        if line:
            try:
                self._last[name] = decode(line)
            except msgspec.MsgspecError:
                return  # nobody can read it: the next one replaces it

    def close(self) -> None:
        self._client.close()


def last_published(client: redis.Redis) -> list[Quote]:
    """Return the last quote of each feed that was ever published."""
    with server_errors():
        lines = client.hvals(LAST)
    return list(readable(lines))


def readable(lines: Iterable[bytes | str]) -> Iterator[Quote]:
    """Yield the quotes; what is none is logged, and passed over."""
    for line in lines:
        try:
            yield decode(line)
        except msgspec.MsgspecError as error:
            log.warning("quotes: what is no quote is passed over: %s", error)


def open_publisher(url: str, deviation: float = DEVIATION, heartbeat: float = HEARTBEAT) -> Publisher:
    """Open the publisher that goes with the storage at a URL; where that is no Redis, one that tells nobody."""
    scheme = url.partition("://")[0]
    if scheme in SCHEMES and scheme != "memory":
        return RedisPublisher(url, deviation, heartbeat)
    return Publisher(deviation, heartbeat)
