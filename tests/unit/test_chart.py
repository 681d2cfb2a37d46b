"""Charts as text: every candle, number and time is where it belongs."""

from __future__ import annotations

from rich.text import Text

from collection.bars import Bar
from collection.chart import Scale, Size, candles, fitting_width, line

START = 1_767_225_600_000  # 2026-01-01T00:00Z
MINUTE = 60_000
SIZE = Size(60, 13)


def bar(minute: int, start: float, high: float, low: float, end: float, volume: float = 1.0) -> Bar:
    return Bar(START + minute * MINUTE, start, high, low, end, volume, 1, volume)


def text(drawn: list[Text]) -> str:
    return "\n".join(str(one).rstrip() for one in drawn)


def test_candles_show_where_prices_went_and_volumes() -> None:
    bars = [
        bar(0, 10, 18, 10, 14, 3),  # rises, with a wick above
        bar(1, 14, 14, 6, 10, 6),  # falls, with a wick below
        bar(3, 10, 10, 10, 10, 0.1),  # after a minute without trades
        bar(4, 2, 10, 2, 10, 3),
    ]
    assert text(candles(bars, MINUTE, SIZE)) == (
        "17 ┤│\n"
        "   ││\n"
        "   │┃█\n"
        "   │┃█\n"
        " 9 ┤╹▀ ╹┃\n"
        "   │ │  ┃\n"
        "   │ ╵  ┃\n"
        "   │    ┃\n"
        " 6 ┤ █\n"
        "   │▄█  ▄\n"
        "   │██ ▁█\n"
        "   └┬────\n"
        "    01-01 00:00"
    )


def test_of_too_many_bars_the_newest_are_drawn_within_the_size() -> None:
    bars = [bar(minute, 100, 101, 99, 100) for minute in range(500)]
    drawn = candles(bars, MINUTE, SIZE)
    assert len(drawn) == SIZE.rows
    assert max(len(str(one)) for one in drawn) == SIZE.columns
    assert "01-01 07:59" in str(drawn[-1])


def test_prices_that_do_not_move_are_written_as_they_are() -> None:
    drawn = text(candles([bar(0, 0.00012345, 0.00012345, 0.00012345, 0.00012345)], MINUTE, SIZE))
    assert "0.00012345 ┤" in drawn
    assert drawn.count("╻") + drawn.count("╹") == 1


def test_a_line_joins_neighbours_and_leaves_out_what_nobody_measured() -> None:
    samples = [(START, 0.0), (START + 30_000, 8.0), (START + 4 * MINUTE, 4.0)]
    assert text(line(samples, START, MINUTE, Size(60, 4))) == ("6 ┤⢸\n  │⣸   ⠁\n  └┬────\n   01-01 00:00")


def test_dots_are_as_high_as_their_numbers() -> None:
    samples = [(START + number * 30_000, float(number)) for number in range(16)]
    assert text(line(samples, START, MINUTE, Size(60, 4))[:2]) == ("11 ┤    ⣀⡤⠖⠋\n   │⣀⡤⠖⠋⠁")


def test_scales_place_the_ends_in_the_first_and_the_last_part() -> None:
    scale = Scale(1.0, 3.0, 5)
    assert [scale.place(number, 2) for number in (3.0, 2.0, 1.0)] == [0, 5, 9]
    assert scale.labels() == ["2.8", "", "", "", "1.2"]


def test_the_width_of_a_column_is_a_usual_one_by_which_the_span_fits() -> None:
    assert fitting_width(10_000, 60) == 1_000
    assert fitting_width(3_600_000, 60) == 5 * MINUTE
    assert fitting_width(3_599_999, 60) == MINUTE
    assert fitting_width(30 * 86_400_000, 66) == 12 * 60 * MINUTE
    assert fitting_width(10**13, 60) == 10**13 // 60 + 1
