"""The one backoff rule: of writers, of the in-process orchestrator and of Celery's retries."""

import random

SHORTEST = 0.5
LONGEST = 30.0
HEALTHY = 60.0
"""Seconds of success after which a failure counts as the first again."""


def pause(failures: int) -> float:
    """Seconds to wait after the n-th failure in a row: 0.5 doubling to 30, with full jitter.

    Full jitter spreads those that failed together: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    longest = min(LONGEST, SHORTEST * 2 ** min(max(failures, 1) - 1, 16))
    return random.uniform(0.05, longest)  # noqa: S311


class Backoff:
    """Counts failures in a row."""

    def __init__(self) -> None:
        self.failures = 0

    def next(self) -> float:
        """Count a failure and return how many seconds to wait after it."""
        self.failures += 1
        return pause(self.failures)

    def reset(self) -> None:
        """Forget the failures."""
        self.failures = 0
