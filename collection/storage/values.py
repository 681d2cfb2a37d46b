"""What can be stored, how it is written, and how it comes back.

| stored                                            | kept in       | comes back as          |
|---------------------------------------------------|---------------|------------------------|
| `int`, `float` (finite, exact as a 64-bit float)  | number series | `float`                |
| `Trade`                                           | record log    | an equal `Trade`       |
| `str`, `bytes`, `bool`, `None`, `Decimal`, `list`,| record log    | the same value, tuples |
| `tuple`, `dict` with text keys, `Quote`, nested at|               | as lists               |
| will                                              |               |                        |

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
from collection.records import Quote, Status, Trade
from collection.storage.bulk import bulk

SeriesType = Literal["number", "trade", "value"]

EXACT_INTEGER = 2**53
"""A 64-bit float holds every integer up to here."""
LAST_TIMESTAMP = 253_402_300_799_999
"""The last millisecond of the year 9999: a later time is one in the wrong unit."""
DEEPEST = 32
LARGEST = 64_000_000
"""Bytes of a value: Redis takes no argument of 512 MB, and a piece of several is sent as one."""
MOST_DIGITS = 60
MOST_DECIMALS = 40
_IDS = 2**64
_TRADE: SeriesType = "trade"
_E = ord("E")
_DECIMAL = 1
_QUOTE = 2


Entry = tuple[int, int, bytes]
"""A record as the log holds it, identified by the first two: timestamp, seq, payload."""
Number = tuple[int, float]
"""A sample of a number series: timestamp, value."""

_TradeRow = tuple[Decimal, Decimal, bool | None, int | None, str | None]
"""A trade without what the log's own id says: price, amount, is it a buy, received - timestamp, id where no integer.

Price and amount come first, so that `append.lua` finds them without reading the rest.
"""


def _read_extension(code: int, data: memoryview) -> Any:
    if code == _DECIMAL:
        return Decimal(bytes(data).decode())
    if code == _QUOTE:
        return Quote(**dict(zip(Quote.__struct_fields__, _decode_quote(data), strict=True)))
    raise RecordRefused("unknown_extension", f"msgpack extension {code}")


_QuoteRow = tuple[str, int, Decimal | None, int | None, int, int, float | None, Decimal | None, Status, str]
"""The fields of a quote in their order."""
_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode_trades = msgspec.msgpack.Decoder(list[_TradeRow]).decode
_decode_quote = msgspec.msgpack.Decoder(_QuoteRow).decode
_decode_values = msgspec.msgpack.Decoder(list[Any], ext_hook=_read_extension).decode
_SIDE: dict[bool | None, Literal["buy", "sell"] | None] = {True: "buy", False: "sell", None: None}
_BUY = {side: buy for buy, side in _SIDE.items()}


def hash64(data: bytes) -> int:
    """Hash to 64 bits: the record id of what has no integer id of its own."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())


def integer_id(text: str) -> int | None:
    """Return the number that a trade id is, where it is one below 2^64 written as numbers are, else None."""
    if len(text) > 20 or not text.isdigit() or not text.isascii() or (text[0] == "0" and text != "0"):
        return None
    number = int(text)
    return number if number < _IDS else None


def encode(values: Iterable[tuple[int, Any]]) -> tuple[SeriesType | None, list[Entry] | list[Number]]:
    """Turn (timestamp, value) pairs of one type into what is written.

    Raises:
        RecordRefused: One of them can't be kept, or they are of several types; it names the place.
    """
    found: SeriesType | None = None
    written: list[Any] = []
    try:
        for timestamp, value in values:
            if type(timestamp) is not int or not 0 < timestamp <= LAST_TIMESTAMP:
                raise RecordRefused("bad_timestamp", f"{_shown(timestamp)} is not a Unix time in whole milliseconds")
            if isinstance(value, Trade):
                series_type = _TRADE
                written.append(_encode_trade(value, timestamp))
            else:
                series_type, item = _encode_other(value, timestamp)
                written.append(item)
            if series_type != found:
                if found is not None:
                    raise RecordRefused("mixed_types", f"a batch of the types {found} and {series_type}")
                found = series_type
    except (AttributeError, KeyError, TypeError, UnicodeError, msgspec.MsgspecError) as error:
        raise RecordRefused("bad_value", f"{type(error).__name__}: {_line(str(error))}") from None
    return found, written


def _encode_other(value: Any, timestamp: int) -> tuple[SeriesType, Entry | Number]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not (math.isfinite(value) if isinstance(value, float) else -EXACT_INTEGER <= value <= EXACT_INTEGER):
            raise RecordRefused("bad_number", f"{_shown(value)} is no finite number that 64-bit floats hold exactly")
        return "number", (timestamp, float(value))
    payload = _encode(_plain(value, "value", 0))
    if len(payload) > LARGEST:
        raise RecordRefused("too_large", f"a value of {len(payload):,} bytes, more than {LARGEST:,}")
    return "value", (timestamp, hash64(payload), payload)


