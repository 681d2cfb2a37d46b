"""A market that replays a recording: its trades, moved to the present by one whole number of seconds."""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import zlib
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import Literal, cast

import msgspec

from collection.errors import ConfigurationError
from collection.simulator.market import Market, Row

COLUMNS = "timestamp_ms,trade_id,side,price,amount"
_DECIMAL = r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?"
_LINE = re.compile(rf"([0-9]{{1,15}}),([0-9]{{1,18}}),(buy|sell),({_DECIMAL}),({_DECIMAL})")
_SHOWN = 10


class Recording(msgspec.Struct, frozen=True):
    """The rows of a tape as they were recorded, with ids and times ascending."""

    rows: list[Row]
    sha256: str
    """Of the uncompressed file, so that a tape and its gzip are the same."""


def read_tape(path: Path) -> Recording:
    """Read a CSV file, plain or gzip, with the columns `timestamp_ms,trade_id,side,price,amount`.

    Raises:
        ConfigurationError: The file can't be read, or holds rows that no exchange could have published; the first
            ten of them, each with its line and what is wrong with it.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        lines = content.decode("utf-8-sig").splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: can't be read as a tape: {error}") from None
    if not lines or lines[0] != COLUMNS:
        raise ConfigurationError(f"{path}:1: the first line must be {COLUMNS!r}, not {(lines or [''])[0][:80]!r}")
    rows, problems = _read_rows(path, lines)
    if problems:
        more = [f"{path}: and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ConfigurationError(*problems[:_SHOWN], *more)
    if not rows:
        raise ConfigurationError(f"{path}: the tape holds no trades")
    return Recording(rows, hashlib.sha256(content).hexdigest())


def _read_rows(path: Path, lines: list[str]) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    problems = []
    last_time = last_id = -1
    for number, line in enumerate(lines[1:], 2):
        match = _LINE.fullmatch(line)
        wrong = "" if match else _what_is_wrong(line)
        if match and not wrong:
            side = cast(Literal["buy", "sell"], match[3])
            row = Row(int(match[1]), int(match[2]), side, match[4], match[5])
            if row.id <= last_id:
                wrong = f"trade_id: {row.id} does not ascend, {last_id} came before"
            elif row.timestamp < last_time:
                wrong = f"timestamp_ms: {row.timestamp} is earlier than {last_time} before"
            elif not match[4].strip("0."):
                wrong = f"price: {match[4]!r} is not above zero"
            elif not match[5].strip("0."):
                wrong = f"amount: {match[5]!r} is not above zero"
            else:
                last_time, last_id = row.timestamp, row.id
                rows.append(row)
        if wrong:
            problems.append(f"{path}:{number}: {wrong}")
    return rows, problems


def _what_is_wrong(line: str) -> str:
    cells = line.split(",")
    if len(cells) != 5:
        return f"5 columns are expected ({COLUMNS}), not {len(cells)}"
    timestamp, id, side, price, amount = cells
    checks = (
        (r"[0-9]{1,15}", "timestamp_ms", timestamp, "is no Unix time in milliseconds"),
        (r"[0-9]{1,18}", "trade_id", id, "is no whole number"),
        (r"buy|sell", "side", side, "is neither buy nor sell"),
        (_DECIMAL, "price", price, "is no decimal number such as 0.00141342"),
        (_DECIMAL, "amount", amount, "is no decimal number such as 23.00000000"),
    )
    wrong = [f"{name}: {cell[:40]!r} {why}" for form, name, cell, why in checks if not re.fullmatch(form, cell)]
    return "; ".join(wrong)


class Tape(Market):
    """A recording that is published at `speed` times its pace, all times shifted by one whole number of seconds.

    The last trade is published at its own (shifted) time, all others so much earlier as the speed asks for. As the
    speed is at least 1, no trade is published before its own time. The shift is the largest one with which the last
    trade is published no later than `start` plus the duration, so up to one second of the replay lies before `start`.

    `start` is Unix time in milliseconds. The same recording, start and speed make the same history.
    """

    kind = "tape"

    def __init__(self, name: str, recording: Recording, start: int, speed: float) -> None:
        super().__init__(name)
        first, last = recording.rows[0].timestamp, recording.rows[-1].timestamp
        self.shift = math.floor((start + (last - first) / speed - last) / 1000)
        """Seconds that were added to every recorded time."""
        moved = self.shift * 1000
        self._rows = [Row(row.timestamp + moved, row.id, row.side, row.price, row.amount) for row in recording.rows]
        self._times = [row.timestamp for row in self._rows]
        self._ids = [row.id for row in self._rows]
        self._speed = speed
        self.price_decimals = max(_decimals(row.price) for row in recording.rows)
        self.amount_decimals = max(_decimals(row.amount) for row in recording.rows)

    def published(self, now: int) -> int:
        end = self._times[-1]
        return len(self._times) if now >= end else bisect_right(self._times, end - (end - now) * self._speed)

    def due(self, position: int) -> int | None:
        if position >= len(self._times):
            return None
        end = self._times[-1]
        return end - math.floor((end - self._times[position]) / self._speed)

    def rows(self, start: int, stop: int) -> list[Row]:
        return self._rows[start:stop]

    def position_of_id(self, id: int) -> int:
        return bisect_left(self._ids, id)

    def position_of_time(self, moment: int) -> int:
        return bisect_left(self._times, moment)

    @property
    def reference_price(self) -> str:
        return self._rows[0].price


def _decimals(number: str) -> int:
    return len(number.partition(".")[2].rstrip("0"))
