"""Notes when each trade can be read: another process, which follows what a contender stores.

    python -m bench.ingest_reader KIND REDIS_URL MARKET [MARKET …]

Prints a line once it follows; at the end of its input it writes market, id and time (monotonic nanoseconds) of each
trade as 64-bit integers. What is ours is asked for every 10 ms through the storage's `tail`; others' streams wake it.
"""

from __future__ import annotations

import sys
import threading
import time
from array import array
from collections.abc import Iterator, Sequence

from bench.ingest_contenders import as_it_is, stream_key, trade_id
from collection.records import Trade
from collection.storage import RedisStorage
from collection.storage.redis_server import call, connect

POLL = 0.01
Found = list[tuple[int, int]]
"""Trades: the place of their market, and their ids."""


def main() -> None:
    kind, url, *names = sys.argv[1:]
    ended = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(ended,), daemon=True).start()
    pages = follow_ours(url, names) if kind == "ours" else follow_streams(url, kind, names)
    seen = array("q")
    for found in pages:
        now = time.monotonic_ns()
        for market, id in found:
            seen.extend((market, id, now))
        if ended.is_set():
            break
    sys.stdout.buffer.write(seen.tobytes())


def _wait_for_the_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def follow_ours(url: str, names: Sequence[str]) -> Iterator[Found]:
    keys = [f"trades:binance:{name}" for name in names]
    with RedisStorage(url) as storage:
        positions = {key: tail.position for key, tail in storage.tail(dict.fromkeys(keys, "now")).items()}
        print("reading", flush=True)
        while True:
            tails = storage.tail(positions)
            positions = {key: tail.position for key, tail in tails.items()}
            values = [(place, value) for place, key in enumerate(keys) for _, value in tails[key].values]
            yield [(place, int(trade.id)) for place, trade in values if isinstance(trade, Trade)]
            time.sleep(POLL)


def follow_streams(url: str, kind: str, names: Sequence[str]) -> Iterator[Found]:
    places = {stream_key(kind, name).encode(): place for place, name in enumerate(names)}
    with connect(url) as client:
        for command in ("XREAD", "XREVRANGE"):
            client.set_response_callback(command, as_it_is)
        newest = {key: call(client, "XREVRANGE", key, "+", "-", "COUNT", 1) for key in places}
        last = {key: rows[0][0] if rows else b"0-0" for key, rows in newest.items()}
        print("reading", flush=True)
        while True:
            found: Found = []
            for key, rows in call(client, "XREAD", "BLOCK", 100, "STREAMS", *last, *last.values()) or ():
                last[key] = rows[-1][0]
                found += [(places[key], trade_id(row)) for row in rows]
            yield found


if __name__ == "__main__":
    main()
