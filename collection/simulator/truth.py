"""The judge: what was published so far, as count, ids and digest, so that a collection can be held against it."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from collection.simulator.market import Market

if TYPE_CHECKING:
    from hashlib import _Hash

_PIECE = 2_000
"""Rows between two looks at the rest of the world: hashing them takes a few milliseconds."""
_REMEMBERED = 8


class Truth(msgspec.Struct, frozen=True):
    """What a market published; `digest` equals `collection.records.digest` of its trades in the order of their ids."""

    market: str
    count: int
    first_id: str | None
    last_id: str | None
    digest: str


class Judge:
    """The truth about one market; asked again, it reads only what was published since."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._known: OrderedDict[int, tuple[int, _Hash]] = OrderedDict()

    async def truth(self, now: int, after: int | None = None, until: int | None = None) -> Truth:
        """Return what was published at that moment, of ids greater than `after` and up to and including `until`."""
        market = self._market
        stop = market.published(now)
        if until is not None:
            stop = min(stop, market.position_of_id(until + 1))
        start = 0 if after is None else min(stop, market.position_of_id(after + 1))
        at, sha = self._known.get(start, (start, hashlib.sha256()))
        if at > stop:
            at, sha = start, hashlib.sha256()
        sha = sha.copy()
        while at < stop:
            piece = market.rows(at, min(stop, at + _PIECE))
            sha.update("".join([f"{row.line}\n" for row in piece]).encode())
            at += len(piece)
            await asyncio.sleep(0)
        self._remember(start, stop, sha)
        first, last = (str(market.rows(n, n + 1)[0].id) if stop > start else None for n in (start, stop - 1))
        return Truth(market.name, stop - start, first, last, sha.hexdigest())

    def _remember(self, start: int, stop: int, sha: _Hash) -> None:
        if stop >= self._known.get(start, (start, None))[0]:
            self._known[start] = stop, sha
            self._known.move_to_end(start)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
