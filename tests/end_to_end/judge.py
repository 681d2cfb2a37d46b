"""The judge: what is stored, held against what the simulated exchange says it published."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from collection.bars import SECOND, bars_of
from collection.records import digest
from collection.storage import Interval, RedisStorage
from collection.storage.coverage import without


def get(url: str) -> Any:
    """Return what a server answers: read, where it is JSON."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        body = answer.read()
    return json.loads(body) if body.startswith(b"{") or body.startswith(b"[") else body


def misbehave(port: int, faults: Mapping[str, float]) -> None:
    """Have the simulator make these faults, and no others."""
    for method, body in (("DELETE", None), ("POST", json.dumps(faults).encode())):
        urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}/_faults", body, method=method), timeout=5
        ).close()


def truth(port: int, market: str, until_id: str = "") -> dict[str, Any]:
    """Return the count, last id and digest of what was published of a market, up to an id."""
    query = f"?until={until_id}" if until_id else ""
    found: dict[str, Any] = get(f"http://127.0.0.1:{port}/_truth/{urllib.parse.quote(market, safe='')}{query}")
    return found


def audit(store: RedisStorage, port: int, market: str) -> int:
    """Check that what is stored of a market is what was published up to there; returns how much that is."""
    trades = [value for _, value in store.fetch(f"trades:binance:{market}")]
    told = truth(port, market, trades[-1].id)
    assert (len(trades), digest(trades)) == (told["count"], told["digest"])
    assert len(store.coverage(f"trades:binance:{market}").intervals) == 1
    return len(trades)


def missing(store: RedisStorage, published: Mapping[str, Any]) -> list[Interval]:
    """Return which ids are not covered of what `truth` says was published."""
    all_ids = [Interval(int(published["first_id"]) - 1, int(published["last_id"]))]
    return without(all_ids, store.coverage(f"trades:binance:{published['market']}").intervals)


def faults_of(store: RedisStorage, published: Mapping[str, Any]) -> list[str]:
    """Say in words what is wrong with what is stored of a market, up to the last id of what `truth` says."""
    key, last_id = f"trades:binance:{published['market']}", int(published["last_id"])
    wrong = [f"{key}: not covered: {hole.after + 1} to {hole.upto}" for hole in missing(store, published)]
    trades = [value for _, value in store.fetch(key) if int(value.id) <= last_id]
    if (len(trades), digest(trades)) != (published["count"], published["digest"]):
        ids = len({trade.id for trade in trades})
        wrong.append(f"{key}: {len(trades)} trades of {ids} ids are stored, {published['count']} were published")
    # The second of the last trade is still being written.
    end = trades[-1].timestamp // SECOND * SECOND - 1 if trades else -1
    checked = store.check_bars(key, None, end)
    own = bars_of(trade for trade in trades if trade.timestamp <= end)
    if checked.wrong or store.bars(key, None, end) != own or len(own) != checked.bars:
        wrong.append(f"{key}: {len(checked.wrong)} of {checked.bars} bars are wrong")
    counters = store.counters(key)
    wrong += [f"{key}: {number} {name}" for name, number in counters.items() if name in NEVER]
    return wrong


NEVER = ("refused:conflict", "refused:dropped_day", "refused:set_aside", "error:configuration", "error:unexpected")
"""What counts that only a mistake of our own can cause."""
