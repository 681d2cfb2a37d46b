"""Whatever happens to a storage, it holds what a plain model holds: records, bars, coverage, counters and tails."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.conftest import PATIENCE, Again
from tests.properties.machine import StorageMachine
from tests.properties.places import Place

pytestmark = pytest.mark.timeout(PATIENCE)


def test_a_storage_equals_its_model_whatever_happens(place: Place, again: Again) -> None:
    again(lambda: run_state_machine_as_test(partial(StorageMachine, place), settings=settings()))  # type: ignore[arg-type]
