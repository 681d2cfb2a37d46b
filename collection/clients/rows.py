"""Rows of trades as exchanges send them: which of them are records, and which are refused."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Generic, Protocol, TypeVar

import msgspec

from collection.clients.base import Refused
from collection.clients.wire import SHOWN, UNREADABLE, Trades
from collection.errors import RecordRefused
from collection.records import Trade
from collection.storage.values import integer_id

FUTURE_MS = 60_000
"""A trade further ahead of this machine's clock is refused."""
_LEAST, _MOST = Decimal("1e-40"), Decimal("1e40")
"""Prices and amounts are not less than the one, and less than the other: beyond, nothing is traded or stored."""
ABSENT = msgspec.Raw()
"""Rows that are not there: reading them raises."""
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""An id that is sent as a number."""


class Row(Protocol):
    """What an exchange says of one trade."""

    def trade(self, symbol: str, received: int) -> Trade:
        """Return the record; raises RecordRefused, or one of UNREADABLE, where it is none of this market."""


_Row = TypeVar("_Row", bound=Row)


class Rows(Generic[_Row]):
    """Reads rows of one kind together or, where one of them is bad, one by one: it harms no other."""

    def __init__(self, kind: type[_Row]) -> None:
        rows: Any = list[kind]  # type: ignore[valid-type]
        self._all: msgspec.json.Decoder[list[_Row]] = msgspec.json.Decoder(rows)
        self._raw = msgspec.json.Decoder(list[msgspec.Raw])
        self._one = msgspec.json.Decoder(kind)

    def read(self, rows: bytes | msgspec.Raw, symbol: str, received: int) -> tuple[list[Trade], list[Refused]]:
        """Read an array; raises one of UNREADABLE where it is none."""
        try:
            trades = [row.trade(symbol, received) for row in self._all.decode(rows)]
            if not any(map(objection, trades)):
                return trades, []
        except (RecordRefused, *UNREADABLE):
            pass
        return self._one_by_one(rows, symbol, received)

    def hear(self, rows: msgspec.Raw, symbol: str, received: int) -> Trades:
        """Read those of a message; raises one of UNREADABLE where it says nothing of any market."""
        heard = Trades(symbol, *self.read(rows, symbol, received))
        if not symbol or not (heard.trades or heard.refused):
            raise ValueError("no trades" if symbol else "no market")
        return heard

    def _one_by_one(self, rows: bytes | msgspec.Raw, symbol: str, received: int) -> tuple[list[Trade], list[Refused]]:
        trades, refused = [], []
        for raw in self._raw.decode(rows):
            try:
                one = self._one.decode(raw).trade(symbol, received)
            except RecordRefused as error:
                refused.append(_refused(error.reason, raw, "", f" ({error})"))
                continue
            except UNREADABLE as error:
                refused.append(_refused("unreadable", raw, "", f" ({error})"))
                continue
            if (reason := objection(one)) is None:
                trades.append(one)
            else:
                refused.append(_refused(reason, raw, one.id))
        return trades, refused


def lone(symbol: str, trade: Trade, message: bytes) -> Trades:
    """Return what a message of one trade says; raises ValueError where it names no market."""
    if not symbol:
        raise ValueError("no market")
    reason = objection(trade)
    return Trades(symbol, (trade,)) if reason is None else Trades(symbol, (), (_refused(reason, message, trade.id),))


def objection(trade: Trade) -> str | None:
    """Say why a trade can't have been published, in the name under which it is counted; None for one that can."""
    try:
        possible = _LEAST <= trade.price < _MOST and (_LEAST <= trade.amount < _MOST or _is_zero(trade.amount))
        if possible and 0 < trade.timestamp <= trade.received + FUTURE_MS:
            return None
    except InvalidOperation:  # of a comparison with NaN
        pass
    if trade.timestamp <= 0:
        return "no_time"
    if trade.timestamp > trade.received + FUTURE_MS:
        return "in_the_future"
    if not trade.price.is_finite() or not _LEAST <= trade.price < _MOST:
        return "bad_price"
    return "negative_amount" if trade.amount.is_finite() and trade.amount < 0 else "bad_amount"


def _is_zero(number: Decimal) -> bool:
    """Whether a number is a zero of sane length: that of 0e999999999 is written with a thousand million digits."""
    return not number and -40 <= number.adjusted() <= 40


def check_market(named: str, symbol: str) -> None:
    """Raise RecordRefused where a row names another market than its message does."""
    if named != symbol:
        raise RecordRefused("other_market", f"not of {symbol}")


def numbered(text: str) -> str:
    """Return an id that is sent as a text; raises RecordRefused where it is no number as numbers are written."""
    if integer_id(text) is None:
        raise RecordRefused("no_id", repr(text))
    return text


def whole(text: str) -> int:
    """Read a number of milliseconds; raises ValueError where it is none."""
    if (number := integer_id(text)) is None:
        raise ValueError(f"{text!r} is no number of milliseconds")
    return number


def _refused(reason: str, source: bytes | msgspec.Raw, id: str, why: str = "") -> Refused:
    text = bytes(source)[:SHOWN].decode(errors="replace")
    return Refused(reason, f"{reason}: {text}{why}", id)
