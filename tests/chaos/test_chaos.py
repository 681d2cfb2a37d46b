"""What is stored equals what was published, whatever happens on the way: real processes, real faults.

The short form runs with all tests; with CHAOS=full all cases run, and their table is printed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos import cases_exchange, cases_processes, cases_redis
from tests.chaos.place import Case, Place

SHORT = [cases_processes.kill_worker, cases_redis.kill_redis, cases_exchange.disconnects_and_nonsense]
FULL = [
    cases_processes.kill_worker,
    cases_processes.freeze_worker,
    cases_processes.rolling_restart,
    cases_processes.join_and_leave,
    cases_processes.kill_beat,
    cases_processes.clock_jumps,
    cases_redis.kill_redis,
    cases_redis.kill_redis_while_retries_wait,
    cases_redis.empty_redis,
    cases_redis.freeze_redis,
    cases_redis.fill_redis,
    cases_redis.restart_workers_while_redis_is_full,
    cases_redis.redis_away_for_longer_than_the_exchange_remembers,
    cases_exchange.disconnects,
    cases_exchange.half_open,
    cases_exchange.deaf,
    cases_exchange.refusals,
    cases_exchange.nonsense,
    cases_exchange.disconnects_and_nonsense,
]


@pytest.mark.parametrize("case", FULL if os.environ.get("CHAOS") == "full" else SHORT, ids=lambda case: case.__name__)
async def test_chaos(case: Case, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    place = Place(tmp_path)
    try:
        recovery = await case(place)
    finally:
        place.close()
    record_property("chaos", (case.__doc__, *recovery))
    recovery.judge()
