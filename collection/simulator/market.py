"""What a simulated market publishes: rows in the order of their ids, each at its own moment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from decimal import Decimal
from typing import Literal

import msgspec

from collection.records import Trade


class Row(msgspec.Struct, frozen=True, gc=False):
    """One published aggregate trade; price and amount are the exact digits of the source."""

    timestamp: int
    """When it was executed: Unix time in milliseconds."""
    id: int
    side: Literal["buy", "sell"]
    price: str
    amount: str

    @property
    def line(self) -> str:
        """The same line as `Trade.line` makes of it."""
        return f"{self.timestamp},{self.id},{self.side},{self.price},{self.amount}"

    def trade(self) -> Trade:
        """The record that a collector should have stored."""
        return Trade(self.timestamp, str(self.id), self.side, Decimal(self.price), Decimal(self.amount))


class Market(ABC):
    """A market whose past and future are fixed: only the time decides how much of it is published.

    Trades are counted by position, from 0. Moments are Unix time in whole milliseconds.
    """

    kind: Literal["tape", "generated"]
    price_decimals: int
    """The tick size is 10 to the power of minus this."""
    amount_decimals: int
    """The lot size is 10 to the power of minus this."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.base, _, self.quote = name.partition("/")
        self.symbol = self.base + self.quote

    @abstractmethod
    def published(self, now: int) -> int:
        """Return how many trades are published at that moment: the positions below this number."""

    @abstractmethod
    def due(self, position: int) -> int | None:
        """Return the moment at which the trade of this position is published; None after the last one."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> list[Row]:
        """Return the trades of the positions from `start` up to, but not including, `stop`."""

    @abstractmethod
    def position_of_id(self, id: int) -> int:
        """Return the first position whose id is this one or greater."""

    @abstractmethod
    def position_of_time(self, moment: int) -> int:
        """Return the first position whose trade was executed at this moment or later."""

    @property
    @abstractmethod
    def reference_price(self) -> str:
        """A price that the market had before anything was published."""
