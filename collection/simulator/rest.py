"""What REST answers have in common, whatever the protocol: JSON, refusals, and the budget of requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MINUTE = 60_000


class Refused(Exception):
    """The exchange's answer to a request that it does not accept: what is sent as JSON, and the status."""

    def __init__(self, content: object, status: int = 400) -> None:
        self.content, self.status = content, status
        super().__init__(content)


class Budget:
    """The request weight of the running window of so many milliseconds; windows begin with the clock's."""

    def __init__(self, limit: int, window: int = MINUTE) -> None:
        self.limit, self.window = limit, window
        self.used = 0
        self._running = 0

    def spend(self, weight: int, now: int) -> bool:
        """Count the weight and say whether the window had room for it."""
        if now // self.window != self._running:
            self._running, self.used = now // self.window, 0
        self.used += weight
        return self.used <= self.limit


def answer(content: Any, status: int = 200) -> web.Response:
    return text_answer(msgspec.json.encode(content), status)


def text_answer(body: bytes, status: int = 200) -> web.Response:
    """Answer with a text that is JSON already."""
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")


def is_number(text: str) -> bool:
    """Whether it is a whole number from 0 of an ordinary length."""
    return text.isascii() and text.isdigit() and len(text) <= 20
