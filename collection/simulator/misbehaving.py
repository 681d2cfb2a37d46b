"""The failures of requests: what stands between a client and an answer that was right."""

from __future__ import annotations

import asyncio

from aiohttp import web

from collection.simulator.protocol import Protocol
from collection.simulator.rest import Handler, text_answer

_ERROR_PAGE = "<html><head><title>503 Service Temporarily Unavailable</title></head><body></body></html>"


class Misbehaving:
    """A middleware that lets requests fail as told; routes that begin with `/_` never do."""

    __middleware_version__ = 1

    def __init__(self, protocol: Protocol, stopping: asyncio.Event) -> None:
        self._protocol, self._faults, self._stopping = protocol, protocol.faults, stopping

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_"):
            return await handler(request)
        self._faults.counts["requests"] += 1
        is_stream = request.headers.get("Upgrade", "").lower() == "websocket"
        match self._faults.failure(*["garbage"] if is_stream else []):
            case "drop":
                return _hang_up(request)
            case "hang":
                await self._hang()
                return _hang_up(request)
            case "error":
                return web.Response(status=503, text=_ERROR_PAGE, content_type="text/html")
            case ("rate_limit" | "ban") as why:
                return self._protocol.unconnected(why) if is_stream else self._protocol.limited(why)
            case "garbage":
                return _cut_off(await handler(request))
        return await handler(request)

    async def _hang(self) -> None:
        try:
            async with asyncio.timeout(self._faults["hang_seconds"]):
                await self._stopping.wait()
        except TimeoutError:
            pass


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _cut_off(response: web.StreamResponse) -> web.StreamResponse:
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return response
    return text_answer(response.body[: len(response.body) // 2])
