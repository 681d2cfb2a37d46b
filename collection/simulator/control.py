"""The routes that no exchange has: asking for the truth and for who listens, and telling the simulator to misbehave."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from aiohttp import web

from collection.errors import ConfigurationError
from collection.simulator.faults import Faults
from collection.simulator.market import Market
from collection.simulator.tape import COLUMNS
from collection.simulator.truth import Judge

_PIECE = 1_000


class Control:
    """The routes /_truth, /_faults and /_streams for the markets given by symbol.

    `now` gives Unix time in milliseconds, `subscribers` how many listen to each stream.
    """

    def __init__(
        self,
        markets: Mapping[str, Market],
        now: Callable[[], int],
        faults: Faults,
        subscribers: Callable[[], Mapping[str, int]],
    ) -> None:
        self._markets = dict(markets)
        self._judges = {symbol: Judge(market) for symbol, market in markets.items()}
        self._now, self._faults, self._subscribers = now, faults, subscribers

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_truth", self._all),
            web.get(r"/_truth/{market:[^/]+(/[^/]+)?}/trades", self._trades),
            web.get("/_truth/{market:.+}", self._truth),
            web.get("/_streams", self._listening),
            web.get("/_faults", self._show),
            web.post("/_faults", self._set),
            web.delete("/_faults", self._clear),
        ]

    def _symbol(self, request: web.Request) -> str:
        name = request.match_info["market"]
        symbol = name.replace("/", "")
        if symbol not in self._markets or name not in (symbol, self._markets[symbol].name):
            known = ", ".join(market.name for market in self._markets.values())
            raise web.HTTPNotFound(text=f"no market {name!r}; known: {known}\n")
        return symbol

    async def _all(self, request: web.Request) -> web.Response:
        listed = []
        for market in self._markets.values():
            count = market.published(self._now())
            first, last = (str(market.rows(n, n + 1)[0].id) if count else None for n in (0, count - 1))
            listed.append(
                {"market": market.name, "kind": market.kind, "count": count, "first_id": first, "last_id": last}
            )
        return web.json_response({"markets": listed})

    async def _truth(self, request: web.Request) -> web.Response:
        judge = self._judges[self._symbol(request)]
        truth = await judge.truth(self._now(), _id(request, "after"), _id(request, "until"))
        return web.Response(body=msgspec.json.encode(truth), content_type="application/json")

    async def _trades(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("format", "csv") != "csv":
            raise web.HTTPBadRequest(text="the only format is csv\n")
        market = self._markets[self._symbol(request)]
        count = market.published(self._now())
        response = web.StreamResponse(headers={"Content-Type": "text/csv; charset=utf-8"})
        await response.prepare(request)
        await response.write(f"{COLUMNS}\n".encode())
        for begin in range(0, count, _PIECE):
            rows = market.rows(begin, min(count, begin + _PIECE))
            await response.write("".join([f"{row.line}\n" for row in rows]).encode())
        await response.write_eof()
        return response

    async def _listening(self, request: web.Request) -> web.Response:
        return web.json_response(self._subscribers())

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response({"faults": self._faults.in_force, "counts": dict(self._faults.counts)})

    async def _set(self, request: web.Request) -> web.Response:
        try:
            self._faults.set(msgspec.json.decode(await request.read(), type=dict[str, object]))
        except (msgspec.MsgspecError, ConfigurationError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return await self._show(request)

    async def _clear(self, request: web.Request) -> web.Response:
        self._faults.clear()
        return await self._show(request)


def _id(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise web.HTTPBadRequest(text=f"{name}: {text!r} is no id\n")
    return int(text)
