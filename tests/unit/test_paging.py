"""What a page of trades makes complete."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collection.clients.base import Cursor
from collection.clients.paging import FULL, SETTLED_MS, covered_ids, covered_times
from collection.records import Trade
from collection.storage.coverage import Coverage, Interval
from tests.conftest import trade

LONG_AGO = 10**12


def at(*times: int) -> list[Trade]:
    return [trade(number, time) for number, time in enumerate(times)]


def test_contiguous_ids_extend_the_cursor_whatever_their_order_and_repetition() -> None:
    assert covered_ids([13, 11, 12, 12, 11], 10) == [(10, 13)]


def test_a_missing_id_stays_a_gap() -> None:
    assert covered_ids([11, 12, 14, 15], 10) == [(10, 12), (13, 15)]
    assert covered_ids([14], 10) == [(10, 10), (13, 14)]


def test_a_first_page_covers_itself_and_ids_below_the_cursor_add_nothing() -> None:
    assert covered_ids([5, 6], None) == [(4, 6)]
    assert covered_ids([5, 6], 10) == [(10, 10)]
    assert covered_ids([], None) == []


@given(st.sets(st.integers(0, 60)), st.integers(0, 60) | st.none())
def test_covered_ids_are_exactly_those_of_the_page(ids: set[int], after: int | None) -> None:
    covered = {number for low, high in covered_ids(ids, after) for number in range(low + 1, high + 1)}
    assert covered == {number for number in ids if after is None or number > after}


def test_a_first_page_by_time_leaves_out_both_edges_which_may_be_cut() -> None:
    assert covered_times(at(5, 7, 9), None, LONG_AGO) == ([(5, 8)], False)
    assert covered_times(at(5), None, LONG_AGO) == ([(4, 4)], False)


def test_a_page_that_begins_before_the_cursor_joins() -> None:
    assert covered_times(at(5, 9, 12), Cursor(8), LONG_AGO) == ([(8, 11)], False)


def test_a_page_that_begins_among_the_known_trades_of_the_edge_joins() -> None:
    page = [trade(3, 9), trade(4, 9), trade(5, 12)]
    assert covered_times(page, Cursor(8, frozenset({"3"})), LONG_AGO) == ([(8, 11)], False)


def test_a_page_that_begins_behind_the_known_trades_opens_a_new_interval() -> None:
    page = [trade(4, 9), trade(5, 12)]
    assert covered_times(page, Cursor(8, frozenset({"3"})), LONG_AGO) == ([(9, 11)], False)
    assert covered_times(at(20, 25), Cursor(8), LONG_AGO) == ([(20, 24)], False)


def test_a_page_without_anything_new_is_the_last() -> None:
    assert covered_times(at(9, 9), Cursor(8, frozenset({"0"})), LONG_AGO) == ([], False)
    assert covered_times([], Cursor(8), LONG_AGO) == ([], False)


def test_a_page_full_of_new_trades_is_followed_by_another() -> None:
    intervals, more = covered_times(at(8, *range(10, 10 + FULL)), Cursor(8), LONG_AGO)
    assert (intervals, more) == ([(8, 8 + FULL)], True)


def test_a_page_within_one_millisecond_is_left_behind_with_a_gap_once_that_is_over() -> None:
    page, cursor = at(*[9] * FULL), Cursor(8, frozenset({"0"}))
    assert covered_times(page, cursor, 9 + SETTLED_MS) == ([], False)
    intervals, more = covered_times(page, cursor, 10 + SETTLED_MS)
    assert (intervals, more) == ([(9, 9)], True)
    assert Coverage("time", ()).with_intervals([Interval(1, 8), *intervals]).gaps == [(8, 9)]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted).map(tuple), max_size=12))
def test_coverage_equals_the_set_of_what_was_added(pairs: list[tuple[int, int]]) -> None:
    coverage = Coverage()
    for after, upto in pairs:
        coverage = coverage.with_intervals([Interval(after, upto)])
    covered = {number for low, high in coverage.intervals for number in range(low + 1, high + 1)}
    assert covered == {number for low, high in pairs for number in range(low + 1, high + 1)}
    assert coverage.end == max((high for _, high in pairs), default=None)
    assert Coverage.loads("id", coverage.dumps()) == coverage
    assert all(left.upto < right.after for left, right in zip(coverage.intervals, coverage.intervals[1:], strict=False))


def test_what_is_yet_to_come_is_not_covered_whatever_the_time_of_one_trade_says() -> None:
    now = LONG_AGO + 1_000
    cursor = Cursor(LONG_AGO - 1, frozenset({"0"}))
    assert covered_times(at(LONG_AGO, LONG_AGO + 500, now + 40_000), cursor, now)[0] == [(LONG_AGO - 1, now - 1)]
    assert covered_times(at(now + 40_000), None, now)[0] == [(now - 1, now - 1)]
