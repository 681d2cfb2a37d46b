"""Time that passes for assignments without being waited for: it is taken off all that they hold."""

from __future__ import annotations

import json

import redis

LAST = "qc:{streams}:token"
_TIMES = ("expires", "since", "failing", "seen", "began")


def let_pass(client: redis.Redis, seconds: float) -> None:
    """Make all entries and workers older."""
    for name in ("leases", "next", "workers"):
        key = f"qc:{{streams}}:{name}"
        for field, text in client.hgetall(key).items():
            value = json.loads(text)
            older = {time: value[time] - int(seconds * 1000) for time in _TIMES if value.get(time)}
            client.hset(key, field, json.dumps({**value, **older}, separators=(",", ":")))


def fall_back(client: redis.Redis, seconds: float) -> None:
    """Let the server's clock fall back, as far as tokens see: the last one is from later than now."""
    last = int(client.get(LAST) or 0)
    now, micro = client.eval("return redis.call('TIME')", 1, LAST)  # type: ignore[no-untyped-call, misc, unused-ignore]
    client.set(LAST, max(last, int(now) * 1_000_000 + int(micro)) + int(seconds * 1e6))
