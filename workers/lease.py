"""Lease: at most one holder of a name at a time, across machines, judged by Redis's clock."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Coroutine
from importlib.resources import files
from typing import Any, TypeVar, cast

import redis

from collection.errors import RetryLater, StorageUnavailable
from collection.storage.redis_server import server_errors

log = logging.getLogger(__name__)

T = TypeVar("T")
_SCRIPT = files("workers").joinpath("lease.lua").read_bytes()


class Lease:
    """A Redis key that lives `ttl` seconds beyond its last renewal; its value is `TOKEN OWNER`.

    The token is greater than every one before it. Methods raise StorageUnavailable while Redis is away.
    """

    def __init__(self, client: redis.Redis, name: str, ttl: float) -> None:
        self._script = client.register_script(_SCRIPT)
        self._keys = [f"qc:{{lease:{name}}}", f"qc:{{lease:{name}}}:token"]
        self._ttl = int(ttl * 1000)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
        self._lock = threading.Lock()
        self.token: int | None = None
        """The token while this holder believes to hold the lease, else None."""

    def hold(self) -> bool:
        """Take the lease, or renew it; False where another holds it.

        A lease that vanished with a Redis that lost its memory is taken again under the same token.
        """
        with self._lock:
            self.token = self._call("hold") or None
            return self.token is not None

    def renew(self) -> bool:
        """As `hold`, but never takes a lease that this holder let go of or lost."""
        with self._lock:
            if self.token is not None:
                self.token = self._call("hold") or None
            return self.token is not None

    def release(self) -> None:
        """Let go of the lease, if it is still held."""
        with self._lock:
            if self.token is not None:
                self._call("release")
                self.token = None

    async def keep_during(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work while renewing the lease, which is held already; the work ends when another holds it.

        Raises:
            RetryLater: Another took the lease meanwhile.
        """
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([task], timeout=self._ttl / 3000))[0]:
                try:
                    if not await asyncio.to_thread(self.renew):
                        raise RetryLater("the lease is held by another")
                except StorageUnavailable as error:
                    log.warning("lease: %s", error)  # the work's own writes wait for Redis as well
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # nothing of it outlives the lease

    def _call(self, action: str) -> int:
        with server_errors():
            answer: Any = self._script(keys=self._keys, args=[action, self._ttl, self._owner, self.token or 0])
        return int(cast("bytes", answer))
