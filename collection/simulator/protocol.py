"""What a simulated exchange says and hears: the wire format of one of them, over what all share."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from aiohttp import web

from collection.simulator.faults import Faults
from collection.simulator.market import Market, Row
from collection.simulator.rest import Budget, Handler, Refused, answer

if TYPE_CHECKING:
    from collection.simulator.connection import Connection
    from collection.simulator.streams import Streams

Weight = int | Callable[[web.Request], int]
Excess = Literal["budget", "rate_limit", "ban"]
"""Why a request is turned away: the budget is used up, or the fault of this name."""


class Protocol(ABC):
    """The public spot trades of one exchange over REST and WebSocket; `now` gives Unix time in milliseconds."""

    name: ClassVar[str]
    """The exchange's id, which is ccxt's."""
    allowance: ClassVar[tuple[int, int]]
    """How much weight of requests all clients together have, and for how many milliseconds."""
    sockets: ClassVar[Sequence[str]]
    """The paths of its WebSocket, as routes of aiohttp."""

    def __init__(
        self, markets: Sequence[Market], now: Callable[[], int], faults: Faults, weight_limit: int | None = None
    ) -> None:
        self.markets = {self.symbol(market): market for market in markets}
        self.now, self.faults = now, faults
        limit, window = self.allowance
        self.budget = Budget(limit if weight_limit is None else weight_limit, window)

    @staticmethod
    @abstractmethod
    def urls(address: str) -> dict[str, Any]:
        """Return what ccxt's `urls["api"]` is to be, for `host:port`."""

    @staticmethod
    @abstractmethod
    def symbol(market: Market) -> str:
        """Return the market's name in the streams."""

    @staticmethod
    def view(market: Market) -> Market:
        """Return the market as this exchange tells of it."""
        return market

    @abstractmethod
    def rest(self) -> Mapping[str, tuple[Weight, Handler]]:
        """Return what weight a GET request of each path has, and what answers it; that may raise Refused."""

    @abstractmethod
    def limited(self, why: Excess) -> web.Response:
        """Return the answer to a request of somebody who asks too much."""

    def unconnected(self, why: Excess) -> web.Response:
        """Return the answer to somebody who opens too many connections."""
        return web.Response(status=403 if why == "ban" else 429, text="Too Many Requests")

    def stamp(self, response: web.StreamResponse) -> None:  # noqa: B027 - most have none
        """Add the headers that every answer has."""

    def opened(self, connection: Connection, request: web.Request, streams: Streams) -> Sequence[str]:
        """Return what the exchange says to a new connection."""
        return ()

    @abstractmethod
    def answers(self, connection: Connection, text: str | bytes, streams: Streams) -> Sequence[str]:
        """Return what the exchange answers to a message of a client, after doing what it asks for."""

    @abstractmethod
    def streams_of(self, market: Market) -> Sequence[str]:
        """Return the names of the streams that publish this market's trades."""

    @abstractmethod
    def messages(self, stream: str, market: Market, rows: Sequence[Row], now: int) -> Sequence[str]:
        """Return the messages of a stream that publish the rows, at `now`."""

    def heartbeats(self, connection: Connection, streams: Streams) -> Sequence[str]:
        """Return what the exchange says every second."""
        return ()

    def notice(self, connection: Connection) -> str | None:
        """Return how the exchange announces that it will close the connection, if it does."""
        return None

    def overdue(self, connection: Connection) -> tuple[int, bytes] | None:
        """Return the code and reason with which the exchange closes this connection now, if it does."""
        return None

    def routes(self) -> list[web.RouteDef]:
        return [web.get(path, self._weighed(weight, handler)) for path, (weight, handler) in self.rest().items()]

    def _weighed(self, weight: Weight, handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def within_budget(request: web.Request) -> web.StreamResponse:
            response: web.StreamResponse
            if self.budget.spend(weight if isinstance(weight, int) else weight(request), self.now()):
                try:
                    response = await handler(request)
                except Refused as refused:
                    response = answer(refused.content, refused.status)
            else:
                self.faults.counts["weight_exceeded"] += 1
                response = self.limited("budget")
            self.stamp(response)
            return response

        return within_budget

    def history(self, market: Market) -> tuple[int, int]:
        """Return the first position that REST serves, and the one after the last."""
        count = market.published(self.now())
        return max(0, count - int(self.faults["history"] or count)), count

    def older(self, market: Market, position: int) -> list[Row]:
        """Return the trades before this position that a stream sends again to those who subscribe."""
        return market.rows(max(0, position - int(self.faults["replay"])), position)

    def batches(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        """Cut rows into those that share a message, where the protocol lets several do so."""
        if most := int(self.faults["bulk"]):
            yield from (rows[at : at + most] for at in range(0, len(rows), most))
        else:
            yield from (list(group) for _, group in groupby(rows, lambda row: row.timestamp))
