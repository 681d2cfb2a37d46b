"""A scheduler that ticks only while it holds a lease: any number of beats may run, and one of them sends."""

from __future__ import annotations

import heapq
import logging
import time
from typing import Any

from celery.beat import ScheduleEntry, Scheduler

from beat_schedule.schedule import SUPERVISE, UPDATE_QUOTES, build_schedule
from collection.data_collector import until_next
from collection.errors import ConfigurationError, StorageUnavailable
from collection.settings import current
from collection.storage.redis_server import connect
from workers.lease import Lease
from workers.queues import CONTROL, POLLS, QUOTES

log = logging.getLogger(__name__)

TTL = 10.0
"""Seconds after which another beat takes over from one that died."""
RENEWAL = 2.0
ROUNDS = 5
"""Rounds of quotes that may wait: what is late is of no use."""


class LeasedScheduler(Scheduler):
    """Sends each entry at its phase: due times are the same on every machine, so a successor sends none twice.

    The schedule is in memory alone, read from the feeds file, and read again when that file changes. Slots that
    were missed are skipped: a poll reads all that came since the last one. While polls pile up because no worker
    takes them, none are added; nor are rounds of quotes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._lease = Lease(connect(current().storage()), "beat", TTL)
        self._renewal = 0.0
        self._feeds_changed: float | None = None
        self._due: list[tuple[float, str]] = []
        self._sending = self._quoting = True
        self._ticking = False
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Read the schedule; ends the process, saying why in a few words, where the feeds file is wrong."""
        self._feeds_changed = _modified()
        try:
            self._set(build_schedule())
        except ConfigurationError as error:
            raise SystemExit(f"Error: {error}") from None

    def _set(self, entries: dict[str, dict[str, Any]]) -> None:
        self.data = {name: ScheduleEntry(**entry, name=name, app=self.app) for name, entry in entries.items()}
        self._intervals = {name: float(entry["schedule"]) for name, entry in entries.items()}
        self._fill()
        polled = sum(entry["task"] == "workers.tasks.poll" for entry in entries.values())
        self._streams = len(entries[SUPERVISE]["args"][0])
        log.info("beat: %d polled collectors, %d streams", polled, self._streams)

    def _fill(self) -> None:
        self._due = [(self._next(name), name) for name in self.data]
        heapq.heapify(self._due)

    def tick(self, *_: Any, **__: Any) -> float:
        """Send what is due; returns the seconds until something is to be done again."""
        self._ticking = True
        try:
            return self._tick()
        finally:
            self._ticking = False

    def _tick(self) -> float:
        now = time.monotonic()
        if now >= self._renewal:
            self._renewal = now + RENEWAL
            self._renew()
        if self._lease.token is None:
            return 0.5
        while self._due and self._due[0][0] <= time.time():
            due, name = heapq.heappop(self._due)
            heapq.heappush(self._due, (self._next(name), name))
            in_time = time.time() - due < self._intervals[name]
            sending = self._sending and (self._quoting or name != UPDATE_QUOTES)
            if sending and in_time and not self._send(self.data[name]):
                return RENEWAL / 2
        if not self._due:
            return RENEWAL / 2
        due, name = self._due[0]
        if due - time.time() > self._intervals[name]:
            self._fill()  # the clock was set back
        return min(max(due - time.time(), 0.0), RENEWAL / 2)

    def _renew(self) -> None:
        held = self._lease.token is not None
        try:
            self._lease.hold()
        except StorageUnavailable as error:
            log.warning("beat: %s", error)
            return  # what is sent meanwhile is sent at most twice, and polled once
        if held != (self._lease.token is not None):
            log.info("beat: %s", "another one sends" if held else "this one sends")
        self._reload()
        if self._lease.token is not None:
            self._look_at_backlog()

    def _reload(self) -> None:
        changed = _modified()
        if changed == self._feeds_changed:
            return
        self._feeds_changed = changed
        try:
            self._set(build_schedule())
        except Exception as error:  # whatever is wrong with the file must not end what runs
            log.error("beat: the feeds file changed and is wrong; going on with the old one:\n%s", error)

    def _look_at_backlog(self) -> None:
        waiting = self._waiting(POLLS) + self._waiting(CONTROL)
        sending = waiting <= 2 * (len(self.data) + self._streams) + 10  # supervise may have any stream polled
        if sending != self._sending:
            log.warning("beat: %d messages wait; %s", waiting, "going on" if sending else "is a worker there? pausing")
        self._sending = sending
        quoting = self._waiting(QUOTES) < ROUNDS
        if quoting != self._quoting:
            log.warning("beat: quotes: %s", "going on" if quoting else f"no worker takes them (-Q {QUOTES}); pausing")
        self._quoting = quoting

    def _waiting(self, queue: str) -> int:
        try:
            channel: Any = self.producer.channel
            return int(channel.queue_declare(queue, passive=True).message_count)
        except Exception as error:  # no worker declared it yet, or the broker is away: the next send will tell
            log.debug("beat: %s", error)
            return 0

    def _send(self, entry: ScheduleEntry) -> bool:
        try:
            self.apply_async(entry, producer=self.producer, advance=False)
            return True
        except Exception as error:  # the broker is away, or this entry can't be sent: neither ends beat
            log.warning("beat: %s is not sent: %s", entry.name, error)
            self.__dict__.pop("producer", None)
            return False

    def _next(self, name: str) -> float:
        return time.time() + until_next(name, self._intervals[name])

    def close(self) -> None:
        """Let the lease go. Celery calls this within its signal handlers, and again when the loop has ended."""
        if self._ticking:
            return  # whatever the signal interrupted may hold a lock that letting go needs
        try:
            self._lease.release()
        except StorageUnavailable as error:
            log.warning("beat: the lease could not be released and will expire: %s", error)
        super().close()

    @property
    def info(self) -> str:
        return f"    . feeds -> {current().feeds}"


def _modified() -> float | None:
    try:
        return current().feeds.stat().st_mtime
    except OSError:
        return None
