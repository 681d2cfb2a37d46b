"""Celery's configuration; read when the app first needs it, so that importing the app asks for nothing."""

from __future__ import annotations

import click
from kombu import Queue
from kombu.transport import TRANSPORT_ALIASES

from collection.errors import ConfigurationError
from collection.settings import current
from collection.storage import SCHEMES, open_storage
from workers.queues import BACKFILL, CONTROL, POLLS, QUOTES, STREAMS

try:
    broker_url = current().broker()
    if broker_url.partition("://")[0].partition("+")[0] not in TRANSPORT_ALIASES:
        raise ConfigurationError("broker URL: its scheme is none that Celery knows, such as redis://")
    if current().storage().startswith("memory://"):
        raise ConfigurationError("storage URL memory://: it ends with its process; workers need a Redis")
    if (scheme := current().storage().partition("://")[0]) not in SCHEMES:
        raise ConfigurationError(f"storage URL {scheme}://: workers need a Redis")
    open_storage(current().storage()).close()
except ConfigurationError as error:
    raise click.ClickException(str(error)) from None  # which the celery command shows in one line

# JSON only: a message can't carry code.
accept_content = ["json"]
task_serializer = "json"
task_ignore_result = True

# A queue that nobody declared is a mistake. Beside these each worker has one of its own: supervise says who runs what.
task_queues = [Queue(POLLS), Queue(STREAMS), Queue(CONTROL), Queue(BACKFILL), Queue(QUOTES)]
worker_direct = True
task_default_queue = CONTROL
task_create_missing_queues = False
task_routes = {
    "workers.tasks.poll": {"queue": POLLS},
    "workers.tasks.drop_expired": {"queue": POLLS},
    "workers.tasks.repair": {"queue": POLLS},
    "workers.tasks.stream": {"queue": STREAMS},
    "workers.tasks.backfill": {"queue": BACKFILL},
    "workers.tasks.update_quotes": {"queue": QUOTES},
}
imports = ["workers.tasks"]

# Collectors wait for exchanges most of the time: threads over one event loop do that cheaply.
worker_pool = "threads"
worker_concurrency = 16
worker_prefetch_multiplier = 1
worker_disable_prefetch = True  # a worker takes no message that it can't begin with
worker_redirect_stdouts = False

broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_channel_error_retry = True  # a Redis that is out of memory answers so: it is waited for
broker_transport_options = {
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    **current().broker_options(),
}

# Flower lives on these.
worker_send_task_events = True
task_send_sent_event = True
task_track_started = True

beat_scheduler = "beat_schedule.scheduler:LeasedScheduler"
enable_utc = True
