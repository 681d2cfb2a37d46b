"""Days in UTC: a record log is cut by them."""

from datetime import UTC, datetime
from functools import lru_cache

DAY_MS = 86_400_000


def day_start(timestamp: int) -> int:
    """The first millisecond of the day that a time lies in."""
    return timestamp - timestamp % DAY_MS


def day_name(timestamp: int) -> int:
    """The day that a time lies in, as the number 20191011."""
    return _name(timestamp // DAY_MS * DAY_MS)


@lru_cache(1_000)
def _name(timestamp: int) -> int:
    return int(datetime.fromtimestamp(timestamp // 1000, UTC).strftime("%Y%m%d"))


def day_time(name: int) -> int:
    """The first millisecond of the day 20191011."""
    return int(datetime.strptime(str(name), "%Y%m%d").replace(tzinfo=UTC).timestamp()) * 1000
