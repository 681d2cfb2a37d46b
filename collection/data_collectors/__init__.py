"""Collectors: one for each kind of data, built from their ids."""

from __future__ import annotations

from collection import plugins
from collection.clients import Clients
from collection.data_collectors.base import DataSourceCollector
from collection.data_collectors.trades_data_collector import TradesDataCollector
from collection.data_collectors.trades_reader import TradesReader
from collection.data_collectors.trades_stream_collector import TradesStreamCollector
from collection.errors import ConfigurationError
from collection.names import check_exchange, check_market, streams_trades
from collection.setting_groups import Transport
from collection.settings import Settings
from collection.text import nearest

__all__ = ["CollectorFactory", "DataSourceCollector", "TradesDataCollector", "TradesStreamCollector"]

KINDS = ("trades",)
"""Kinds of data that are built in."""


class CollectorFactory:
    """Builds the collectors of a process; they share its settings and its clients."""

    def __init__(self, settings: Settings, clients: Clients | None = None) -> None:
        self.settings = settings
        self.clients = clients or Clients(settings)

    def build(self, collector_id: str, transport: Transport | None = None) -> DataSourceCollector:
        """Build a collector from an id such as `trades:binance:BTC/USDT`; `transport` by default as the settings say.

        Raises:
            ConfigurationError: The id names an unknown kind or exchange, or the settings can't be met.
        """
        kind, _, rest = collector_id.partition(":")
        if kind not in KINDS:
            return self._of_plugin(kind, collector_id)
        exchange, _, market = rest.partition(":")
        try:
            check_exchange(exchange)
            check_market(market)
        except ValueError as error:
            raise ConfigurationError(f"collector {collector_id!r}: {error}") from None
        transport = transport or self.settings.exchange(exchange).transport
        if transport == "stream" and not streams_trades(exchange):
            raise ConfigurationError(
                f"exchanges.{exchange}.transport: its trades can't be streamed: make it 'auto' or 'poll', not 'stream'"
            )
        reader = TradesReader(
            exchange,
            market,
            start=self.settings.start,
            kept=self.settings.retention.trades,
            clients=self.clients,
        )
        if transport == "poll" or not streams_trades(exchange):
            return TradesDataCollector(reader, self.settings.intervals.trades)
        return TradesStreamCollector(reader)

    def _of_plugin(self, kind: str, collector_id: str) -> DataSourceCollector:
        try:
            if (plugin := plugins.find("collectors", kind, DataSourceCollector)) is None:
                known = [*KINDS, *plugins.names("collectors")]
                raise ValueError(f"unknown kind of data {kind!r}{nearest(kind, known)}")
            made: DataSourceCollector = plugin(collector_id, self)
        except ValueError as error:
            raise ConfigurationError(f"collector {collector_id!r}: {error}") from None
        return made
