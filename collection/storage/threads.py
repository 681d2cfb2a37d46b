"""Threads for calls of a storage: those of the event loop look up names, and must not wait for a Redis that hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_THREADS = ThreadPoolExecutor(16, "storage")


async def in_thread(call: Callable[..., T], *arguments: object) -> T:
    """Call something that may wait for the storage, and wait for it without keeping the event loop from its work."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, call, *arguments)
