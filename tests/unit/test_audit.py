"""Certificates: what they count as covered, missing, doubled, and what they call proven."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collection.audit import NOT_STORED, SHOWN, certify
from collection.certificate import Span, Stretch
from collection.errors import ConfigurationError
from collection.gap_notes import FORGOTTEN, OUT_OF_REACH, note_gap
from collection.output import sparkline
from collection.records import digest
from collection.storage import Coverage, Covers, Interval, MemoryStorage
from collection.storage.coverage import clip, size, without
from collection.storage.days import DAY_MS
from collection.tail import Batch, Follower, Positions
from tests.conftest import trade

KEY = "trades:binance:BTC/USDT"
DAY = 1_767_225_600_000


def stored(ids: Iterable[int], *intervals: tuple[int, int], by: str = "id") -> MemoryStorage:
    storage = MemoryStorage()
    covers = Covers(by, [Interval(*interval) for interval in intervals])  # type: ignore[arg-type]
    storage.store_batch(KEY, [(one.timestamp, one) for one in map(trade, ids)], covers)
    return storage


def test_a_series_without_gaps_is_complete() -> None:
    found = certify(stored(range(1, 11), (0, 10)), KEY)
    assert (found.verdict, found.expected, found.stored, found.missing) == ("complete", 10, 10, 0)
    assert (found.covered, found.gaps, found.holes) == ([Span(1, 10)], [], [])
    assert (found.first and found.first.id, found.last and found.last.id) == ("1", "10")
    assert found.digest == digest(map(trade, range(1, 11)))
    assert not found.broken


def test_a_gap_is_no_hole() -> None:
    found = certify(stored([1, 2, 3, 7, 8], (0, 3), (6, 8)), KEY)
    assert (found.verdict, found.gaps, found.missing, found.expected) == ("gaps", [Span(4, 6)], 0, 5)


def test_what_is_covered_but_not_stored_is_a_hole() -> None:
    found = certify(stored([1, 2, 4, 7], (0, 8)), KEY)
    assert (found.verdict, found.missing, found.hole_count) == ("holes", 4, 3)
    assert found.holes == [Span(3, 3), Span(5, 6), Span(8, 8)]
    assert found.broken


def test_stretches_of_ids_are_missing_each_with_its_reason() -> None:
    storage = stored([1, 2, 3, 5, 7, 8, 11, 12], (0, 3), (6, 9), (10, 12))
    note_gap(storage, KEY, storage.coverage(KEY), Interval(3, 6), FORGOTTEN)
    assert certify(storage, KEY).stretches == [
        Stretch("missing", 4, 4, FORGOTTEN),
        Stretch("missing", 6, 6, FORGOTTEN),
        Stretch("missing", 9, 9, NOT_STORED),
        Stretch("missing", 10, 10, ""),
    ]


def test_stretches_of_time_are_unproven() -> None:
    storage = stored([1, 2, 5], (DAY, DAY + 2_000), (DAY + 4_999, DAY + 6_000), by="time")
    gap = Interval(DAY + 2_000, DAY + 4_999)
    assert certify(storage, KEY).stretches == [Stretch("unproven", DAY + 2_001, DAY + 4_999, "")]
    note_gap(storage, KEY, storage.coverage(KEY), gap, OUT_OF_REACH)
    assert certify(storage, KEY).stretches == [Stretch("unproven", DAY + 2_001, DAY + 4_999, OUT_OF_REACH)]
    assert certify(storage, KEY, DAY, DAY + 3_000).stretches[0].last == DAY + 3_000


def test_of_many_holes_the_first_are_listed_and_all_are_counted() -> None:
    found = certify(stored(range(0, 200, 2), (-1, 199)), KEY)
    assert (found.missing, found.hole_count, len(found.holes)) == (100, 100, SHOWN)


def test_one_id_at_two_times_is_a_double() -> None:
    storage = stored([1, 2, 3], (0, 3))
    again = trade(2, DAY + 7_777)
    storage.store_batch(KEY, [(again.timestamp, again)])
    found = certify(storage, KEY)
    assert (found.verdict, found.doubled, found.stored) == ("doubles", 1, 4)
    assert found.broken


def test_what_no_ids_prove_is_unproven_with_count_and_digest() -> None:
    by_time = certify(stored([1, 2, 5], (DAY, DAY + 5_000), by="time"), KEY)
    assert (by_time.verdict, by_time.expected, by_time.missing, by_time.stored) == ("unproven", None, None, 3)
    odd = MemoryStorage()
    for one in (trade(1, id="a"), trade(2, id="100000000000000000000000001")):
        odd.store(KEY, one, one.timestamp)
    assert certify(odd, KEY).verdict == "unproven"
    assert certify(odd, KEY).digest == digest(value for _, value in odd.fetch(KEY))
    assert certify(stored([1, 2]), KEY).verdict == "unproven"  # nothing says that these are all
    assert certify(MemoryStorage(), KEY).verdict == "unproven"


def test_what_is_stored_outside_of_the_coverage_is_counted() -> None:
    found = certify(stored([1, 2, 3, 9, 11], (0, 3)), KEY)
    assert (found.verdict, found.outside, found.stored) == ("complete", 2, 5)


def test_what_retention_dropped_is_not_missing_and_gaps_before_it_are_over() -> None:
    storage = MemoryStorage()
    trades = [trade(number, DAY + number * DAY_MS // 2) for number in (1, 2, 4, 5, 6, 7)]
    covers = Covers("id", [Interval(0, 2), Interval(3, 7)])
    storage.store_batch(KEY, [(one.timestamp, one) for one in trades], covers)
    assert certify(storage, KEY).verdict == "gaps"
    storage.drop_before(KEY, DAY + 3 * DAY_MS)
    found = certify(storage, KEY)
    assert (found.verdict, found.covered, found.gaps, found.stored) == ("complete", [Span(6, 7)], [], 2)
    assert found.dropped is not None
    assert (found.dropped.before, found.dropped.last_id) == (DAY + 3 * DAY_MS, 5)


def test_a_range_of_time_expects_what_lies_between_its_first_and_last_record() -> None:
    storage = stored([1, 2, 3, 5, 6, 9], (0, 6), (8, 9))
    found = certify(storage, KEY, DAY + 2_000, DAY + 5_000)
    assert (found.covered, found.holes, found.gaps) == ([Span(2, 5)], [Span(4, 4)], [])
    assert found.digest == digest(map(trade, (2, 3, 5)))
    assert certify(storage, KEY, DAY + 6_000).gaps == [Span(7, 8)]
    assert certify(storage, KEY, DAY + 60_000).verdict == "unproven"


def test_only_trades_are_audited() -> None:
    storage = MemoryStorage()
    storage.store("price", 1.5, DAY)
    with pytest.raises(ConfigurationError, match=r"^price: only series of trades can be audited"):
        certify(storage, "price")


_INTERVALS = st.lists(st.tuples(st.integers(-1, 60), st.integers(0, 9)), max_size=8).map(
    lambda pairs: list(Coverage().with_intervals(Interval(a, a + n) for a, n in pairs if n).intervals)
)


def ids(intervals: Iterable[Interval]) -> set[int]:
    return {number for after, upto in intervals for number in range(after + 1, upto + 1)}


@given(_INTERVALS, _INTERVALS, st.integers(-1, 40), st.integers(0, 40))
def test_intervals_behave_like_sets_of_ids(
    ours: list[Interval], theirs: list[Interval], begin: int, length: int
) -> None:
    assert ids(without(ours, theirs)) == ids(ours) - ids(theirs)
    window = Interval(begin, begin + length)
    assert ids(clip(ours, window)) == ids(ours) & ids([window])
    assert size(ours) == len(ids(ours))


@given(st.sets(st.integers(0, 80)), _INTERVALS)
def test_a_certificate_counts_what_sets_count(numbers: set[int], covered: list[Interval]) -> None:
    found = certify(stored(numbers, *covered), KEY)
    assert found.expected == len(ids(covered))
    assert found.missing == len(ids(covered) - numbers)
    assert found.outside == len(numbers - ids(covered))
    assert found.stored == len(numbers)
    assert (found.verdict == "holes") == bool(ids(covered) - numbers)


def follow(storage: MemoryStorage, file: Path | None = None, *patterns: str, from_start: bool = False) -> Follower:
    return Follower(storage, patterns or [KEY], Positions(file), from_start=from_start)


def read(follower: Follower) -> list[str]:
    batches: list[Batch] = []
    while follower.read(batches.append):
        pass
    return [value.id for batch in batches for _, value in batch.values]


def test_a_tail_begins_with_what_comes_unless_told_otherwise() -> None:
    storage = stored([1, 2])
    new, old = follow(storage), follow(storage, from_start=True)
    assert (read(new), read(old)) == ([], ["1", "2"])
    storage.store(KEY, trade(5), trade(5).timestamp)
    storage.store(KEY, trade(4), trade(4).timestamp)
    assert (read(new), read(old)) == (["5", "4"], ["5", "4"])
    assert read(new) == []


def test_a_tail_goes_on_where_its_file_says_also_with_what_came_meanwhile(tmp_path: Path) -> None:
    storage, file = stored([1, 2]), tmp_path / "position"
    assert read(follow(storage, file)) == []
    storage.store(KEY, trade(3), trade(3).timestamp)
    storage.store("trades:new", trade(1), trade(1).timestamp)
    assert read(follow(storage, file, "trades:*")) == ["3", "1"]
    assert read(follow(storage, file, "trades:*")) == []
    assert list(json.loads(file.read_text())) == [KEY, "trades:new"]
    assert [path.name for path in tmp_path.iterdir()] == ["position"]


def test_a_tail_notes_its_position_only_once_the_records_are_handed_over(tmp_path: Path) -> None:
    storage, file = stored([1, 2]), tmp_path / "position"

    def crash(_: Batch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(storage, file, from_start=True).read(crash)
    assert read(follow(storage, file)) == ["1", "2"]


def test_a_tail_says_where_something_was_dropped_before_it_was_read() -> None:
    storage = stored([1, 2])
    follower = follow(storage, from_start=True)
    storage.drop_before(KEY, DAY + DAY_MS)
    batches: list[Batch] = []
    follower.read(batches.append)
    assert [batch.complete for batch in batches] == [False]


def test_a_pattern_follows_series_that_come_into_being(tmp_path: Path) -> None:
    storage = stored([1, 2])
    follower = follow(storage, None, "*")
    follower.begin()
    storage.store("trades:new", trade(7), trade(7).timestamp)
    assert read(follower) == ["7"]


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "\xff"])
def test_a_file_that_holds_no_positions_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "position").write_text(content, encoding="latin-1")
    with pytest.raises(ConfigurationError, match=r"position: it holds no positions of a tail: "):
        Positions(tmp_path / "position")


def test_a_position_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere/position: the position can't be kept: No such file"):
        follow(stored([1]), tmp_path / "nowhere" / "position").begin()


def test_a_line_of_blocks_goes_the_way_of_the_numbers() -> None:
    assert sparkline([1, 2, 3]) == "▁▅█"
    assert sparkline([5, 5]) == "▁▁"
    assert len(sparkline([*range(1000)])) == 60
    assert sparkline([*range(1000)])[-1] == "█"
