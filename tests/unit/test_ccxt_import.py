"""ccxt is imported by the exchange, and all its exchanges come as they do from ccxt's own packages."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from collection.clients.ccxt_import import exchange_class
from collection.names import known_exchanges
binance = exchange_class("binance", pro=True)
assert len([name for name in sys.modules if name.startswith("ccxt.")]) < 60
import ccxt
assert isinstance(binance(), ccxt.async_support.binance) and ccxt.pro.binance is binance
assert issubclass(ccxt.RequestTimeout, ccxt.NetworkError)
for exchange in sorted(known_exchanges(), reverse=True):
    assert exchange_class(exchange, pro=False)().id == exchange
try:
    ccxt.no_such_exchange
except AttributeError as error:
    print(error)
"""


def test_only_what_is_asked_for_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("ccxt has no no_such_exchange\n", "")
