"""ccxt without the hundred exchanges that nobody asked for: importing them all takes 56 MB and a third of a second."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """A package of ccxt that imports an exchange when it is first named, and gives its class, as ccxt's own does."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(spec.name)
        self.__spec__, self.__package__ = spec, spec.name
        self.__path__ = spec.submodule_search_locations or []
        sys.modules[spec.name] = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            import_module(f"{self.__name__}.{name}")
        except ModuleNotFoundError:
            raise AttributeError(f"{self.__name__} has no {name}") from None
        return vars(self)[name]

    def __setattr__(self, name: str, value: object) -> None:
        # Python sets each module that it imports on its package.
        super().__setattr__(name, getattr(value, name, value) if isinstance(value, ModuleType) else value)


def exchange_class(exchange: str, *, pro: bool) -> Any:
    """Return ccxt's class of an exchange: that of ccxt.pro, which has REST and WebSocket, or that of REST alone."""
    _prepare()
    kind = "pro" if pro else "async_support"
    return getattr(import_module(f"ccxt.{kind}.{exchange}"), exchange)


def _prepare() -> None:
    if "ccxt" in sys.modules:
        return  # whoever imported it has paid for it
    ccxt = _package("ccxt")
    errors = vars(import_module("ccxt.base.errors"))
    vars(ccxt).update({name: value for name, value in errors.items() if not name.startswith("_")})
    vars(ccxt)["Exchange"] = import_module("ccxt.base.exchange").Exchange
    vars(ccxt)["async_support"] = support = _package("ccxt.async_support")
    vars(support)["Exchange"] = import_module("ccxt.async_support.base.exchange").Exchange
    vars(ccxt)["pro"] = _package("ccxt.pro")


def _package(name: str) -> _Package:
    spec = find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"{name} is not installed")
    return _Package(spec)
