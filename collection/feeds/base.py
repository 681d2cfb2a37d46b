"""PriceFeed: a price that is wanted, what must be collected for it, and what it is by what was collected."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from collection import clock
from collection.data_collectors import CollectorFactory, DataSourceCollector
from collection.quotes.moment import Moment
from collection.records import Quote
from collection.storage import DataCollectionStorage
from collection.text import Seconds, shortly

NAME = r"^[^\s{}\"'\\]+$"


class PriceFeed(BaseModel, ABC):
    """One `[[feeds]]` table of a feeds file: `name`, `type` and the type's own fields.

    It says which price is wanted and nothing about collecting. A feed type is a subclass whose fields are the
    table's fields; validated with the CollectorFactory of the process as context.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100, pattern=NAME)
    type: str
    stale_after: Seconds = 60.0
    """Seconds: a quote whose newest datum is older is stale."""
    _collectors: CollectorFactory = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        if not isinstance(context, CollectorFactory):
            raise TypeError("a feed is validated with a CollectorFactory as context: see collection.loading")
        self._collectors = context

    @abstractmethod
    def data_source_collectors(self) -> list[DataSourceCollector]:
        """Return the collectors of everything that this price is made of."""

    @property
    def can_quote(self) -> bool:
        """Whether this type has a `compute` of its own: one that has none is there for its collectors."""
        return type(self).compute is not PriceFeed.compute

    def compute(self, moment: Moment) -> Quote:
        """Return what this feed says at a moment, reading through it alone. What it raises becomes a missing quote."""
        return Quote.missing(self.name, moment.at, f"feeds of type {self.type!r} quote nothing")

    def quote(self, storage: DataCollectionStorage, at: int | None = None) -> Quote:
        """Return the quote as of `at` (Unix milliseconds), by default now; never raises.

        It uses only what had been received by then, so within retention it is the same whenever it is asked for.
        """
        return Moment(storage, clock.now() if at is None else at).quote(self)

    def references(self) -> Iterable[tuple[str, str]]:
        """Yield (field, name) for each feed that this one is made of."""
        return ()

    def bind(self, feeds: Mapping[str, PriceFeed]) -> None:
        """Take the feeds that this one refers to, by name."""

    def made_of(self) -> str:
        """Say in a few words what the price is made of."""
        return self.type

    def stale_reason(self, at: int, timestamp: int) -> str:
        """Say that the newest datum is too old; empty where it is not."""
        age = (at - timestamp) / 1000
        return f"newest datum {age:.1f}s old, limit {shortly(self.stale_after)}" if age > self.stale_after else ""
