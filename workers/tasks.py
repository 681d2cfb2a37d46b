"""The tasks. Messages may be lost, late or repeated: a task that comes twice does its work once."""

from __future__ import annotations

import logging
import time
from typing import Any

from collection.backoff import pause
from collection.data_collectors import DataSourceCollector
from collection.data_collectors.lag import KEPT, LAG, SKEW
from collection.errors import CollectionError, ConfigurationError, RetryLater, StorageUnavailable, failure_name
from collection.retention import drop_expired as dropped_series
from collection.settings import current
from workers.backfill_messages import send_turns
from workers.backfill_turns import have_turn
from workers.celery import app
from workers.lease import Lease
from workers.quotes import updated
from workers.repairs import repaired
from workers.runtime import runtime
from workers.supervision import supervised

log = logging.getLogger(__name__)

DISAGREEMENT = 3600.0
"""Seconds between this machine's clock and Redis's from which on one of them is wrong, and nothing is dropped."""

NEXT = "at its next turn"


@app.task(bind=True, max_retries=None, throws=(CollectionError,))
def poll(self: Any, collector_id: str) -> str:
    """Do one round of a polled collector, and say what became of it.

    A message that comes before its turn (beat's were piled up, or came twice) or while the poll still runs is
    skipped. What fails and can be retried before the next turn is retried; then the next turn repairs it.
    """
    received = time.monotonic()
    collector = runtime.collector(collector_id, "poll")
    began = runtime.turn(f"poll:{collector_id}", collector.interval or 0.0, retry=self.request.retries > 0)
    if began is None:
        return _skipped(collector, "too_soon")
    lease = runtime.lease(collector)
    if not lease.hold():
        return _skipped(collector, "still_running")
    try:
        runtime.run(lease.keep_during(collector.run(runtime.storage)), collector.deadline)
    except TimeoutError:
        late = RetryLater(f"not done within {collector.deadline:g} s")
        _failed(collector, "deadline", late)
        raise late from None
    except RetryLater as error:
        wait = max(pause(self.request.retries + 1), error.after or 0.0)
        due = began + time.monotonic() - received + wait
        retried = due < (collector.interval or 0.0)
        _failed(collector, "retry_later", error, f"in {wait:.1f} s" if retried else NEXT)
        if retried:
            _release(lease)
            raise self.retry(exc=error, countdown=wait) from error
        raise
    except ConfigurationError as error:
        _failed(collector, "configuration", error)
        raise
    except Exception as error:
        _failed(collector, "unexpected", error)
        raise
    finally:
        _release(lease)
    return "done"


@app.task(bind=True, max_retries=None, throws=(CollectionError,))
def stream(self: Any, collector_id: str, token: str | None = None, failures: int = 0) -> str:
    """Listen to a stream until another worker runs it or this one ends, and say why it ended.

    The message carries the token under which the stream was placed here: a message that is stale or comes twice does
    nothing. What fails is retried without limit, under the same token; `failures` are those in a row.
    """
    streams = runtime.streams
    try:
        collector = runtime.collector(collector_id, "stream")
    except ConfigurationError as error:
        streams.refuse(collector_id, token, str(error))
        raise
    run = streams.enter(collector, token)
    if run is None:
        return "another one runs it, or the message is stale"
    try:
        return streams.listen(run)
    except ConfigurationError as error:
        _failed(collector, "configuration", error, "once it is mended")
        streams.fail(run, str(error))
        raise
    except Exception as error:
        failures = 1 if run.healthy else failures + 1
        wait = max(pause(failures), getattr(error, "after", None) or 0.0)
        _failed(collector, failure_name(error), error, f"in {wait:.1f} s")
        if not streams.back_off(run, wait, str(error)):
            raise
        kwargs = {"token": run.token, "failures": failures}
        raise self.retry(exc=error, countdown=wait, kwargs=kwargs) from error
    finally:
        streams.leave(run)


@app.task(throws=(CollectionError,))
def supervise(wanted: list[str]) -> str:
    """Have all streams that are wanted run on some worker, evenly, and no others; and have backfills go on."""
    lease = Lease(runtime.redis, "supervise", 10.0)
    if not lease.hold():
        return "still_running"
    try:
        done = str(supervised(runtime.assignments, wanted))
        return f"{done}, {send_turns(runtime.backfills) or 0} backfilled"
    finally:
        _release(lease)


@app.task(throws=(CollectionError,))
def backfill(key: str, start: int, token: str) -> str:
    """Read a chunk of a backfill, the trades of a series from a time on, for some seconds; says what became of it.

    The message carries the token under which the chunk was handed out: one that is stale or comes twice does nothing.
    """
    return have_turn(key, start, token)


@app.task(throws=(CollectionError,))
def repair(key: str, thorough: bool | None = None) -> str:
    """Hold what is stored of a series against what is covered, read again what is missing, and say what came of it."""
    return repaired(key, thorough)


@app.task(throws=(CollectionError,))
def update_quotes(feeds: list[dict[str, Any]]) -> str:
    """Quote the feeds of these tables once, store and publish what they say, and say what came of it.

    A message that comes before its turn, or while a round still runs here, is skipped.
    """
    return updated(feeds)


@app.task(throws=(CollectionError,))
def drop_expired() -> str:
    """Drop the days that are older than their kind is kept (settings: retention), and say what is gone.

    Nothing is dropped while the clocks of this machine and of Redis disagree, or while another worker does it.
    """
    now = time.time()
    if abs(now - runtime.clock()) > DISAGREEMENT:
        log.error(
            "retention: this machine's clock and Redis's are %.0f s apart: nothing is dropped", now - runtime.clock()
        )
        return "clocks_disagree"
    lease = Lease(runtime.redis, "retention", 60.0)
    if not lease.hold():
        return "still_running"
    records = 0
    try:
        kept = {LAG: KEPT, SKEW: KEPT, **current().retention.model_dump()}
        for dropped in dropped_series(runtime.storage, kept, now):
            records += dropped.records
            lease.renew()
    finally:
        _release(lease)
    return f"{records} records dropped"


def _release(lease: Any) -> None:
    try:
        lease.release()
    except StorageUnavailable as error:
        log.warning("a lock could not be released and will expire: %s", error)


def _skipped(collector: DataSourceCollector, reason: str) -> str:
    runtime.storage.count(collector.id, f"skipped:{reason}")
    return reason


def _failed(collector: DataSourceCollector, name: str, error: Exception, then: str = NEXT) -> None:
    log.warning("%s: %s; next try %s", collector.id, error, then)
    runtime.storage.count(collector.id, f"error:{name}")
