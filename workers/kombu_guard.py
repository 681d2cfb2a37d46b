"""A guard against a crash of kombu 5.7: once kombu is mended `tests/integration/test_kombu_guard.py` says so.

A worker that holds an unacknowledged message (a retry that is not due yet) when the broker goes away restores it
through a connection that is cleared already: `AttributeError: 'NoneType' object has no attribute 'hostname'`, and the
worker exits. Left alone, the message comes back after the visibility timeout, and the next turn of its poll before.
"""

from __future__ import annotations

from typing import Any

from kombu.transport.redis import QoS

unguarded = QoS.restore_unacked


def restore_unacked(self: Any, client: Any = None) -> Any:
    """Restore unacknowledged messages, if there is a connection to do it through."""
    connection = self.channel.connection
    if connection is None or connection.client is None:
        return None
    return unguarded(self, client)


def install() -> None:
    """Put the guard in place, once for the process."""
    QoS.restore_unacked = restore_unacked  # type: ignore[method-assign]
