"""Making many objects at once."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def bulk(make: Callable[P, T]) -> Callable[P, T]:
    """Pause the garbage collector during a call that makes thousands of objects, none of which is garbage.

    It would go through all of them again and again, which takes as long as to make them.
    """

    @wraps(make)
    def paused(*args: P.args, **kwargs: P.kwargs) -> T:
        enabled = gc.isenabled()
        gc.disable()
        try:
            return make(*args, **kwargs)
        finally:
            if enabled:
                gc.enable()

    return paused
