"""CEXClient: one exchange. The only place where wire formats become records."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from collection.records import Trade
from collection.storage import Covers
from collection.storage.coverage import By
from collection.text import nearest


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


class CEXClient(ABC):
    """One exchange, shared by all its collectors in a process; used within one event loop.

    Errors of its methods: RetryLater (the exchange is away, busy or silent), ConfigurationError (no such market, no
    permission, not supported).
    """

    exchange: str
    by: By
    """What positions are on this exchange: trade ids where they are increasing integers, else times."""

    @abstractmethod
    async def fetch_trades(self, market: str, after: Cursor | Start) -> Page:
        """Fetch the page of trades that follows a cursor, or the first one of an empty series."""

    @abstractmethod
    async def close(self) -> None:
        """Close connections."""


@cache
def known_exchanges() -> frozenset[str]:
    """The ids of the exchanges that ccxt reaches, read from its files: importing it takes most of a second."""
    spec = find_spec("ccxt")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        return frozenset()
    modules = Path(folders[0], "async_support").glob("*.py")
    return frozenset(module.stem for module in modules if not module.stem.startswith("_"))


def check_exchange(exchange: str) -> str:
    """Return the id of a known exchange; raise ValueError, naming the nearest, for another."""
    if exchange not in known_exchanges():
        raise ValueError(f"{exchange!r} is no exchange that ccxt knows{nearest(exchange, known_exchanges())}")
    return exchange


def check_market(market: str) -> str:
    """Return a well-formed market; raise ValueError for another. Whether it is traded, only the exchange knows."""
    if not re.fullmatch(r"[^\s/:{}\"'\\]+/[^\s/:{}\"'\\]+(:[^\s/:{}\"'\\]+)?", market):
        raise ValueError(f"{market!r} is no market such as 'BTC/USDT' (base/quote, or base/quote:settle)")
    if market != market.upper():
        raise ValueError(f"{market!r} is no market{nearest(market, [market.upper()], str.upper)}")
    return market
