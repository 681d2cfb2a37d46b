"""How long the properties are tried: a moment in `make test`, SOAK_MINUTES in `make soak`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.properties.places import Memory, Place, redis_place

pytest.register_assert_rewrite("tests.properties.machine", "tests.properties.reader")
ROOT = Path(__file__).parents[2]
SOAK_MINUTES = float(os.environ.get("SOAK_MINUTES", 0))
"""Of all properties together; 0: the same few examples each time."""
PATIENCE = 0 if SOAK_MINUTES else 600
"""Seconds for a test: to find the smallest example of what fails takes minutes."""

Again = Callable[[Callable[[], None]], None]
_common = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
settings.register_profile("test", _common, max_examples=20, stateful_step_count=15, derandomize=True, database=None)
settings.register_profile(
    "soak",
    _common,
    max_examples=30,
    stateful_step_count=50,
    database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis"),
)
settings.load_profile("soak" if SOAK_MINUTES else "test")


@pytest.fixture
def again(request: pytest.FixtureRequest) -> Again:
    """Do something once, or in a soak again and again for this test's share of the time."""
    sharing = sum("again" in getattr(item, "fixturenames", ()) for item in request.session.items)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    end = time.monotonic() + SOAK_MINUTES * 60 * min(workers, sharing) / sharing

    def repeat(once: Callable[[], None]) -> None:
        once()
        while time.monotonic() < end:
            once()

    return repeat


@pytest.fixture(scope="module", params=["memory", "redis_with_timeseries", "redis_without_timeseries"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Each place where a storage can be."""
    if request.param == "memory":
        yield Memory()
        return
    modules = request.param == "redis_with_timeseries"
    with redis_place(tmp_path_factory.mktemp("properties"), modules=modules) as redis:
        yield redis
