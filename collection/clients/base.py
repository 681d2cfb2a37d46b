"""CEXClient: one exchange. The only place where wire formats become records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, NamedTuple, Self

from collection.clients.skew import Skew
from collection.records import Trade
from collection.storage import Covers
from collection.storage.coverage import By


class Refused(NamedTuple):
    """A record that is not stored: the name it is counted under, what the exchange sent, and its id if it has one."""

    reason: str
    source: str
    id: str


class Cursor(NamedTuple):
    """Where to read on: all up to `position` is stored.

    Where positions are times, `edge` are the ids that are stored of the first millisecond after it: a page that
    begins among them, or before, joins what is stored without a hole.
    """

    position: int
    edge: frozenset[str] = frozenset()


class Start(NamedTuple):
    """Where an empty series starts: `now`, `earliest`, or at a time in Unix milliseconds."""

    at: int | str


class Page(NamedTuple):
    """One answer of an exchange: its trades, what of it was refused, and what it makes complete."""

    trades: Sequence[Trade]
    refused: Sequence[Refused]
    covers: Covers
    more: bool
    """Whether another page follows at once: False when caught up."""


class Live(NamedTuple):
    """What came over a stream since it was last asked."""

    trades: Sequence[Trade]
    refused: Sequence[Refused] = ()
    fresh: bool = False
    """Whether something may be missing before it: it connected (again) just now, or could not keep all that came."""


class TradeStream(ABC):
    """The live trades of one market, in the order in which they came; to be closed, as `async with` does.

    It connects its own sockets again when they break.
    """

    live = False
    """Whether it is connected and subscribed now, as far as is known."""

    @abstractmethod
    async def next(self) -> Live:
        """Wait until something came: a connection (`fresh`, and no trades yet), trades, or what can't be read.

        Raises:
            RetryLater: It can't be connected, or the exchange refuses the subscription for now.
            ConfigurationError: The exchange has no such market or stream.
        """

    @abstractmethod
    def renew(self) -> None:
        """Connect anew: the subscription has died though its socket lives. What comes next is `fresh`."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of the subscription, and of the socket when it is the last one on it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class CEXClient(ABC):
    """One exchange, shared by all its collectors in a process; used within one event loop.

    Errors of its methods: RetryLater (the exchange is away, busy or silent), ConfigurationError (no such market, no
    permission, not supported).
    """

    exchange: str
    streams: ClassVar[bool] = True
    """Of the client of a plug-in: False where its trades can only be polled."""
    by: By
    """What positions are on this exchange: trade ids where they are increasing integers, else times."""

    @cached_property
    def skew(self) -> Skew:
        """What its answers tell of the exchange's clock."""
        return Skew(self.exchange)

    @abstractmethod
    async def fetch_trades(self, market: str, after: Cursor | Start) -> Page:
        """Fetch the page of trades that follows a cursor, or the first one of an empty series."""

    @abstractmethod
    async def first_since(self, market: str, timestamp: int) -> int:
        """Return the position of the first trade executed at or after a time in Unix milliseconds.

        Where positions are ids, it is the one after the newest trade where none is that new, and the oldest that the
        exchange still has where its history begins later. Where they are times, it is that time.
        """

    @abstractmethod
    def stream_trades(self, market: str) -> TradeStream:
        """Listen to the trades of a market: the same ones, with the same ids, that `fetch_trades` reads."""

    @abstractmethod
    async def close(self) -> None:
        """Close connections."""
