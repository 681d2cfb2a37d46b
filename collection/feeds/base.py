"""PriceFeed: a price that is wanted, and what must be collected for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from collection.data_collectors import CollectorFactory, DataSourceCollector


class PriceFeed(BaseModel, ABC):
    """One `[[feeds]]` table of a feeds file: `name`, `type` and the type's own fields.

    It says which price is wanted and nothing about collecting. A feed type is a subclass whose fields are the
    table's fields; validated with the CollectorFactory of the process as context.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\s{}\"'\\]+$")
    type: str
    _collectors: CollectorFactory = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        if not isinstance(context, CollectorFactory):
            raise TypeError("a feed is validated with a CollectorFactory as context: see collection.loading")
        self._collectors = context

    @abstractmethod
    def data_source_collectors(self) -> list[DataSourceCollector]:
        """Return the collectors of everything that this price is made of."""
