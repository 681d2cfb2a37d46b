"""Identity: a trade that comes again is the same trade."""

from __future__ import annotations

import hashlib

from collection.records import digest, identified
from tests.conftest import trade


def test_the_time_of_receipt_is_no_part_of_equality() -> None:
    assert trade(1, received=5) == trade(1, received=6)
    assert hash(trade(1, received=5)) == hash(trade(1, received=6))
    assert trade(1) != trade(2)
    assert trade(1) != "trade"


def test_trades_without_an_id_get_the_same_one_each_time_and_equal_ones_of_a_message_stay_apart() -> None:
    message = [trade(1, id=""), trade(1, id=""), trade(2, id=""), trade(3)]
    first, second = identified(message), identified(message)
    assert first == second
    assert len({one.id for one in first}) == 4
    assert first[3].id == "3"
    assert first[0].id.startswith("~")


def test_the_digest_is_that_of_the_lines() -> None:
    lines = b"1767225601000,1,buy,1.50,2.00\n1767225602000,2,,0.00000001,2.00\n"
    trades = [trade(1), trade(2, side=None, price="1E-8")]
    assert digest(trades) == hashlib.sha256(lines).hexdigest()
