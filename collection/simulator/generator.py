"""A market that is computed: any trade of it follows from the seed, the market and its number alone."""

from __future__ import annotations

import hashlib
import math
import struct
from bisect import bisect_left
from fractions import Fraction
from functools import lru_cache
from operator import attrgetter

from collection.simulator.market import Market, Row

_DRAW = struct.Struct("<IHHI")
_BURST = 0.25
"""The share of trades that fall into the millisecond of the one before."""
_E8 = 10**8
_DOLLARS = {
    "BTC": 60_000.0, "ETH": 3_000.0, "BNB": 600.0, "SOL": 150.0, "LTC": 80.0, "XRP": 0.6, "ADA": 0.4, "DOGE": 0.15,
    "USDT": 1.0, "USDC": 1.0, "FDUSD": 1.0, "TUSD": 1.0, "DAI": 1.0, "USD": 1.0, "EUR": 1.1, "TRY": 0.03,
}  # fmt: skip
_WAVES = ((0.002, 67.0), (0.01, 1_543.0), (0.05, 38_501.0))
"""The price's path: amplitudes (relative to the price) and periods (seconds) of its waves."""


class Generator(Market):
    """A market with `rate` trades a second since `epoch` (Unix time in milliseconds), published at their own times.

    Time is cut into blocks; how many trades precede a block is a closed form, and what is in it a hash of seed,
    market and block. So nothing is remembered, any id or time is reached at once, and the same arguments make the
    same history.
    """

    kind = "generated"

    def __init__(self, name: str, seed: int, rate: float, epoch: int) -> None:
        super().__init__(name)
        self._epoch = epoch
        self._key = f"{seed}:{name}"
        self._width = 1000 if rate >= 1 else 1000 * math.ceil(8 / rate)
        # Exact: a float would place a trade in two blocks, or in none, at some boundary.
        self._in_block = Fraction(str(rate)) * self._width / 1000
        self.first_id = 1 + _hash(name, "first id") % _E8
        dollars = _dollars(self.base)
        self._price = dollars / _dollars(self.quote)
        self.price_decimals = min(8, max(2, 4 - math.floor(math.log10(self._price))))
        self.amount_decimals = min(8, max(0, round(math.log10(dollars))))
        self._tick, self._lot = 10 ** (8 - self.price_decimals), 10 ** (8 - self.amount_decimals)
        self._largest = max(1, round(20_000 / dollars * 10**self.amount_decimals))
        self._phases = [_hash(self._key, f"phase {number}") % 10_000 / 10_000 for number in range(len(_WAVES))]
        self._block = lru_cache(maxsize=8)(self._make_block)

    def _before(self, block: int) -> int:
        """How many trades precede the block."""
        return block * self._in_block.numerator // self._in_block.denominator

    def _block_of(self, position: int) -> int:
        return -(-(position + 1) * self._in_block.denominator // self._in_block.numerator) - 1

    def _make_block(self, block: int) -> list[Row]:
        begin = self._before(block)
        count = self._before(block + 1) - begin
        drawn = hashlib.shake_128(f"{self._key}:{block}".encode()).digest(_DRAW.size * count)
        draws = list(_DRAW.iter_unpack(drawn))
        offsets = sorted(draw[0] * self._width >> 32 for draw in draws)
        since, width = self._epoch + block * self._width, self._width
        mid = round(self._mid(block * width / 1000) * 10**self.price_decimals)
        tick, lot, largest, first = self._tick, self._lot, self._largest, self.first_id + begin
        offset, rows = -1, []
        for number, (_, burst, dice, size) in enumerate(draws):
            if number == 0 or burst >= _BURST * 65536:
                offset = offsets[number]
            buys, away = dice & 1, (dice >> 1) % 4
            price = max(1, mid + away if buys else mid - 1 - away) * tick
            amount = (1 + ((size >> 4 >> (size & 15)) * largest >> 28)) * lot
            rows.append(
                Row(
                    since + offset,
                    first + number,
                    "buy" if buys else "sell",
                    f"{price // _E8}.{price % _E8:08d}",
                    f"{amount // _E8}.{amount % _E8:08d}",
                )
            )
        return rows

    def _mid(self, seconds: float) -> float:
        waves = zip(_WAVES, self._phases, strict=True)
        return self._price * (
            1 + sum(height * math.sin(math.tau * (seconds / period + phase)) for (height, period), phase in waves)
        )

    def published(self, now: int) -> int:
        return self.position_of_time(now + 1)

    def due(self, position: int) -> int:
        return self.rows(position, position + 1)[0].timestamp

    def rows(self, start: int, stop: int) -> list[Row]:
        if start >= stop:
            return []
        first, last = self._block_of(start), self._block_of(stop - 1)
        if first == last:
            begin = self._before(first)
            return self._block(first)[start - begin : stop - begin]
        rows = [row for block in range(first, last + 1) for row in self._block(block)]
        begin = self._before(first)
        return rows[start - begin : stop - begin]

    def position_of_id(self, id: int) -> int:
        return max(0, id - self.first_id)

    def position_of_time(self, moment: int) -> int:
        block = (moment - self._epoch) // self._width
        if block < 0:
            return 0
        return self._before(block) + bisect_left(self._block(block), moment, key=attrgetter("timestamp"))

    @property
    def reference_price(self) -> str:
        return f"{self._price:.{self.price_decimals}f}"


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b(":".join(parts).encode(), digest_size=8).digest())


def _dollars(currency: str) -> float:
    """What one unit costs: known for some, made up for the rest."""
    return _DOLLARS.get(currency) or 10 ** (_hash(currency, "dollars") % 5_000 / 1_000 - 2)
