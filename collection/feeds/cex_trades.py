"""A price from the trades of one market of a centralised exchange."""

from __future__ import annotations

from typing import Literal, cast

from pydantic import ValidationInfo, field_validator

from collection.data_collectors import CollectorFactory, DataSourceCollector
from collection.feeds.base import PriceFeed
from collection.names import check_exchange, check_market
from collection.quotes.coverage import incomplete
from collection.quotes.moment import Moment
from collection.records import Quote, Status, series_key
from collection.text import Seconds, shortly


class CEXTradesFeed(PriceFeed):
    """The price that the trades of the last `window` seconds make, those after at - window, up to and including at.

    `vwap` weighs by volume, `twap` by time (previous tick), `median` is that of the trades' prices, `last` the newest
    trade's: the formulas are in `collection.quotes.series.Window`. Dispersion is, for all of them, the standard
    deviation of prices around the VWAP, by volume, relative to it.
    """

    type: Literal["cex_trades"]
    exchange: str
    market: str
    window: Seconds
    method: Literal["vwap", "twap", "median", "last"] = "vwap"

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

    @property
    def key(self) -> str:
        """The series that it reads."""
        return series_key("trades", self.exchange, self.market)

    def made_of(self) -> str:
        return f"{self.method} of {shortly(self.window)} of {self.key}"

    def data_source_collectors(self) -> list[DataSourceCollector]:
        return [self._collectors.build(self.key)]

    def compute(self, moment: Moment) -> Quote:
        at, key = moment.at, self.key
        start = at - round(self.window * 1000)
        state = moment.state(key)
        if start + 1 < state.floor.timestamp:
            return Quote.missing(self.name, at, "the window begins before the oldest day that is kept")
        window = moment.trades(key, start).window(start, at)
        if not len(window):
            return Quote.missing(self.name, at, f"no trade in the last {shortly(self.window)}")
        price = getattr(window, self.method)()
        if price is None:
            return Quote.missing(self.name, at, f"no volume in the last {shortly(self.window)}")
        stale = self.stale_reason(at, window.newest.timestamp)
        gap = incomplete(state.coverage, window, start, at)
        status: Status = "stale" if stale else "degraded" if gap else "ok"
        return Quote(
            name=self.name,
            at=at,
            price=price,
            timestamp=window.newest.timestamp,
            count=len(window),
            sources=1,
            dispersion=window.dispersion(),
            volume=window.volume,
            status=status,
            reason="; ".join(filter(None, (stale, gap))),
        )
