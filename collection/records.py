"""The records that are collected, and the identity by which a record stored twice is one record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from decimal import Decimal
from typing import Literal, Self

import msgspec

Side = Literal["buy", "sell"]


class Trade(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One trade (or aggregate trade) as the exchange published it.

    Two trades are equal when everything the exchange said of them is equal: the time of receipt is kept, but is
    no part of identity, equality or digests.
    """

    timestamp: int
    """When the exchange executed it: Unix time in milliseconds."""
    id: str
    """The exchange's own id; where it gives none, a made one that begins with `~` (see `identified`)."""
    side: Side | None
    """The taker's side; None where the exchange does not say."""
    price: Decimal
    """In units of the quote currency, with the digits that the exchange sent."""
    amount: Decimal
    """In units of the base currency, with the digits that the exchange sent."""
    received: int = 0
    """When it reached this system: Unix time in milliseconds; 0 where that is not known."""

    @property
    def line(self) -> str:
        """What the exchange published, as the line `timestamp_ms,trade_id,side,price,amount`."""
        return f"{self.timestamp},{self.id},{self.side or ''},{self.price:f},{self.amount:f}"

    def _published(self) -> tuple[object, ...]:
        return self.timestamp, self.id, self.side, self.price, self.amount

    def __eq__(self, other: object) -> bool:
        return self._published() == other._published() if isinstance(other, Trade) else NotImplemented

    def __ne__(self, other: object) -> bool:  # msgspec's own compares by identity
        return not self == other if isinstance(other, Trade) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._published())


Status = Literal["ok", "degraded", "stale", "missing"]
"""From the best to the worst; see docs/quotes.md."""


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """What a feed says at a moment. There is a price exactly where the status is not `missing`."""

    name: str
    """Of the feed."""
    at: int
    """The moment: Unix time in milliseconds."""
    price: Decimal | None = None
    timestamp: int | None = None
    """Of the newest datum used: Unix time in milliseconds."""
    count: int = 0
    """Number of data used: trades, numbers."""
    sources: int = 0
    """Number of series used; one that several parts use counts for each."""
    dispersion: float | None = None
    """Relative to the price: how far what it is made of lies apart. Which measure that is, the feed type says."""
    volume: Decimal | None = None
    """Sum of the amounts, in units of the base currency, where it is made of trades."""
    status: Status
    reason: str = ""
    """Why it is not `ok`."""

    @classmethod
    def missing(cls, name: str, at: int, reason: str) -> Self:
        """Return a quote without a price."""
        return cls(name=name, at=at, status="missing", reason=reason)


QUOTES = "quotes"
"""The kind of these series: what stands before the first colon of their keys."""


def quote_key(name: str) -> str:
    """Name the series of the quotes of a feed: `quotes:BTC-USD`."""
    return f"{QUOTES}:{name}"


def series_key(kind: str, exchange: str, market: str) -> str:
    """Name the series of one kind of data of one market: `trades:binance:BTC/USDT`."""
    return f"{kind}:{exchange}:{market}"


def identified(message: Iterable[Trade]) -> list[Trade]:
    """Give the trades of one message that carry no id a made one.

    It is a hash of the trade and its ordinal among equal ones in the message, so that two equal trades of one
    message stay two, and a message that comes again makes the same ids again.
    """
    seen: dict[Trade, int] = {}
    trades = []
    for trade in message:
        if not trade.id:
            ordinal = seen[trade] = seen.get(trade, -1) + 1
            made = hashlib.blake2b(trade.line.encode(), digest_size=8).hexdigest()
            trade = msgspec.structs.replace(trade, id=f"~{made}.{ordinal}")
        trades.append(trade)
    return trades


def has_made_id(trade: Trade) -> bool:
    """Whether the id of a trade is made, as the exchange gave none."""
    return trade.id.startswith("~")


def digest(trades: Iterable[Trade]) -> str:
    """SHA-256, in hex, of the trades' lines in the order given, each ended by a newline."""
    sha = hashlib.sha256()
    for trade in trades:
        sha.update(f"{trade.line}\n".encode())
    return sha.hexdigest()
