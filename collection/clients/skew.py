"""How far an exchange's clock is from this one, as its answers tell: bounds that each of them narrows."""

from __future__ import annotations

import logging
from datetime import UTC
from email.utils import parsedate_to_datetime

log = logging.getLogger(__name__)

LIMIT = 1_000
"""Milliseconds of difference from which on it is said."""
SURE = 3
"""Answers in a row that must agree before it is."""
DRIFT = 1e-4
"""How far two clocks may part in a millisecond: twice what is usual of quartz."""
EVERY = 60_000
"""Milliseconds between two samples."""
_DATE_MS = 1_000
"""A `Date` header has whole seconds."""


class Skew:
    """By how many milliseconds the clock of an exchange is ahead of ours: between `low` and `high`, None if unknown.

    What was said at server time t in answer to a request is between `t - received` and `t - sent`, whatever each way
    took. What contradicts the bounds replaces them: a clock was set.
    """

    def __init__(self, exchange: str) -> None:
        self.low: float | None = None
        self.high: float | None = None
        self.over = False
        """Whether the difference is beyond the limit for sure."""
        self.times_over = 0
        """How often it went there; whoever counts these takes them off."""
        self._exchange = exchange
        self._at = 0  # when the bounds were last widened
        self._against = 0  # answers in a row that say otherwise than `over`
        self._sampled = 0

    @property
    def ahead(self) -> int | None:
        """The middle of the bounds, rounded to a millisecond; None until both are known."""
        return None if self.low is None or self.high is None else round((self.low + self.high) / 2)

    def saw(self, server: str | int | None, sent: int, received: int) -> None:
        """Take what an answer says: a `Date` header, or a server's time in Unix milliseconds.

        `sent` and `received` are ours, in Unix milliseconds. What is no date says nothing.
        """
        time, resolution = (server, 1) if isinstance(server, int) else (_date(server), _DATE_MS)
        if time is not None and sent <= received:
            self._narrow(time - received, time + resolution - sent, received)

    def saw_trade(self, timestamp: int, received: int) -> None:
        """Take a live trade: it was executed before it came, so a time in the future shows a clock ahead of ours."""
        if timestamp > received:
            self._narrow(timestamp - received, None, received)

    def sample(self, now: int) -> int | None:
        """Return `ahead` once a minute, the first time after a minute; else None."""
        if not self._sampled or now < self._sampled - EVERY:
            self._sampled = now
        if now < self._sampled + EVERY:
            return None
        self._sampled = now
        return self.ahead

    def _narrow(self, low: float, high: float | None, now: int) -> None:
        wider = DRIFT * max(now - self._at, 0) if self._at else 0.0
        self._at = now
        old_low = None if self.low is None else self.low - wider
        old_high = None if self.high is None else self.high + wider
        contradicts = (old_high is not None and low > old_high) or (
            old_low is not None and high is not None and high < old_low
        )
        if contradicts:
            self.low, self.high = low, high
        else:
            self.low = low if old_low is None else max(low, old_low)
            self.high = high if old_high is None else old_high if high is None else min(high, old_high)
        self._judge()

    def _judge(self) -> None:
        ahead, behind = self.low or 0.0, -self.high if self.high is not None else 0.0
        over = max(ahead, behind) > LIMIT
        self._against = self._against + 1 if over != self.over else 0
        if self._against < SURE:
            return
        self.over, self._against = over, 0
        if over:
            self.times_over += 1
            how = f"{ahead / 1000:.1f} s ahead of" if ahead > behind else f"{behind / 1000:.1f} s behind"
            log.warning("%s: its clock is at least %s this machine's", self._exchange, how)
        else:
            log.info("%s: its clock and this machine's agree again", self._exchange)


def _date(text: object) -> int | None:
    if not isinstance(text, str):
        return None
    try:
        date = parsedate_to_datetime(text)
        return int(date.replace(tzinfo=date.tzinfo or UTC).timestamp()) * 1000
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
