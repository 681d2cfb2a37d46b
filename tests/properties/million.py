"""A long feed of several markets: with late, repeated and missing trades, in batches that two writers share."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple

from collection.records import Side, Trade
from collection.storage import Covers, Interval
from tests.properties.strategies import FIRST_DAY

LATE, REPEATED = 0.01, 0.08
DECIMALS = {"trades:a:BTC/USDT": (2, 8), "trades:a:PEPE/ETH": (18, 18), "trades:b:BTC/USDT": (8, 3)}
"""Of price and amount; sums of 18 decimals are beyond what floats hold exactly."""
DAYS = 3


class Batch(NamedTuple):
    """What one read of an exchange brought: trades, and the stretches of ids that they make complete."""

    key: str
    trades: Sequence[Trade]
    covers: Covers


def market(key: str, count: int, seed: int) -> list[Trade]:
    """Trades of some days in the order of their ids, of which there is none from a tenth to a ninth of them."""
    chance = random.Random(f"{key}{seed}")
    price_decimals, amount_decimals = DECIMALS[key]
    step = DAYS * 86_400_000 // count * 2
    time, trades = FIRST_DAY, []
    for number in range(count):
        time += 0 if chance.random() < 0.22 else chance.randint(1, step * 3 // 2)
        price = Decimal(chance.randint(1, 10**6) * 10**11 + chance.randrange(10**11)).scaleb(-price_decimals)
        amount = Decimal(chance.randint(1, 10 ** chance.randint(1, 19))).scaleb(-amount_decimals)
        side: Side = chance.choice(("buy", "sell"))
        trades.append(Trade(time, str(10**9 + number), side, price, amount, time + 50))
    return trades[: count // 10] + trades[count // 9 :]


def batches(key: str, trades: Sequence[Trade], seed: int) -> Iterator[Batch]:
    """Cut a feed into batches; some trades come in a later batch than their neighbours, some come again."""
    chance = random.Random(f"{key}{seed}batches")
    waiting: list[tuple[int, Trade]] = []  # with the number of the batch that brings them
    number = place = 0
    while place < len(trades) or waiting:
        size = chance.choice((1, 20, 100, 300, 1_200))
        batch = []
        for trade in trades[place : place + size]:
            if chance.random() < LATE:
                waiting.append((number + chance.randint(1, 30), trade))
            else:
                batch.append(trade)
        place += size
        batch += [trade for due, trade in waiting if due <= number]
        waiting = [(due, trade) for due, trade in waiting if due > number]
        number += 1
        if batch:
            yield Batch(key, batch, covers(batch))
        if chance.random() < REPEATED:
            again = trades[max(place - 2 * size, 0) : max(place - size // 2, 0)]
            yield Batch(key, again, Covers("id", ()))


def covers(trades: Sequence[Trade]) -> Covers:
    """What trades make complete by themselves: each run of ids without a hole."""
    ids = sorted({int(trade.id) for trade in trades})
    runs = [list(run) for _, run in groupby(enumerate(ids), lambda pair: pair[1] - pair[0])]
    return Covers("id", [Interval(run[0][1] - 1, run[-1][1]) for run in runs])


def shared(feed: Sequence[Batch], seed: int) -> tuple[list[Batch], list[Batch]]:
    """Deal the batches to two writers: each batch to one of them or to both."""
    chance = random.Random(f"{seed}shared")
    hands: tuple[list[Batch], list[Batch]] = ([], [])
    for batch in feed:
        for hand in chance.choice((hands[:1], hands[1:], hands)) if chance.random() < 0.2 else (chance.choice(hands),):
            hand.append(batch)
    return hands
