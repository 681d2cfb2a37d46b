"""The names of the queues."""

POLLS = "polls"
"""Rounds of polled collectors."""
STREAMS = "streams"
"""Consumed by the workers that streams are placed on; each of them has a queue of its own besides."""
CONTROL = "control"
"""Whatever else the system asks of workers."""
