"""The parameters of a REST request, and the exchange's answers to wrong ones.

https://developers.binance.com/docs/binance-spot-api-docs/errors
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web

from collection.simulator import rest

SYMBOL = "^[A-Z0-9-_.]{1,20}$"
NUMBER = "^[0-9]{1,20}$"


class Refused(rest.Refused):
    """The exchange's answer to a request that it does not accept."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__({"code": code, "msg": msg})


def parameters(request: web.Request, *names: str) -> dict[str, str]:
    """Return the request's parameters; raises Refused where one is empty, repeated or not among `names`."""
    query = request.query
    if len(query) > len(names):
        raise Refused(-1101, f"Too many parameters; expected '{len(names)}' and received '{len(query)}'.")
    if len(set(query)) < len(query):
        raise Refused(-1101, "Duplicate values for a parameter detected.")
    read = sum(name in names for name in query)
    if read < len(query):
        raise Refused(
            -1104, f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(query)}'."
        )
    for name, value in query.items():
        if not value:
            raise Refused(-1105, f"Parameter '{name}' was empty.")
    return dict(query)


def number(given: Mapping[str, str], name: str) -> int | None:
    """Return the parameter as a number, None where it was not sent; raises Refused where it is none."""
    if name not in given:
        return None
    if not re.fullmatch(NUMBER, given[name]):
        raise illegal(name, NUMBER)
    return int(given[name])


def limit_of(given: Mapping[str, str], default: int = 500, most: int = 1000) -> int:
    """Return `limit`, or the default; more than the most is taken for the most, as the exchange does."""
    limit = number(given, "limit")
    if limit == 0:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit or default, most)


def illegal(name: str, form: str) -> Refused:
    """The answer to a parameter that is not of the form (a regular expression)."""
    return Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{form}'.")