def _encode_trade(trade: Trade, timestamp: int) -> Entry:
    price, amount, text, received = trade.price, trade.amount, trade.id, trade.received
    if trade.timestamp != timestamp:
        raise RecordRefused("bad_timestamp", f"stored at {timestamp}, but the trade says {trade.timestamp}")
    if not text:
        raise RecordRefused("no_id", f"a trade at {timestamp}: see records.identified")
    if type(received) is not int or not 0 <= received <= LAST_TIMESTAMP:
        detail = f"received {_shown(received)} is not a Unix time in whole milliseconds"
        raise RecordRefused("bad_timestamp", f"{_shown(text)}: {detail}")
    own = None
    if text.isdecimal() and text.isascii() and text[0] != "0" and len(text) < 20:  # nearly always
        seq = int(text)
    elif (number := integer_id(text)) is not None:
        seq = number
    else:
        seq, own = hash64(text.encode()), text
    payload = _encode((price, amount, _BUY[trade.side], received - timestamp if received else None, own))
    if not (price.is_finite() and amount.is_finite()) or ((len(payload) > 64 or _E in payload) and _odd(trade)):
        raise RecordRefused("bad_number", f"{_line(text)}: price {price:.50}, amount {amount:.50}")
    return timestamp, seq, payload


def _odd(trade: Trade) -> bool:
    """Whether a number is beyond what prices and amounts are anywhere: 60 digits, 40 of them after the point."""
    return any(
        len(digits) > MOST_DIGITS or not -MOST_DECIMALS <= int(exponent) <= MOST_DECIMALS
        for _, digits, exponent in (trade.price.as_tuple(), trade.amount.as_tuple())
    )


def _plain(value: Any, path: str, depth: int) -> Any:
    """Return the value as msgpack writes it, after a look at every part."""
    if depth > DEEPEST:
        raise RecordRefused("too_deep", f"{_line(path)} is nested more than {DEEPEST} deep")
    if value is None or isinstance(value, str | bytes | bool):
        return value
    if isinstance(value, Decimal):
        return msgspec.msgpack.Ext(_DECIMAL, str(value).encode())
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecordRefused("bad_number", f"{_line(path)} is {value!r}")
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            wide = f"{_shown(value)}: more than 64 bits; store it as Decimal or text"
            raise RecordRefused("bad_number", f"{_line(path)} is {wide}")
        return value
    if isinstance(value, list | tuple):
        return [_plain(part, f"{path}[{index}]", depth + 1) for index, part in enumerate(value)]
    if isinstance(value, dict):
        if wrong := [name for name in value if not isinstance(name, str)]:
            raise RecordRefused("bad_type", f"{_line(path)} has the key {_shown(wrong[0])}: keys are text")
        return {name: _plain(part, f"{path}.{name}", depth + 1) for name, part in value.items()}
    if isinstance(value, Quote):
        if value.dispersion is not None and not math.isfinite(value.dispersion):
            raise RecordRefused("bad_number", f"{_line(path)}.dispersion is {value.dispersion!r}")
        row = _encode(msgspec.structs.astuple(value))
        _decode_quote(row)  # raises where a field is of another type
        return msgspec.msgpack.Ext(_QUOTE, row)
    raise RecordRefused("bad_type", f"{_line(path)} is of type {type(value).__name__}, which can't be stored")


def _shown(value: object) -> str:
    """A value as a message shows it."""
    try:
        return _line(repr(value))
    except Exception:  # that of an integer of thousands of digits fails, for one
        return f"a value of type {type(value).__name__}"


def _line(text: str) -> str:
    """Text as a message shows it: in one line, and not all of what is long."""
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 60 else f"{text[:60]}…"


class Records(NamedTuple):
    """Records as the log holds them, column by column: decoding works on whole columns at once."""

    timestamps: Sequence[int]
    seqs: Sequence[int]
    payloads: Sequence[bytes]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Records:
        """Turn rows into columns."""
        return cls(*zip(*entries, strict=True)) if entries else cls((), (), ())


def same(series_type: str, payload: bytes, other: bytes) -> bool:
    """Whether two payloads of one id are of one record: equal in all but the time of receipt."""
    if payload == other or series_type != "trade":
        return payload == other
    left, right = _decode_trades(packed([payload, other]))
    return (*left[:3], left[4]) == (*right[:3], right[4])


def packed(payloads: Sequence[bytes]) -> bytes:
    """Make one msgpack array of payloads, to be read in one call."""
    return b"\xdd" + len(payloads).to_bytes(4) + b"".join(payloads)


@bulk
def decode(series_type: SeriesType, records: Records) -> list[tuple[int, Any]]:
    """Turn records back into (timestamp, value), all in one call."""
    timestamps, seqs, payloads = records
    page = packed(payloads)
    values = _decode_values(page) if series_type != "trade" else _trades(timestamps, seqs, _decode_trades(page))
    return list(zip(timestamps, values, strict=True))


def _trades(timestamps: Sequence[int], seqs: Sequence[int], rows: list[_TradeRow]) -> Iterable[Trade]:
    if not rows:
        return []
    prices, amounts, buys, delays, ids = zip(*rows, strict=True)
    texts = [str(seq) if text is None else text for seq, text in zip(seqs, ids, strict=True)]
    received = [0 if delay is None else at + delay for at, delay in zip(timestamps, delays, strict=True)]
    return map(Trade, timestamps, texts, [_SIDE[buy] for buy in buys], prices, amounts, received)
