"""How the simulator misbehaves when it is told to, and the count of what it did."""

from __future__ import annotations

import difflib
import random
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, TypeVar

import msgspec

from collection.errors import ConfigurationError

T = TypeVar("T")
_DECODER = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class Fault(msgspec.Struct, frozen=True):
    """One line of the table of faults."""

    unit: Literal["probability", "seconds", "requests", "trades"]
    description: str
    default: float = 0


FAULTS = {
    "drop": Fault("probability", "close the connection of a request without an answer"),
    "hang": Fault("probability", "accept a request and leave it without an answer for `hang_seconds`"),
    "error": Fault("probability", "answer a request with 503 and a page that is no JSON"),
    "rate_limit": Fault("probability", "answer a request with 429 and Retry-After"),
    "ban": Fault("probability", "answer a request with 418 and Retry-After"),
    "garbage": Fault("probability", "cut the JSON of an answer in half, with status 200"),
    "repeat": Fault("probability", "send some rows of a page twice; for streams: a message twice"),
    "reorder": Fault("probability", "shuffle the rows of a page; for streams: a message after its successor"),
    "lose": Fault("probability", "leave a stream's message out"),
    "cut": Fault("probability", "cut a stream's message off in the middle"),
    "malform": Fault("probability", "send a stream's message as JSON of a wrong form: no price, few fields, or a list"),
    "deaf": Fault("probability", "with a stream's message: send no more of this stream on this connection"),
    "halfopen": Fault("probability", "with a stream's message: fall silent for good, without closing the connection"),
    "disconnect_every": Fault("seconds", "cut each stream's connection at this age"),
    "fail_every": Fault("requests", "answer exactly each n-th request with 503"),
    "hang_seconds": Fault("seconds", "how long `hang` leaves a request without an answer", 30),
    "retry_after": Fault("seconds", "what `rate_limit` and `ban` ask to wait", 1),
    "bulk": Fault("trades", "put up to so many trades into one message, where the protocol can (kraken, bybit)"),
    "replay": Fault("trades", "on subscribing, send so many older trades again, where the protocol does (okx, bybit)"),
    "notice": Fault("seconds", "announce the cut of `disconnect_every` so long before it, where the protocol can"),
    "history": Fault("trades", "serve only so many of a market's newest trades over REST"),
}
"""All faults by name; 0 turns one off, or back to its default."""

_PRICES = ("p", "price", "px")
_FAILURES = ("drop", "hang", "error", "rate_limit", "ban", "garbage")
"""Of these a request meets one at most."""


def check_faults(given: Mapping[str, object]) -> dict[str, float]:
    """Return the faults as numbers.

    Raises:
        ConfigurationError: A name is unknown (the nearest one is named) or a value is out of range; all at once.
    """
    problems, checked = [], {}
    for name, value in given.items():
        fault = FAULTS.get(name)
        if fault is None:
            close = difflib.get_close_matches(str(name), FAULTS, n=1, cutoff=0.5)
            meant = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(FAULTS)}"
            problems.append(f"faults: {name!r} is unknown; {meant}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            problems.append(f"faults: {name}: {value!r} is no number from 0")
        elif fault.unit == "probability" and value > 1:
            problems.append(f"faults: {name}: {value!r} is no probability from 0 to 1")
        elif fault.unit in ("requests", "trades") and value != int(value):
            problems.append(f"faults: {name}: {value!r} is no whole number")
        else:
            checked[name] = float(value)
    if problems:
        raise ConfigurationError(*problems)
    return checked


def parse_faults(text: str) -> dict[str, float]:
    """Read faults as people write them: `repeat=0.2,error=0.1,disconnect_every=30`.

    Raises:
        ConfigurationError: Something of it is misspelt or out of range; all at once.
    """
    given: dict[str, object] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            given[name] = float(value)
        except ValueError:
            given[name] = value
    return check_faults(given)


class Faults:
    """The faults in force, drawn from a seeded generator; `counts` says how often each came about."""

    def __init__(self, given: Mapping[str, object], seed: int) -> None:
        self._given: dict[str, float] = {}
        self.set(given)
        self._random = random.Random(f"faults:{seed}")  # noqa: S311 - no secret: repeatable on purpose
        self._requests = 0
        self.counts: Counter[str] = Counter()

    def __getitem__(self, name: str) -> float:
        return self._given.get(name, FAULTS[name].default)

    @property
    def in_force(self) -> dict[str, float]:
        """All that was set to something else than off."""
        return dict(self._given)

    def set(self, given: Mapping[str, object]) -> None:
        """Set the named faults and leave the others; raises ConfigurationError (and sets none) if any is wrong."""
        merged = self._given | check_faults(given)
        self._given = {name: value for name, value in merged.items() if value}

    def clear(self) -> None:
        """Turn all faults off; the counts stay."""
        self._given = {}

    def happens(self, name: str, counted_as: str | None = None) -> bool:
        """Draw whether this fault comes about now, and count it if so."""
        chance = self._given.get(name)
        if not chance or self._random.random() >= chance:
            return False
        self.counts[counted_as or name] += 1
        return True

    def failure(self, *exempt: str) -> str | None:
        """Draw the failure that a request meets, if any, but none of those it is exempt from."""
        self._requests += 1
        every = self._given.get("fail_every")
        if every and self._requests % every == 0:
            self.counts["fail_every"] += 1
            return "error"
        return next((name for name in _FAILURES if name not in exempt and self.happens(name)), None)

    def page(self, rows: list[T]) -> list[T]:
        """Repeat and reorder rows as told: what comes back holds each of them at least once."""
        if rows and self.happens("repeat"):
            at = self._random.randrange(len(rows))  # at least one row, however short the page
            rows = [
                row for n, row in enumerate(rows) for _ in range(2 if n == at or self._random.random() < 0.5 else 1)
            ]
        if len(rows) > 1 and self.happens("reorder"):
            rows = self._random.sample(rows, len(rows))
        return rows

    def malformed(self, text: str) -> str:
        """Return a message of a stream as JSON of a wrong form; where it holds several trades, the first is meant."""
        event = _DECODER.decode(text)
        row = event["data"][0] if "data" in event else event
        price = next(name for name in _PRICES if name in row)
        few = {name: row[name] for name in list(row)[:3] if name != price}
        wrong = self._random.choice([row | {price: None}, few, [row]])
        if row is not event:
            wrong = event | {"data": [wrong, *event["data"][1:]]}
        return _ENCODER.encode(wrong).decode()
