"""The names of the queues."""

POLLS = "polls"
"""Rounds of polled collectors."""
CONTROL = "control"
"""Whatever else the system asks of workers."""
