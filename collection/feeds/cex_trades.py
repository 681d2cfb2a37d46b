"""A price from the trades of one market of a centralised exchange."""

from __future__ import annotations

from typing import Literal, cast

from pydantic import ValidationInfo, field_validator

from collection.data_collectors import CollectorFactory, DataSourceCollector
from collection.feeds.base import PriceFeed
from collection.names import check_exchange, check_market
from collection.records import series_key
from collection.text import Seconds, shortly


class CEXTradesFeed(PriceFeed):
    """The price that the trades of the last `window` seconds make."""

    type: Literal["cex_trades"]
    exchange: str
    market: str
    window: Seconds

    @field_validator("exchange")
    @classmethod
    def _known(cls, exchange: str) -> str:
        return check_exchange(exchange)

    @field_validator("market")
    @classmethod
    def _well_formed(cls, market: str) -> str:
        return check_market(market)

    @field_validator("window")
    @classmethod
    def _kept(cls, window: float, info: ValidationInfo) -> float:
        kept = cast("CollectorFactory", info.context).settings.retention.trades
        if window > kept:
            raise ValueError(f"{shortly(window)} is longer than trades are kept (retention.trades = {shortly(kept)})")
        return window

    def data_source_collectors(self) -> list[DataSourceCollector]:
        return [self._collectors.build(series_key("trades", self.exchange, self.market))]
