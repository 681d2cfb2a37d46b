"""The faults of the simulator: how they are told, drawn and counted; and the parts that need no server."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from collection.errors import ConfigurationError
from collection.simulator import FAULTS, parse_faults
from collection.simulator.faults import Faults
from collection.simulator.rest import Budget


def test_faults_are_read_as_people_write_them() -> None:
    assert parse_faults("repeat=0.2, reorder = .1,disconnect_every=30,") == {
        "repeat": 0.2,
        "reorder": 0.1,
        "disconnect_every": 30.0,
    }
    assert parse_faults("") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("repaet=0.2", ["'repaet' is unknown; did you mean 'repeat'?"]),
        ("zzz=1", ["'zzz' is unknown; known: drop, hang"]),
        ("drop=1.5,error=x,hang", ["drop: 1.5 is no probability", "error: 'x' is no number", "hang: '' is no number"]),
        ("drop=-1,hang=nan,disconnect_every=inf", ["drop: -1.0", "hang: nan", "disconnect_every: inf"]),
        ("fail_every=2.5,history=0.5", ["fail_every: 2.5 is no whole number", "history: 0.5 is no whole number"]),
    ],
)
def test_misspelt_faults_are_refused_all_at_once(text: str, said: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_faults(text)
    assert len(caught.value.problems) == len(said)
    assert all(part in problem for part, problem in zip(said, caught.value.problems, strict=True))


def test_setting_faults_leaves_the_others_and_a_wrong_one_changes_nothing() -> None:
    faults = Faults({"drop": 0.5}, seed=1)
    faults.set({"error": 1, "hang_seconds": 2})
    with pytest.raises(ConfigurationError):
        faults.set({"drop": 0, "eror": 1})
    assert faults.in_force == {"drop": 0.5, "error": 1, "hang_seconds": 2}
    faults.set({"drop": 0, "hang_seconds": 0})
    assert faults.in_force == {"error": 1}
    assert faults["hang_seconds"] == FAULTS["hang_seconds"].default
    faults.clear()
    assert faults.in_force == {}
    assert faults.failure() is None


def test_every_fifth_request_fails_exactly() -> None:
    faults = Faults({"fail_every": 5}, seed=1)
    assert [n for n in range(1, 21) if faults.failure() == "error"] == [5, 10, 15, 20]
    assert faults.counts == {"fail_every": 4}


def test_the_same_seed_draws_the_same_failures_and_each_is_counted() -> None:
    given = {"drop": 0.1, "error": 0.2, "ban": 0.1, "garbage": 0.3}
    one, other = (Faults(given, seed=3) for _ in range(2))
    drawn = [one.failure() for _ in range(500)]
    assert drawn == [other.failure() for _ in range(500)]
    assert one.counts == Counter(name for name in drawn if name)
    assert set(drawn) == {None, *given}
    assert drawn != [Faults(given, seed=4).failure() for _ in range(500)]


@pytest.mark.parametrize("length", [0, 1, 2, 1000])
def test_a_repeated_and_shuffled_page_loses_nothing(length: int) -> None:
    faults = Faults({"repeat": 1, "reorder": 1}, seed=1)
    page = faults.page(list(range(length)))
    assert set(page) == set(range(length))
    assert len(page) > length or not length
    assert length < 3 or page != sorted(page)
    assert set(Counter(page).values()) <= {1, 2}


def test_a_malformed_message_is_json_of_another_form() -> None:
    faults = Faults({}, seed=1)
    event = {"e": "aggTrade", "E": 1, "s": "BTCUSDT", "a": 7, "p": "1.0", "q": "2.0"}
    seen = [json.loads(faults.malformed(json.dumps(event))) for _ in range(100)]
    forms = [event | {"p": None}, {"e": "aggTrade", "E": 1, "s": "BTCUSDT"}, [event]]
    assert all(form in seen for form in forms)
    assert all(one in forms for one in seen)


def test_the_weight_of_a_minute_is_free_again_in_the_next() -> None:
    budget, minute = Budget(10), 60_000
    assert [budget.spend(4, now) for now in (minute, minute + 1, 2 * minute - 1, 2 * minute)] == [
        True,
        True,
        False,
        True,
    ]
    assert budget.used == 4
