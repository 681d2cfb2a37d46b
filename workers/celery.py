"""The one Celery app, found by `celery -A workers …` and `celery -A beat_schedule …`."""

import os

from celery import Celery

from workers import kombu_guard

# Flower listens on all interfaces unless told otherwise, and shows everything to whoever asks.
os.environ.setdefault("FLOWER_ADDRESS", "127.0.0.1")

kombu_guard.install()
app = Celery("quoting-collection")
app.config_from_object("workers.config")
app.steps["worker"].add("workers.bootsteps:StreamsStep")
