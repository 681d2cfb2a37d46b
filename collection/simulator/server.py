"""The simulator as a whole: what it is told, its markets, and the server's start and stop."""

from __future__ import annotations

import asyncio
import errno
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from collection.errors import ConfigurationError
from collection.records import Trade
from collection.simulator.control import Control
from collection.simulator.faults import Faults
from collection.simulator.loading import check_markets, load_markets
from collection.simulator.market import Market
from collection.simulator.misbehaving import Misbehaving
from collection.simulator.protocols import protocol_named
from collection.simulator.streams import Streams

_PATIENCE = 0.2
"""Seconds that a stopping server leaves to running requests."""


class Simulator:
    """An exchange that speaks its protocol over HTTP and WebSocket, for demos and as a judge in tests.

    Args:
        protocol: Whose protocol: an id of ccxt; see `PROTOCOLS`.
        tapes: Recordings to replay, by market (`XRP/ETH`); see `read_tape`.
        markets: Markets to generate, with `rate` trades a second each, in real time.
        speed: How much faster than recorded the tapes are replayed; 1 or more.
        seed: What the generated markets and the faults follow from.
        faults: Faults from the start; see `FAULTS`.
        weight_limit: The request weight that all clients together have in the exchange's window of time (binance: a
            minute); None for what it has.
        state: Where it is kept when each market began, so that a restart has the same history; None to begin anew.
        host: The address to listen on.
        port: 0 for any free one.

    Raises:
        ConfigurationError: A name or a number is impossible; all of them at once.
    """

    def __init__(
        self,
        *,
        protocol: str = "binance",
        tapes: Mapping[str, Path] | None = None,
        markets: Sequence[str] = (),
        speed: float = 1.0,
        rate: float = 10.0,
        seed: int = 1,
        faults: Mapping[str, float] | None = None,
        weight_limit: int | None = None,
        state: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._tapes, self._generated = dict(tapes or {}), list(markets)
        self.markets: Sequence[str] = [*self._tapes, *self._generated]
        """All markets, by name."""
        check_markets(self.markets, speed, rate)
        self.protocol = protocol
        """The exchange's id."""
        self._spoken = protocol_named(protocol)
        self.faults = Faults(faults or {}, seed)
        self._speed, self._rate, self._seed = float(speed), float(rate), seed
        self._weight_limit, self._state, self._host, self._port = weight_limit, state, host, port
        self._bound: int | None = None
        self._latest = 0
        self._by_symbol: dict[str, Market] = {}
        self._runner: web.AppRunner | None = None
        self._streams: Streams | None = None
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        """`http://host:port`, as a client on this machine reaches it."""
        return f"http://{self._address}"

    def urls(self) -> dict[str, Any]:
        """What ccxt's `urls["api"]` of the exchange is to be, and `exchanges.NAME.urls` in the settings."""
        return self._spoken.urls(self._address)

    ccxt_urls = urls

    @property
    def _address(self) -> str:
        port = self._bound or self._port
        if not port:
            raise RuntimeError("the simulator has no address before it is started")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self._host, self._host)  # noqa: S104
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def now(self) -> int:
        """The exchange's time: Unix time in milliseconds that never falls back, so what is published stays so."""
        self._latest = max(self._latest, time.time_ns() // 1_000_000)
        return self._latest

    def published(self, market: str) -> list[Trade]:
        """Return what the market (`BTC/USDT`) published so far, in the order of the ids."""
        known = self._by_symbol[market.replace("/", "")]
        return [row.trade() for row in known.rows(0, known.published(self.now()))]

    async def start(self) -> None:
        """Read the tapes and the state, and listen.

        Raises:
            ConfigurationError: A tape or the state is damaged, or the address can't be had.
        """
        loaded = load_markets(
            self._tapes, self._generated, self._speed, self._rate, self._seed, self._state, self.now()
        )
        markets = [self._spoken.view(market) for market in loaded]
        self._by_symbol = {market.symbol: market for market in markets}
        self._stopping = asyncio.Event()
        protocol = self._spoken(markets, self.now, self.faults, self._weight_limit)
        self._streams = Streams(protocol)
        app = web.Application(middlewares=[Misbehaving(protocol, self._stopping)])
        app.add_routes(protocol.routes())
        app.add_routes(self._streams.routes())
        app.add_routes(Control(self._by_symbol, self.now, self.faults, self._streams.subscribers).routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_PATIENCE)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            self._runner = None
            where = f"port {self._port} of {self._host}"
            why = "is in use by another program" if error.errno == errno.EADDRINUSE else f"can't be had: {error}"
            raise ConfigurationError(f"{where} {why}") from None
        self._bound = self._runner.addresses[0][1]
        self._streams.start()

    async def stop(self) -> None:
        """End all connections, also those that hang, and stop listening; harmless where it is not running."""
        runner, streams = self._runner, self._streams
        self._runner = self._streams = self._bound = None
        self._stopping.set()
        if streams is not None:
            await streams.stop()
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def serve(sim: Simulator, *, on_ready: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM, then stop in order; `on_ready` is told the URL once it listens.

    Raises:
        ConfigurationError: As `Simulator.start`.
    """
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, told.set)
    try:
        async with sim:
            on_ready(sim.url)
            await told.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
