"""Days in UTC: a record log is cut by them."""

from datetime import UTC, datetime

DAY_MS = 86_400_000


def day_start(timestamp: int) -> int:
    """The first millisecond of the day that a time lies in."""
    return timestamp - timestamp % DAY_MS


def day_name(timestamp: int) -> int:
    """The day that a time lies in, as the number 20191011."""
    return int(datetime.fromtimestamp(timestamp // 1000, UTC).strftime("%Y%m%d"))
