"""What of a series is looked at: its trades with running sums, or its numbers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from decimal import Decimal, localcontext
from typing import Any

from collection.quotes.numbers import EXACT, ROUNDED, middle
from collection.records import Trade
from collection.storage.values import hash64, integer_id

Identity = tuple[int, int]
_LAST = 2**64


def identity(trade: Trade) -> Identity:
    """Return what orders and identifies a trade in the storage: its timestamp, and its id as a number."""
    number = integer_id(trade.id)
    return trade.timestamp, hash64(trade.id.encode()) if number is None else number


class Trades:
    """The trades of one market in order of (timestamp, id), with running sums.

    Sums are exact, so a window's is the difference of two of them, whatever came before and in whatever order: to ask
    for a window costs the logarithm of what is kept, and to add a trade the same everywhere but behind the newest.
    """

    def __init__(self) -> None:
        self.trades: list[Trade] = []
        self._identities: list[Identity] = []
        self._known: list[int] = []  # by when it and all before it had been received
        self._floats: list[float] = []
        self._held = [Decimal(0)]  # Σ price · ms until the next trade, up to each trade
        self._sums = [(Decimal(0), Decimal(0), Decimal(0))]  # Σq, Σpq, Σp²q before each trade, and after the last

    def add(self, values: Iterable[tuple[int, Any]]) -> None:
        """Add trades, late ones too; those that are there already are left out."""
        new: dict[Identity, Trade] = {}
        for _, value in values:
            if not isinstance(value, Trade):
                raise TypeError(f"the series holds values of type {type(value).__name__}, not trades")
            new.setdefault(identity(value), value)
        if not new:
            return
        place = bisect_left(self._identities, min(new))
        there = zip(self._identities[place:], self.trades[place:], strict=True)
        merged = sorted({**new, **dict(there)}.items())
        self._cut(place)
        with localcontext(EXACT):
            for name, trade in merged:
                self._append(name, trade)

    def _append(self, name: Identity, trade: Trade) -> None:
        price, amount = trade.price, trade.amount
        volume, value, square = self._sums[-1]
        worth = price * amount
        self._sums.append((volume + amount, value + worth, square + price * worth))
        if self.trades:
            before = self.trades[-1]
            self._held.append(self._held[-1] + before.price * (trade.timestamp - before.timestamp))
        known = trade.received or trade.timestamp
        self._known.append(max(known, self._known[-1]) if self._known else known)
        self._floats.append(float(price))
        self._identities.append(name)
        self.trades.append(trade)

    def _cut(self, place: int) -> None:
        """Forget all from a place on."""
        for column in (self.trades, self._identities, self._known, self._floats):
            del column[place:]
        del self._held[max(place, 1) :]
        del self._sums[place + 1 :]

    def trim(self, start: int) -> None:
        """Forget what is of `start` or older."""
        place = bisect_right(self._identities, (start, _LAST))
        for column in (self.trades, self._identities, self._known, self._floats, self._sums):
            del column[:place]
        del self._held[: min(place, len(self._held) - 1)]

    def known_by(self, at: int) -> Trades:
        """Return what had been received by a time; a trade without a time of receipt as of its own."""
        place = bisect_right(self._known, at)
        if place == len(self._known):
            return self
        known = Trades()
        known.trades, known._identities = self.trades[:place], self._identities[:place]
        known._known, known._floats = self._known[:place], self._floats[:place]
        known._held, known._sums = self._held[: max(place, 1)], self._sums[: place + 1]
        known.add(
            (trade.timestamp, trade) for trade in self.trades[place:] if (trade.received or trade.timestamp) <= at
        )
        return known

    def window(self, start: int, at: int) -> Window:
        """Return the trades after `start`, up to and including `at`, in Unix milliseconds."""
        first = bisect_right(self._identities, (start, _LAST))
        return Window(self, first, bisect_right(self._identities, (at, _LAST)), at)


class Window:
    """The trades from one place to another, and what they come to."""

    def __init__(self, series: Trades, first: int, end: int, at: int) -> None:
        self._series = series
        self._first = first
        self._end = end
        self._at = at
        pairs = zip(series._sums[end], series._sums[first], strict=True) if self else ()
        self.volume, self._value, self._square = [EXACT.subtract(*pair) for pair in pairs] or [Decimal(0)] * 3

    def __len__(self) -> int:
        return max(self._end - self._first, 0)

    @property
    def oldest(self) -> Trade:
        return self._series.trades[self._first]

    @property
    def newest(self) -> Trade:
        return self._series.trades[self._end - 1]

    @property
    def oldest_id(self) -> int:
        """The id of the oldest trade, as a number."""
        return self._series._identities[self._first][1]

    @property
    def ids(self) -> tuple[int, int]:
        """The lowest and the highest id, as numbers."""
        seqs = [seq for _, seq in self._series._identities[self._first : self._end]]
        return min(seqs), max(seqs)

    def vwap(self) -> Decimal | None:
        """Volume-weighted average price, Σ p·q / Σ q; None where nothing but zero was traded.

        Berkowitz, Logue and Noser, "The Total Cost of Transactions on the NYSE", Journal of Finance 43 (1988).
        """
        return ROUNDED.divide(self._value, self.volume) if self.volume else None

    def twap(self) -> Decimal:
        """Time-weighted average price by the previous tick: Σ pᵢ·(tᵢ₊₁ - tᵢ) / (T - t₁), where tₙ₊₁ = T.

        Each price holds until the next trade, the last one until the end of the window, T. The time before the first
        trade of the window is not counted: nothing older than the window is used. Of trades of one millisecond the last
        in order of id holds. Where all are of T itself, it is the price of the last.
        Previous tick: Dacorogna and others, "An Introduction to High-Frequency Finance" (2001), section 3.2.
        """
        since = self.oldest.timestamp
        if since == self._at:
            return self.newest.price
        held = EXACT.subtract(self._series._held[self._end - 1], self._series._held[self._first])
        rest = EXACT.multiply(self.newest.price, self._at - self.newest.timestamp)
        return ROUNDED.divide(EXACT.add(held, rest), self._at - since)

    def median(self) -> Decimal:
        """The median price of the trades, each counted once, whatever its amount."""
        floats = sorted(self._series._floats[self._first : self._end])
        size = len(floats)
        return middle(self._ranked(floats, (size - 1) // 2), self._ranked(floats, size // 2))

    def _ranked(self, floats: list[float], rank: int) -> Decimal:
        """Return the price of a rank: sorting floats takes a tenth of the time, and the few that are equal decide."""
        series, wanted = self._series, floats[rank]
        if floats[0] != wanted != floats[-1] and floats.count(wanted) == 1:
            return series.trades[series._floats.index(wanted, self._first, self._end)].price
        equal = sorted(
            series.trades[place].price for place in range(self._first, self._end) if series._floats[place] == wanted
        )
        return equal[rank - bisect_left(floats, wanted)]

    def last(self) -> Decimal:
        """The price of the newest trade; of several of one millisecond that with the highest id."""
        return self.newest.price

    def dispersion(self) -> float | None:
        """The standard deviation of prices around the VWAP, by volume, relative to it; None where that is zero.

        sqrt(Σ q·(p - VWAP)² / Σ q) / |VWAP| = sqrt(Σq·Σp²q - (Σpq)²) / |Σpq|
        """
        if not self._value or not self.volume:
            return None
        squares = EXACT.subtract(EXACT.multiply(self.volume, self._square), EXACT.multiply(self._value, self._value))
        return float(ROUNDED.divide(ROUNDED.sqrt(max(squares, Decimal(0))), EXACT.abs(self._value)))


class Values:
    """The numbers of one series by time; floats come as the shortest decimal that is the same float."""

    def __init__(self) -> None:
        self._times: list[int] = []
        self._values: dict[int, Decimal] = {}

    def add(self, values: Iterable[tuple[int, Any]]) -> None:
        """Add numbers. A float replaces that of its time; of several decimals of one time the greatest is kept."""
        for timestamp, value in values:
            if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
                raise TypeError(f"the series holds values of type {type(value).__name__}, not numbers")
            number = value if isinstance(value, Decimal) else Decimal(repr(value))
            if not number.is_finite():
                raise ValueError(f"the series holds {number} at {timestamp}")
            if timestamp not in self._values:
                insort(self._times, timestamp)
            elif isinstance(value, Decimal):
                number = max(number, self._values[timestamp])
            self._values[timestamp] = number

    def trim(self, start: int) -> None:
        """Forget what is of `start` or older."""
        place = bisect_right(self._times, start)
        for timestamp in self._times[:place]:
            del self._values[timestamp]
        del self._times[:place]

    def newest(self, start: int, at: int) -> tuple[int, Decimal] | None:
        """Return the newest of those after `start`, up to and including `at`."""
        place = bisect_right(self._times, at) - 1
        if place < 0 or self._times[place] <= start:
            return None
        return self._times[place], self._values[self._times[place]]
