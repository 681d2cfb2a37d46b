"""The exchanges that this system speaks to in their own protocol; all others are reached through ccxt."""

from __future__ import annotations

from collection.clients.binance import Binance
from collection.clients.wire import Wire

WIRES: dict[str, type[Wire]] = {wire.exchange: wire for wire in (Binance,)}
"""By ccxt's id of the exchange."""
