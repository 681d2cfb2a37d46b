"""The messages that hand chunks of backfills to workers."""

from __future__ import annotations

from typing import Any

from workers.backfills import AT_ONCE, Backfills
from workers.celery import app
from workers.queues import BACKFILL


def send_turns(backfills: Backfills) -> int | None:
    """Send what is due to the workers; returns how many messages those are, None while those before are not taken.

    Messages may be lost: what nobody begins is due again.
    """
    if not backfills.any_open():
        return 0
    with app.producer_or_acquire() as producer:
        queue: Any = app.amqp.queues[BACKFILL](producer.channel)
        if queue.queue_declare().message_count >= AT_ONCE:
            return None
        turns = backfills.take_turns()
        for turn in turns:
            app.send_task("workers.tasks.backfill", list(turn), queue=BACKFILL, producer=producer, retry=False)
    return len(turns)
