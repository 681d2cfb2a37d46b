"""What can be stored, how it is written, and how it comes back.

| stored                                            | kept in       | comes back as          |
|---------------------------------------------------|---------------|------------------------|
| `int`, `float` (finite, exact as a 64-bit float)  | number series | `float`                |
| `Trade`                                           | record log    | an equal `Trade`       |
| `str`, `bytes`, `bool`, `None`, `Decimal`, `list`,| record log    | the same value, tuples |
| `tuple`, `dict` with text keys, nested at will    |               | as lists               |

A number stored again at the same time replaces the first. A record stored again changes nothing. All values of
one series are of one of the three types `number`, `trade` and `value`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import msgspec

from collection.errors import RecordRefused
from collection.records import Trade

SeriesType = Literal["number", "trade", "value"]

EXACT_INTEGER = 2**53
"""A 64-bit float holds every integer up to here."""
LAST_TIMESTAMP = 253_402_300_799_999
"""The last millisecond of the year 9999: a later time is one in the wrong unit."""
DEEPEST = 32
_IDS = 2**64
_DECIMAL = 1


class Entry(NamedTuple):
    """A record as the log holds it: identified by (timestamp, seq)."""

    timestamp: int
    seq: int
    payload: bytes


class Number(NamedTuple):
    """A sample of a number series."""

    timestamp: int
    value: float


_TradeRow = tuple[bool | None, Decimal, Decimal, int | None, str | None]
"""A trade without what the log's own id says: is it a buy, price, amount, received - timestamp, id where no integer."""


def _read_extension(code: int, data: memoryview) -> Any:
    if code == _DECIMAL:
        return Decimal(bytes(data).decode())
    raise RecordRefused("unknown_extension", f"msgpack extension {code}")


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode_trades = msgspec.msgpack.Decoder(list[_TradeRow]).decode
_decode_values = msgspec.msgpack.Decoder(list[Any], ext_hook=_read_extension).decode
_SIDE: dict[bool | None, Literal["buy", "sell"] | None] = {True: "buy", False: "sell", None: None}
_BUY = {side: buy for buy, side in _SIDE.items()}


def hash64(data: bytes) -> int:
    """Hash to 64 bits: the record id of what has no integer id of its own."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())


def integer_id(text: str) -> int | None:
    """Return the number that a trade id is, where it is one below 2^64 written as numbers are, else None."""
    if text.isascii() and text.isdigit() and len(text) <= 20 and (text[0] != "0" or text == "0"):
        number = int(text)
        return number if number < _IDS else None
    return None


def encode(value: Any, timestamp: int) -> tuple[SeriesType, Entry | Number]:
    """Turn a value into what is written; raise RecordRefused, naming the place, for one that can't be kept."""
    if type(timestamp) is not int or not 0 < timestamp <= LAST_TIMESTAMP:
        raise RecordRefused("bad_timestamp", f"{timestamp!r} is not a Unix time in whole milliseconds")
    try:
        return _encoded(value, timestamp)
    except (AttributeError, KeyError, TypeError, UnicodeError) as error:
        raise RecordRefused("bad_value", f"{type(error).__name__}: {error}") from None


def _encoded(value: Any, timestamp: int) -> tuple[SeriesType, Entry | Number]:
    if isinstance(value, Trade):
        return "trade", _encode_trade(value, timestamp)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not (math.isfinite(value) if isinstance(value, float) else -EXACT_INTEGER <= value <= EXACT_INTEGER):
            raise RecordRefused("bad_number", f"{value!r} is no finite number that 64-bit floats hold exactly")
        return "number", Number(timestamp, float(value))
    payload = _encode(_plain(value, "value", 0))
    return "value", Entry(timestamp, hash64(payload), payload)


def _encode_trade(trade: Trade, timestamp: int) -> Entry:
    if trade.timestamp != timestamp:
        raise RecordRefused("bad_timestamp", f"stored at {timestamp}, but the trade says {trade.timestamp}")
    if not trade.id:
        raise RecordRefused("no_id", f"{trade.line}: see records.identified")
    if not (trade.price.is_finite() and trade.amount.is_finite()):
        raise RecordRefused("bad_number", f"{trade.id}: price {trade.price}, amount {trade.amount}")
    seq = integer_id(trade.id)
    delay = trade.received - timestamp if trade.received else None
    row: _TradeRow = (_BUY[trade.side], trade.price, trade.amount, delay, trade.id if seq is None else None)
    return Entry(timestamp, hash64(trade.id.encode()) if seq is None else seq, _encode(row))


def _plain(value: Any, path: str, depth: int) -> Any:
    """Return the value as msgpack writes it, after a look at every part."""
    if depth > DEEPEST:
        raise RecordRefused("too_deep", f"{path[:60]}… is nested more than {DEEPEST} deep")
    if value is None or isinstance(value, str | bytes | bool):
        return value
    if isinstance(value, Decimal):
        return msgspec.msgpack.Ext(_DECIMAL, str(value).encode())
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecordRefused("bad_number", f"{path} is {value!r}")
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise RecordRefused("bad_number", f"{path} is {value!r}: more than 64 bits; store it as Decimal or text")
        return value
    if isinstance(value, list | tuple):
        return [_plain(part, f"{path}[{index}]", depth + 1) for index, part in enumerate(value)]
    if isinstance(value, dict):
        if wrong := [name for name in value if not isinstance(name, str)]:
            raise RecordRefused("bad_type", f"{path} has the key {wrong[0]!r}: keys are text")
        return {name: _plain(part, f"{path}.{name}", depth + 1) for name, part in value.items()}
    raise RecordRefused("bad_type", f"{path} is of type {type(value).__name__}, which can't be stored")


class Columns(NamedTuple):
    """Records as the log holds them, column by column: decoding works on whole columns at once."""

    timestamps: Sequence[int]
    seqs: Sequence[int]
    payloads: Sequence[bytes]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Columns:
        """Turn rows into columns."""
        return cls(*zip(*entries, strict=True)) if entries else cls((), (), ())


def decode(series_type: SeriesType, records: Columns) -> list[tuple[int, Any]]:
    """Turn records back into (timestamp, value), all in one call."""
    timestamps, seqs, payloads = records
    page = b"\xdd" + len(payloads).to_bytes(4) + b"".join(payloads)
    values = _decode_values(page) if series_type != "trade" else _trades(timestamps, seqs, _decode_trades(page))
    return list(zip(timestamps, values, strict=True))


def _trades(timestamps: Sequence[int], seqs: Sequence[int], rows: list[_TradeRow]) -> Iterable[Trade]:
    if not rows:
        return []
    buys, prices, amounts, delays, ids = zip(*rows, strict=True)
    texts = [str(seq) if text is None else text for seq, text in zip(seqs, ids, strict=True)]
    received = [0 if delay is None else at + delay for at, delay in zip(timestamps, delays, strict=True)]
    return map(Trade, timestamps, texts, [_SIDE[buy] for buy in buys], prices, amounts, received)
