"""The chaos suite has teeth: without any one of the safeguards a case fails, and not for a mistake of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos import cases_exchange, cases_processes, cases_redis
from tests.chaos.place import Place, Verdict
from tests.chaos.weakened import WEAKNESSES

TEETH = {
    "no_deduplication": (cases_exchange.disconnects_and_nonsense, "trades of .* ids are stored"),
    "no_backfill": (cases_processes.kill_worker, "not covered"),
    "no_lease": (cases_processes.freeze_worker, "listened to once"),
    "no_spool": (cases_redis.redis_away_for_longer_than_the_exchange_remembers, "not covered"),
    "no_guard": (cases_redis.kill_redis_while_retries_wait, "ended: streams"),
}


@pytest.mark.skipif(os.environ.get("CHAOS") != "full", reason="runs with CHAOS=full")
@pytest.mark.parametrize("weakness", WEAKNESSES)
async def test_without_it_a_case_fails(weakness: str, tmp_path: Path) -> None:
    case, said = TEETH[weakness]
    place = Place(tmp_path, weakness)
    try:
        with pytest.raises(Verdict, match=said):
            (await case(place)).judge()
    finally:
        place.close()
