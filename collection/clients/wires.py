"""The exchanges that this system speaks to in their own protocol; all others are reached through ccxt."""

from __future__ import annotations

from collection.clients.binance import Binance
from collection.clients.bybit import Bybit
from collection.clients.coinbase import Coinbase
from collection.clients.kraken import Kraken
from collection.clients.okx import OKX
from collection.clients.wire import Wire

WIRES: dict[str, type[Wire]] = {wire.exchange: wire for wire in (Binance, Coinbase, Kraken, OKX, Bybit)}
"""By ccxt's id of the exchange."""
