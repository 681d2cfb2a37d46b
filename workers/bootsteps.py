"""How a worker process begins and ends: it offers places for streams, and hands its streams over before it goes."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
from typing import Any

from celery import bootsteps
from celery.worker import state

from collection.settings import current
from workers.queues import STREAMS
from workers.runtime import runtime

log = logging.getLogger(__name__)

WATCHDOG = 15.0
"""Seconds that all else may take when the streams have ended; then the process is ended by force."""


class StreamsStep(bootsteps.StartStopStep):
    """Ends streams while the pool's threads and the event loop still run.

    Under Celery's own handlers threads that wait for a stream wait for ever (SIGTERM, SIGINT), or they fail (SIGQUIT).
    Here all three end the worker, SIGQUIT and any second signal without waiting for others to take over.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._asked = False
        self._ended = False

    def start(self, worker: Any) -> None:
        streams = runtime.streams  # made here, for a signal handler may not
        if STREAMS in worker.app.amqp.queues.consume_from:
            streams.start(worker.hostname, worker.concurrency)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _: object) -> None:
        if self._asked or number == signal.SIGQUIT:
            runtime.streams.hurry = True
        self._asked = True
        state.should_stop = os.EX_OK  # type: ignore[assignment]

    def close(self, worker: Any) -> None:
        self._end()

    def stop(self, worker: Any) -> None:
        self._end()

    def terminate(self, worker: Any) -> None:
        runtime.streams.hurry = True
        self._end()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        patience = current().handover
        threading.Thread(target=_watch, args=[patience + WATCHDOG], name="watchdog", daemon=True).start()
        try:
            runtime.streams.drain(patience)
        except BaseException:  # whatever it is, the worker goes on ending
            log.exception("streams: not all ended in order")


def _watch(seconds: float) -> None:
    threading.Event().wait(seconds)
    log.critical("the worker did not end within %.0f s: ending it by force", seconds)
    faulthandler.dump_traceback(sys.__stderr__ or 2)
    os._exit(os.EX_SOFTWARE)
