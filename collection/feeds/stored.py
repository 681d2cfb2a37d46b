"""A number that is in the storage, whoever brought it there."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from collection.data_collectors import DataSourceCollector
from collection.feeds.base import NAME, PriceFeed
from collection.quotes.moment import Moment
from collection.records import Quote
from collection.text import shortly

LOOK_BACK = 10
"""Times the limit: what is older is not looked for."""


class StoredFeed(PriceFeed):
    """The newest number of a series at or before the moment; of decimals of one millisecond the greatest.

    It is stale once it is older than `stale_after`, and missing once it is ten times as old. Numbers carry no time of
    receipt: they count as received at their timestamp. Nothing is collected for it.
    """

    type: Literal["stored"]
    key: str = Field(min_length=1, max_length=200, pattern=NAME)

    def made_of(self) -> str:
        return f"newest of {self.key}"

    def data_source_collectors(self) -> list[DataSourceCollector]:
        return []

    def compute(self, moment: Moment) -> Quote:
        at = moment.at
        start = at - round(self.stale_after * 1000) * LOOK_BACK
        state = moment.state(self.key)
        since = max(start, state.floor.timestamp - 1)  # a day that was dropped is gone for everybody
        found = moment.values(self.key, start).newest(since, at)
        if found is None:
            what = (
                "what there was is dropped"
                if at < state.floor.timestamp
                else f"no number in the last {shortly(self.stale_after * LOOK_BACK)}"
            )
            return Quote.missing(self.name, at, f"{self.key}: {what}")
        timestamp, price = found
        stale = self.stale_reason(at, timestamp)
        return Quote(
            name=self.name,
            at=at,
            price=price,
            timestamp=timestamp,
            count=1,
            sources=1,
            status="stale" if stale else "ok",
            reason=stale,
        )
