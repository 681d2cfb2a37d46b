"""The exchanges that the simulator can be, one module or package each: its wire format and nothing else."""

import difflib

from collection.errors import ConfigurationError
from collection.simulator.protocol import Protocol
from collection.simulator.protocols.binance import Binance
from collection.simulator.protocols.bybit import Bybit
from collection.simulator.protocols.coinbaseexchange import CoinbaseExchange
from collection.simulator.protocols.kraken import Kraken
from collection.simulator.protocols.okx import Okx

PROTOCOLS: dict[str, type[Protocol]] = {
    protocol.name: protocol for protocol in (Binance, CoinbaseExchange, Kraken, Okx, Bybit)
}
"""All of them, by their ids in ccxt."""


def protocol_named(name: str) -> type[Protocol]:
    """Return the protocol; raises ConfigurationError for one that is not known, naming the nearest one."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    close = difflib.get_close_matches(name, PROTOCOLS, n=1, cutoff=0.4)
    meant = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(PROTOCOLS)}"
    raise ConfigurationError(f"protocol {name!r} is unknown; {meant}")
