"""Charts of text: candles with volumes, or a line, with prices on the left and times (UTC) below.

Rising candles are thin (┃) and falling ones are blocks (█), so that they can be told apart without colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil, floor, log10
from typing import NamedTuple

from rich.text import Text

from collection.bars import Bar

# Of a cell, its upper and its lower half: empty, wick or body.
_RISING = {"  ": " ", "ww": "│", "bb": "┃", "wb": "╽", "bw": "╿", " w": "╷", "w ": "╵", " b": "╻", "b ": "╹"}
_FALLING = {**_RISING, "bb": "█", "wb": "▄", "bw": "▀", " b": "▄", "b ": "▀"}
_BLOCKS = " ▁▂▃▄▅▆▇█"
_VOLUME_ROWS = 3
_AXIS_ROWS = 2
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille cell, row by row
LABELS = 12
"""Columns that the numbers on the left are expected to take."""
_TICK = 16
"""Columns between two times."""
_PRICES = 4
"""Rows between two prices."""
WIDTHS = [
    *(second * 1_000 for second in (1, 5, 15, 30)),
    *(minute * 60_000 for minute in (1, 5, 15, 30)),
    *(hour * 3_600_000 for hour in (1, 4, 12)),
    *(day * 86_400_000 for day in (1, 7, 30, 365)),
]
"""Widths of a column that people think in, in milliseconds."""


class Size(NamedTuple):
    """What a chart may take, in characters."""

    columns: int
    rows: int


class Scale(NamedTuple):
    """Which numbers the rows of a chart stand for: from `high`, at the top, to `low`."""

    low: float
    high: float
    rows: int

    def place(self, number: float, parts: int) -> int:
        """Return where a number is, from 0 at the top, in parts of a row."""
        share = (self.high - number) / (self.high - self.low) if self.high > self.low else 0.5
        return min(int(share * self.rows * parts), self.rows * parts - 1)

    def labels(self) -> list[str]:
        """Return the numbers to be written at the left of the rows, in as many digits as tell rows apart."""
        step = (self.high - self.low) / self.rows
        digits = max(-floor(log10(step)), 0) if step else max(-int(Decimal(repr(self.low)).as_tuple().exponent), 0)
        shown = {row: f"{self.high - (row + 0.5) * step:,.{digits}f}" for row in range(0, self.rows, _PRICES)}
        return [shown.get(row, "") for row in range(self.rows)]


def fitting_width(span: int, columns: int) -> int:
    """Return the smallest usual width of a column by which a span fits, in milliseconds."""
    return next((width for width in WIDTHS if span // width < columns), span // max(columns, 1) + 1)


def candles(bars: Sequence[Bar], width: int, size: Size) -> list[Text]:
    """Draw bars of `width` milliseconds, a column each, and their volumes below; of too many, the newest."""
    scale = Scale(min(bar.low for bar in bars), max(bar.high for bar in bars), size.rows - _VOLUME_ROWS - _AXIS_ROWS)
    most = max(bar.volume for bar in bars)
    labels = [*scale.labels(), f"{most:,.6g}", *[""] * (_VOLUME_ROWS - 1)]
    first = _first(bars[0].timestamp, bars[-1].timestamp, width, size, labels)
    columns: dict[int, list[tuple[str, str]]] = {}
    for bar in bars:
        if bar.timestamp >= first:
            style = "green" if bar.close > bar.open else "red" if bar.close < bar.open else ""
            volume = _volume(bar.volume, most)
            columns[(bar.timestamp - first) // width] = [(cell, style) for cell in [*_candle(bar, scale), *volume]]
    return _framed(columns, labels, first, width)


def line(samples: Iterable[tuple[int, float]], first: int, width: int, size: Size) -> list[Text]:
    """Draw samples in order as a line of dots, two for each column of `width` milliseconds, the first at `first`."""
    spans: dict[int, tuple[float, float]] = {}  # by column of dots: lowest and highest
    before: tuple[int, float] | None = None
    for timestamp, value in samples:
        dot = (timestamp - first) * 2 // width
        joined = [value] if before is None or before[0] < dot - 1 else [value, before[1]]
        spans[dot] = (min(*spans.get(dot, (value,)), *joined), max(*spans.get(dot, (value,)), *joined))
        before = dot, value
    rows = size.rows - _AXIS_ROWS
    scale = Scale(min(low for low, _ in spans.values()), max(high for _, high in spans.values()), rows)
    bits: dict[int, list[int]] = {}
    for dot, (low, high) in spans.items():
        cells = bits.setdefault(dot // 2, [0] * rows)
        for place in range(scale.place(high, 4), scale.place(low, 4) + 1):
            cells[place // 4] |= _DOTS[place % 4][dot % 2]
    columns = {at: [(chr(0x2800 + cell) if cell else " ", "cyan") for cell in cells] for at, cells in bits.items()}
    return _framed(columns, scale.labels(), first, width)


def _first(oldest: int, newest: int, width: int, size: Size, labels: Sequence[str]) -> int:
    """Return the time of the first column: the labels take theirs."""
    room = size.columns - max(map(len, labels)) - 2
    return max(oldest, newest - (room - 1) * width)


def _candle(bar: Bar, scale: Scale) -> list[str]:
    top, bottom, start, end = (scale.place(price, 2) for price in (bar.high, bar.low, bar.open, bar.close))
    body = range(min(start, end), max(start, end) + 1)
    halves = ["b" if half in body else "w" if top <= half <= bottom else " " for half in range(scale.rows * 2)]
    glyphs = _FALLING if bar.close < bar.open else _RISING
    return [glyphs[upper + lower] for upper, lower in zip(halves[::2], halves[1::2], strict=True)]


def _volume(volume: float, most: float) -> list[str]:
    eighths = ceil(volume / most * _VOLUME_ROWS * 8) if most else 0
    return [_BLOCKS[max(min(eighths - row * 8, 8), 0)] for row in reversed(range(_VOLUME_ROWS))]


def _framed(
    columns: Mapping[int, Sequence[tuple[str, str]]], labels: Sequence[str], first: int, width: int
) -> list[Text]:
    margin, number = max(map(len, labels)), max(columns) + 1
    drawn = []
    for row, label in enumerate(labels):
        text = Text().append(f"{label:>{margin}} {'┤' if label else '│'}", "dim")
        for at in range(number):
            text.append(*columns[at][row] if at in columns else (" ", ""))
        drawn.append(text)
    ticks = "".join("┬" if at % _TICK == 0 else "─" for at in range(number))
    times = "".join(f"{_time(first + at * width, width):<{_TICK}}" for at in range(0, max(number - 11, 1), _TICK))
    drawn.append(Text(f"{'':>{margin}} └{ticks}", "dim"))
    drawn.append(Text(f"{'':>{margin}}  {times.rstrip()}", "dim"))
    return drawn


def _time(timestamp: int, width: int) -> str:
    """Write the time of a column with what is needed to tell columns apart."""
    form = "%H:%M:%S" if width < 60_000 else "%m-%d %H:%M" if width < 86_400_000 else "%Y-%m-%d"
    return datetime.fromtimestamp(timestamp / 1000, UTC).strftime(form)
