"""Which quotes are news, and telling them to whoever listens."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from collection import clock
from collection.records import Quote

DEVIATION = 0.0001
"""Relative to the price: a basis point."""
HEARTBEAT = 10.0
"""Seconds."""


class Publisher:
    """Publishes a quote when its price moved by more than `deviation` (relative) since the last one that was published,
    when its status changed, and at least every `heartbeat` seconds.

    This one remembers what is news, and tells nobody.
    """

    def __init__(self, deviation: float = DEVIATION, heartbeat: float = HEARTBEAT) -> None:
        self.heartbeat = heartbeat
        self._deviation = Decimal(repr(deviation))
        self._last: dict[str, Quote] = {}

    def publish(self, quotes: Iterable[Quote]) -> list[Quote]:
        """Publish what is news, and return it."""
        news = [quote for quote in quotes if self.is_news(quote)]
        self._last.update((quote.name, quote) for quote in news)
        return news

    def is_news(self, quote: Quote) -> bool:
        """Whether a quote is to be published; one that is not newer than the last one comes too late."""
        last = self._last.get(quote.name)
        if last is None:
            return True
        if quote.at <= last.at:
            return last.at - clock.now() > self.heartbeat * 1000  # whoever told that one has a clock that is ahead
        if quote.status != last.status or quote.at - last.at >= self.heartbeat * 1000:
            return True
        if quote.price is None or last.price is None:
            return False  # both are, as the status is the same
        return abs(quote.price - last.price) > self._deviation * abs(last.price)

    def close(self) -> None:
        """Let go of connections."""
