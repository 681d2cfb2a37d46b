"""The interface between those who collect and those who read: time series under keys, stored once however often."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import ascii_letters, digits
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from collection.bars import SECOND, Bar, bar_range, bars_of
from collection.errors import ConfigurationError
from collection.records import Trade
from collection.storage.coverage import By, Coverage, Interval
from collection.storage.frames import Kind, Numbers, make_frame, read_batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAME = set(ascii_letters + digits + "_:.-")


class Covers(NamedTuple):
    """What a batch makes complete, told by whoever read it in one uninterrupted piece."""

    by: By
    intervals: Sequence[Interval]


class SeriesInfo(NamedTuple):
    """What a series holds at a glance; times in Unix milliseconds, None where it is empty."""

    key: str
    type: str
    records: int
    first: int | None
    last: int | None
    bytes: int


class Floor(NamedTuple):
    """Where a series begins since its older days were dropped."""

    timestamp: int = 0
    """Unix milliseconds; what is older is refused."""
    last: tuple[int, int] | None = None
    """The newest record that was dropped: its timestamp, and its record id as a number."""

    def left_of(self, coverage: Coverage) -> Interval:
        """Return the positions that retention left of what is covered, from the floor to the end."""
        dropped = self.last[1] if self.last else -1
        after = self.timestamp - 1 if coverage.by == "time" else dropped
        return Interval(after, max(after, -1 if coverage.end is None else coverage.end))


class State(NamedTuple):
    """What is known of a series as a whole."""

    coverage: Coverage
    floor: Floor
    stored: int
    """How many records were ever stored; less than before where the storage lost its memory."""


class Tail(NamedTuple):
    """What was stored of one series since a position."""

    values: Sequence[tuple[int, Any]]
    """In the order of (timestamp, record id), but for those that came late: they follow the others."""
    position: str
    """Where the next call reads on."""
    more: bool
    """Whether there was more than was asked for."""
    complete: bool
    """False where something was dropped (see `drop_before`) before it was read."""


class BarsCheck(NamedTuple):
    """What a comparison of kept bars with the records found."""

    bars: int
    """How many bars the records make."""
    wrong: Sequence[int]
    """The times of those that are kept wrongly, are missing, or should not be there."""


class DataCollectionStorage(ABC):
    """Time series under keys such as `trades:binance:BTC/USDT`.

    Timestamps are Unix milliseconds, ranges include both ends, results are ordered by (timestamp, record id).
    Which values are kept, and how they come back, is in `collection.storage.values`. Methods are synchronous and
    thread-safe: asynchronous code calls what can block through `asyncio.to_thread`. Storing again what is stored
    changes nothing, so retries, overlaps and replays are free.
    """

    def store(self, key: str, value: Any, timestamp: int) -> None:
        """Enqueue one value: never blocks, never raises for a server that is away.

        Raises:
            RecordRefused: The value can't be kept, whatever the server.
        """
        self.store_batch(key, [(timestamp, value)])

    @abstractmethod
    def store_batch(self, key: str, values: Iterable[tuple[int, Any]], covers: Covers | None = None) -> None:
        """Enqueue (timestamp, value) pairs, and what they make complete once all of them are stored.

        Raises:
            RecordRefused: A value can't be kept; then none of the batch is enqueued.
        """

    @abstractmethod
    def count(self, key: str, name: str, number: int = 1) -> None:
        """Enqueue an addition to a counter of the series (`refused:no_price`, …)."""

    @abstractmethod
    def flush(self, key: str | None = None, timeout: float = 10.0) -> None:
        """Return once all that was stored before (of one key, or of all) is durable.

        Raises:
            StorageUnavailable: It is not within `timeout` seconds; what waits goes on waiting.
            StorageRefused: The storage will never take some of it; the message says key by key what and why.
        """

    @abstractmethod
    def fetch(self, key: str, start_time: int | None = None, end_time: int | None = None) -> list[tuple[int, Any]]:
        """Return what is stored between two times, both included; None leaves that end open."""

    @abstractmethod
    def pages(
        self, key: str, start_time: int | None = None, end_time: int | None = None
    ) -> Iterator[list[tuple[int, Any]]]:
        """Yield what `fetch` returns in pieces of some thousands: for ranges larger than memory."""

    @abstractmethod
    def columns(self, key: str, start_time: int | None = None, end_time: int | None = None) -> dict[str, NDArray[Any]]:
        """Return what `fetch` returns as NumPy arrays of one length, by name.

        Trades: `timestamp` and `received` (int64, Unix ms), `id` (object: str), `side` (int8: 1 buy, -1 sell, 0 not
        told), `price` and `amount` (float64, nearest to the exact decimals). Numbers: `timestamp`, `value` (float64).
        Other values: `timestamp`, `value` (object).

        Raises:
            ConfigurationError: NumPy is not installed.
        """

    def frame(
        self,
        key: str,
        start_time: int | None = None,
        end_time: int | None = None,
        kind: Kind = "polars",
        *,
        width: int | None = None,
        numbers: Numbers = "decimal",
    ) -> Any:
        """Return a range as a `polars.DataFrame`, a `pandas.DataFrame` or a `pyarrow.Table` (`kind`: `arrow`).

        Columns and their types are in `collection.storage.frames`; times are UTC, in milliseconds. Prices and amounts
        are exact decimals, or with `numbers` the text that the exchange sent, or the nearest 64-bit floats. With
        `width` they are the bars of so many milliseconds. It is read page by page: beside the frame there is no more
        in memory than one of them.

        Raises:
            ConfigurationError: What it needs is not installed (extra `frames`; pandas by itself), or a number does not
                fit the decimal type: none is ever rounded in silence.
        """
        return make_frame(read_batches(self, key, start_time, end_time, width=width, numbers=numbers), kind)

    @abstractmethod
    def tail(self, positions: Mapping[str, str], limit: int = 10_000) -> dict[str, Tail]:
        """Return what was stored of each key since its position, each record once, late ones included.

        A position is what the call before returned: it is text, and can be kept anywhere. `""` is the beginning, and
        `"now"` returns nothing but the present position. Never waits; `limit` is for each key.

        Raises:
            ConfigurationError: A position is none of this storage.
        """

    def bars(
        self, key: str, start_time: int | None = None, end_time: int | None = None, width: int = SECOND
    ) -> list[Bar]:
        """Return the bars of `width` milliseconds that begin between two times, both included, of a series of trades.

        Each is whole: it has all trades of its width, and equals what `bars_of` makes of them.
        """
        first, last = bar_range(start_time, end_time, width)
        values = (value for page in self.pages(key, first, last) for _, value in page)
        return bars_of((value for value in values if isinstance(value, Trade)), width)

    @abstractmethod
    def check_bars(
        self, key: str, start_time: int | None = None, end_time: int | None = None, *, rebuild: bool = False
    ) -> BarsCheck:
        """Compare the kept 1-second bars with the records, and with `rebuild` write those that are wrong anew."""

    @abstractmethod
    def latest(self, key: str, n: int = 1) -> list[tuple[int, Any]]:
        """Return the newest `n` values, oldest first."""

    @abstractmethod
    def coverage(self, key: str) -> Coverage:
        """Return which stretches of the series are known to be complete."""

    def gaps(self, key: str) -> list[Interval]:
        """Return what is not known to be complete between the first and the last covered position."""
        return self.coverage(key).gaps

    @abstractmethod
    def floor(self, key: str) -> Floor:
        """Return where the series begins since `drop_before`."""

    def states(self, keys: Sequence[str]) -> dict[str, State]:
        """Return coverage, floor and count of many series, in one round trip where the storage can."""
        return {key: State(self.coverage(key), self.floor(key), self.counters(key).get("new", 0)) for key in keys}

    @abstractmethod
    def counters(self, key: str) -> Mapping[str, int]:
        """Return what was counted: `new`, `duplicate`, `late`, `replaced`, `refused:…` and others."""

    @abstractmethod
    def claim(self, key: str, source: str) -> str:
        """Note, in words, where the data of a series come from; returns what was noted first."""

    @abstractmethod
    def series(self) -> list[str]:
        """Return the keys of all series, sorted."""

    @abstractmethod
    def info(self, keys: Sequence[str]) -> list[SeriesInfo]:
        """Return what each of the series holds."""

    @abstractmethod
    def drop_before(self, key: str, timestamp: int) -> None:
        """Forget the days that ended before `timestamp`, and refuse from now on what is of those days."""

    @abstractmethod
    def close(self) -> None:
        """Write what waits, as far as the server takes it within a moment, and let go of connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def checked_covers(key: str, covers: Covers | None) -> None:
    """Raise ValueError for intervals that can't be: positions go from -1, before the first id, to 2^64 - 1."""
    for after, upto in covers.intervals if covers else ():
        if not (type(after) is type(upto) is int and -1 <= after <= upto < 2**64):
            raise ValueError(f"{key}: no interval of positions: ({after}, {upto}]")


def checked_name(name: str) -> str:
    """Return the name of a counter, or raise ValueError where it can't be one."""
    if not name or not set(name) <= _NAME:
        raise ValueError(f"counter {name!r}: letters, digits, '_', ':', '.' and '-' only")
    return name


def checked_key(key: str) -> str:
    """Return the key, or raise ConfigurationError where it can't name a series."""
    if not (0 < len(key) <= 200 and key.isprintable()) or set(key) & set("{} \"'\\"):
        raise ConfigurationError(
            f"series key {key[:60]!r}: 1 to 200 printable characters without spaces, quotes, backslashes or braces"
        )
    return key
