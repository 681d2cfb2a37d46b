"""The schedule of the polled collectors and the scheduler that sends it: `celery -A beat_schedule beat`."""

from beat_schedule.schedule import build_schedule
from workers.celery import app

__all__ = ["app", "build_schedule"]
