"""Once: what several threads need is computed by the first of them, and the others wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

from collection.errors import RetryLater

T = TypeVar("T")

FOREVER = threading.TIMEOUT_MAX


class Late(RetryLater):
    """Somebody is at it for too long already."""


class Once:
    """Results by name; those that are not kept are computed again when they are asked for again."""

    def __init__(self, *, kept: bool = True) -> None:
        self._kept = kept
        self._results: dict[Hashable, _Result] = {}
        self._lock = threading.Lock()

    def do(self, name: Hashable, work: Callable[[], T], limit: float = FOREVER) -> T:
        """Return what `work` returns, or raise what it raises, whoever called it.

        Raises:
            Late: Another thread began with it, and is not done within `limit` seconds from then.
        """
        with self._lock:
            known = self._results.get(name)
            if known is None:
                result = self._results[name] = _Result()
        if known is not None:
            there: T = known.wait(limit)
            return there
        try:
            found = work()
        except BaseException as error:
            result.set_exception(error)
            raise
        else:
            result.set_result(found)
            return found
        finally:
            if not self._kept:
                del self._results[name]


class _Result(Future[Any]):
    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()

    def wait(self, limit: float) -> Any:
        try:
            return self.result(max(limit - (time.monotonic() - self._began), 0.0))
        except TimeoutError:
            if self.done():  # just now, or that is what came of it
                return self.result()
            raise Late(f"not done after {time.monotonic() - self._began:.1f} s") from None
