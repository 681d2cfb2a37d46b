"""Calls of scripts: many in one round trip, each sent as soon as it is made, so that the server works meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import redis
from redis.commands.core import Script
from redis.exceptions import NoScriptError, RedisClusterException


class Call(NamedTuple):
    """A call of a script, of which all keys are in one slot."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | bytes | int]


def run_scripts(client: redis.Redis, calls: Iterable[Call]) -> list[Any]:
    """Run the calls in order, and return for each its answer, or the error that it ended with.

    Raises:
        redis.ConnectionError: The connection broke: some of them may have been done.
    """
    if isinstance(client, redis.RedisCluster):  # whose nodes each have their own connection
        return [_answer(call) for call in calls]
    calls = iter(calls)
    first = next(calls, None)  # before a connection is taken: to make it may need one
    if first is None:
        return []
    sent: list[Call] = []
    pool = client.connection_pool
    connection: Any = pool.get_connection()
    try:
        for call in chain([first], calls):
            connection.send_command("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args)
            sent.append(call)
        answers = [_read(connection) for _ in sent]
    except BaseException:
        connection.disconnect()  # or its answers would be taken for those of the next call
        raise
    finally:
        pool.release(connection)
    for place, answer in enumerate(answers):
        if isinstance(answer, NoScriptError):  # the server has not seen it yet: this loads it
            answers[place] = _answer(sent[place])
    return answers


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def _answer(call: Call) -> Any:
    try:
        return call.script(keys=call.keys, args=call.args)
    except (redis.RedisError, RedisClusterException) as error:
        return error
