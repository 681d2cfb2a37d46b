"""The names of exchanges and markets: which are known, and which are well-formed."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from collection import plugins
from collection.text import nearest


@cache
def known_exchanges() -> frozenset[str]:
    """The ids of the exchanges that ccxt reaches, read from its files: importing it takes most of a second."""
    spec = find_spec("ccxt")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        return frozenset()
    modules = Path(folders[0], "async_support").glob("*.py")
    return frozenset(module.stem for module in modules if not module.stem.startswith("_"))


def check_exchange(exchange: str) -> str:
    """Return the id of a known exchange; raise ValueError, naming the nearest, for another."""
    if not is_known(exchange):
        known = known_exchanges().union(plugins.names("clients"))
        raise ValueError(f"{exchange!r} is no exchange that ccxt knows{nearest(exchange, known)}")
    return exchange


def is_known(exchange: str) -> bool:
    """Whether ccxt or the client of a plug-in reaches an exchange."""
    return exchange in known_exchanges() or exchange in plugins.names("clients")


def check_market(market: str) -> str:
    """Return a well-formed market; raise ValueError for another. Whether it is traded, only the exchange knows."""
    if not re.fullmatch(r"[^\s/:{}\"'\\]+/[^\s/:{}\"'\\]+(:[^\s/:{}\"'\\]+)?", market):
        raise ValueError(f"{market!r} is no market such as 'BTC/USDT' (base/quote, or base/quote:settle)")
    if market != market.upper():
        raise ValueError(f"{market!r} is no market{nearest(market, [market.upper()], str.upper)}")
    return market


WITH_KEYS = frozenset({"alpaca", "luno"})
"""Exchanges that stream to those who have a key, but whose trades anybody may poll."""
OTHER_IDS = frozenset({"aster", "bitrue", "hashkey", "lbank", "mexc", "nado", "toobit"})
"""Exchanges whose live trades can't be told from those of REST: the ids of one of the two are others, or missing."""


@cache
def streams_trades(exchange: str) -> bool:
    """Whether ccxt can stream an exchange's trades, read from its files as well: `has["watchTrades"]`.

    Of an exchange that a plug-in reaches, its client says so (`CEXClient.streams`).
    Not where they would be stored twice, or a key is needed: see `OTHER_IDS` and `WITH_KEYS`.
    """
    if exchange in OTHER_IDS | WITH_KEYS:
        return False
    if exchange not in known_exchanges() and (client := plugins.find("clients", exchange, object)):
        return getattr(client, "streams", False) is True
    spec = find_spec("ccxt")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        module = Path(folder, "pro", f"{exchange}.py")
        text = module.read_text(encoding="utf-8") if module.is_file() else ""
        if said := re.search(r"'watchTrades': (True|False|None)", text):
            return said[1] == "True"
        if parent := re.search(rf"^class {exchange}\(([a-z0-9]+)\):", text, re.MULTILINE):
            return streams_trades(parent[1])
    return False
