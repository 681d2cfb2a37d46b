"""Calls of scripts: many in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import redis
from redis.commands.core import Script
from redis.exceptions import NoScriptError


class Call(NamedTuple):
    """A call of a script, of which all keys are in one slot."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | bytes | int]


def run_scripts(client: redis.Redis, calls: Sequence[Call]) -> list[Any]:
    """Run the calls in order, and return for each its answer, or the error that it ended with.

    Raises:
        redis.ConnectionError: The connection broke: some of them may have been done.
    """
    if len(calls) == 1 or isinstance(client, redis.RedisCluster):  # whose nodes each have their own connection
        return [_answer(call) for call in calls]
    pipe = client.pipeline(transaction=False)
    for script, keys, args in calls:
        pipe.evalsha(script.sha, len(keys), *keys, *args)
    answers = pipe.execute(raise_on_error=False) if calls else []
    for place, answer in enumerate(answers):
        if isinstance(answer, NoScriptError):  # a server that has not seen it yet: this loads it
            answers[place] = _answer(calls[place])
    return answers


def _answer(call: Call) -> Any:
    try:
        return call.script(keys=call.keys, args=call.args)
    except redis.RedisError as error:
        return error
