"""One look at who runs which stream, and what follows from it: messages to the workers that are to run them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

from celery.utils.nodenames import worker_direct
from kombu.exceptions import OperationalError

from workers.assignments import TTL, Assignments, Kind
from workers.celery import app
from workers.placement import COUNTED, plan
from workers.queues import POLLS

log = logging.getLogger(__name__)


def supervised(assignments: Assignments, wanted: Sequence[str]) -> str:
    """Do what the plan says; returns it in words.

    Messages may be lost: what was placed and is not begun is placed again. Raises StorageUnavailable.
    """
    view = assignments.view()
    todo = plan(wanted, view, _restarted_lately(view.uptime))
    if todo.stop:
        log.info("streams: not wanted any more: %s", ", ".join(todo.stop))
        assignments.stop(todo.stop)
    moves: list[tuple[str, str, Kind]] = [(name, node, "start") for name, node in todo.start]
    moves += [(name, node, "hand_over") for name, node in todo.hand_over]
    placed = assignments.place(moves) if moves else []
    with app.producer_or_acquire() as producer:
        for name, node, token in placed:
            app.send_task(
                "workers.tasks.stream",
                [name],
                {"token": token},
                queue=worker_direct(node),  # type: ignore[arg-type]
                producer=producer,
                retry=False,
            )
        queue: Any = app.amqp.queues[POLLS](producer.channel)
        waits = queue.queue_declare().message_count >= len(todo.poll)  # no worker takes them
        for name in [] if waits else todo.poll:
            app.send_task("workers.tasks.poll", [name], queue=POLLS, producer=producer, retry=False)
    _delete_queues(view.gone)
    if todo.poll:
        log.warning("streams: %d can't be kept up and are polled: %s", len(todo.poll), _shortly(todo.poll))
    return f"{len(todo.start)} started, {len(todo.hand_over)} moved, {len(todo.stop)} stopped, {len(todo.poll)} polled"


def _restarted_lately(uptime: float) -> bool:
    """Whether Redis began after this process first looked: workers take again what it may have forgotten."""
    return uptime < TTL and time.monotonic() - _first_look() > uptime + COUNTED


@cache
def _first_look() -> float:
    return time.monotonic()


def _delete_queues(gone: Sequence[str]) -> None:
    """Delete the queues of workers that are gone for good, and what was sent to them."""
    for node in gone:
        try:
            with app.connection_for_write() as connection:
                worker_direct(node)(connection.default_channel).delete()
        except OperationalError as error:
            log.info("the queue of %s is not deleted: %s", node, error)


def _shortly(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
