"""A process that collects: it stores what it is told to, and says whether that is durable, until it is killed.

    python -m tests.properties.writing URL SPOOL

Reads JSON from its standard input, a line each: `["store", KEY, FIRST, COUNT]` or `["flush", SECONDS]`, and answers
the latter with `durable` or why it is not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from collection.errors import CollectionError
from collection.records import Trade
from collection.storage import Covers, Interval, RedisStorage
from tests.conftest import trade

STEP = 217
"""Milliseconds between two trades: several in a second, and none on its edge only."""


def numbered(number: int) -> Trade:
    """The trade of a number, the same in each process."""
    return trade(number, 1_767_225_500_000 + number * STEP, price=f"{number}.5", amount=f"{1 + number % 7}.00000001")


def main(url: str, spool: str) -> None:
    with RedisStorage(url, spool=Path(spool)) as storage:
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            if name == "store":
                key, first, count = arguments
                trades = [numbered(number) for number in range(first, first + count)]
                covers = Covers("id", [Interval(first - 1, first + count - 1)])
                storage.store_batch(key, [(one.timestamp, one) for one in trades], covers)
                continue
            try:
                storage.flush(timeout=arguments[0])
                print("durable", flush=True)
            except CollectionError as error:
                print(error, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
