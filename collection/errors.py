"""The errors of the library, named by what the caller should do about them."""

from collections.abc import Sequence


class CollectionError(Exception):
    """Something of the collection went wrong."""


class ConfigurationError(CollectionError):
    """Fix the configuration: trying again will not help.

    `problems` holds one line for each mistake, all of them at once, each naming where it is and what is wrong.
    """

    def __init__(self, *problems: str) -> None:
        self.problems: Sequence[str] = problems
        super().__init__("\n".join(problems))


class RetryLater(CollectionError):
    """The other side is away or busy: the same call may go through later.

    `after` is the number of seconds that the other side asked to wait, None where it named none.
    """

    def __init__(self, message: str, after: float | None = None) -> None:
        self.after = after
        super().__init__(message)


class StorageUnavailable(RetryLater):
    """The storage can't be reached or refuses to write: what was stored waits and is not durable yet."""


class RecordRefused(CollectionError):
    """Give up on this record: it can't be what was published, or can't be kept.

    `reason` is the short name under which it is counted (`no_price`, `in_the_future`, …).
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}")


class StorageRefused(CollectionError):
    """The storage will never take some of what was stored: `reasons` says why, key by key."""

    def __init__(self, reasons: dict[str, str]) -> None:
        self.reasons = reasons
        super().__init__("; ".join(f"{key}: {reason}" for key, reason in reasons.items()))


def failure_name(error: Exception) -> str:
    """Name what became of a round that failed, as it is counted: `error:NAME`."""
    for kind, name in ((TimeoutError, "deadline"), (RetryLater, "retry_later"), (ConfigurationError, "configuration")):
        if isinstance(error, kind):
            return name
    return "unexpected"
