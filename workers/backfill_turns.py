"""The turns of chunks: what a worker does when it is handed one."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import wait

from celery.worker import state as worker

from collection.backoff import pause
from collection.errors import ConfigurationError, RetryLater, StorageUnavailable, failure_name
from collection.settings import current
from workers.backfill_chunk import TRIES, ChunkReader, Turn
from workers.backfill_messages import send_turns
from workers.backfills import TTL, Begun, known_positions
from workers.runtime import runtime

log = logging.getLogger(__name__)

SLICE = 10.0
"""Seconds of a turn: then another chunk may have one."""
ENDING = 2.0
"""Seconds that a turn may last when the worker is to end."""


def have_turn(key: str, start: int, token: str) -> str:
    """Read of a chunk what can be read in a turn, note how far it came, and say so; raises what ended it."""
    chunk = runtime.backfills.enter(key, start, token)
    if chunk is None:
        return "another one has it, or the message is stale"
    turn = Turn("waiting")
    try:
        turn = _read(chunk)
        chunk.progress.failures, chunk.progress.note = 0, ""
    except Exception as error:
        turn = _failed(chunk, error)
        raise
    finally:
        try:
            runtime.backfills.leave(chunk, turn.state, turn.pause)
            send_turns(runtime.backfills)
        except Exception as error:  # whoever looks next sends what is due
            log.warning("%s: backfill: %s", key, error)
    return f"{turn.state}: {chunk.progress.read} trades read"


def _read(chunk: Begun) -> Turn:
    began = time.monotonic()
    known = known_positions(runtime.backfills.view(chunk.key))
    reader = ChunkReader(runtime.reader(chunk.key), runtime.storage, current().retention.trades, chunk, known)
    work = reader.read(lambda: time.monotonic() - began < SLICE and worker.should_stop is None)
    future = asyncio.run_coroutine_threadsafe(work, runtime.loop)
    ending = 0.0
    while not wait([future], TTL / 3).done:
        ending += 0.0 if worker.should_stop is None else TTL / 3
        if ending > ENDING or not _kept(chunk):
            future.cancel()
            return Turn("waiting")
    return future.result()


def _kept(chunk: Begun) -> bool:
    try:
        return runtime.backfills.keep(chunk)
    except StorageUnavailable as error:
        log.info("%s: backfill: %s", chunk.key, error)  # what is read waits for Redis as well
        return True


def _failed(chunk: Begun, error: Exception) -> Turn:
    progress = chunk.progress
    progress.failures += 1
    progress.note = str(error)[:500] or type(error).__name__
    runtime.storage.count(chunk.key, f"error:{failure_name(error)}")
    wait = max(pause(progress.failures), getattr(error, "after", None) or 0.0)
    hopeless = isinstance(error, ConfigurationError) or (
        not isinstance(error, RetryLater) and progress.failures >= TRIES
    )
    log.warning("%s: backfill: %s; %s", chunk.key, error, "given up" if hopeless else f"next try in {wait:.1f} s")
    return Turn("failed") if hopeless else Turn("waiting", wait)
