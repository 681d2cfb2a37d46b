"""What is stored as Arrow tables and data frames, with exact decimals: columns are made page by page.

| series | columns |
|---|---|
| trades | `timestamp`, `id` (text), `side` (text, or null), `price`, `amount`, `received` (null where not known) |
| bars | `timestamp`, `open`, `high`, `low`, `close`, `volume`, `count` (integer), `quote_volume`; others are floats |
| numbers | `timestamp`, `value` (64-bit float) |
| quotes | `timestamp`, `price`, `status`, `count`, `sources`, `dispersion`, `volume`, `newest` (a time), `reason` |
| other values | `timestamp`, `value` (text: JSON; decimals are text in it, bytes are base64) |

Times are `timestamp[ms, UTC]`. Prices and amounts are `decimal128(38, 18)`, whatever the market, so that frames of
several markets and days can be put together: 20 digits before the point and 18 after it, the most that a token has.
They equal what the exchange published, but for zeros at the end, which no decimal type keeps (`numbers="text"` does).
What does not fit is an error, never another number. Prices of quotes, which are quotients, have more digits than any
decimal type: they are text, or with `numbers="float"` floats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import msgspec

from collection.bars import Bar, checked_width
from collection.errors import ConfigurationError
from collection.records import Quote, Trade
from collection.storage.days import DAY_MS
from collection.text import nearest

if TYPE_CHECKING:
    from collection.storage.base import DataCollectionStorage

Kind = Literal["polars", "pandas", "arrow"]
Numbers = Literal["decimal", "text", "float"]

DIGITS, DECIMALS = 38, 18
PAGE = 10_000
"""Bars that are read at once, at the least."""
BATCH = 131_072
"""Rows of a record batch, at the least but for the last, and of a row group in Parquet."""


class Batches(NamedTuple):
    """A table that is read piece by piece: a `pyarrow.Schema`, and the `pyarrow.RecordBatch`es as they are read."""

    schema: Any
    each: Iterator[Any]


def make_frame(batches: Batches, kind: Kind) -> Any:
    """Make a `polars.DataFrame`, `pandas.DataFrame` (of Arrow's types) or `pyarrow.Table`; the pieces are not copied.

    Raises:
        ConfigurationError: What it needs is not installed.
    """
    _checked(kind, get_args(Kind), "kind")
    if kind == "polars":
        polars = _installed("polars")
        frames = [polars.from_arrow(piece) for piece in batches.each]
        return polars.concat(frames, rechunk=False) if frames else polars.from_arrow(batches.schema.empty_table())
    pandas = _installed("pandas") if kind == "pandas" else None
    table = _installed("pyarrow").Table.from_batches(batches.each, batches.schema)
    return table.to_pandas(types_mapper=pandas.ArrowDtype) if pandas else table


def read_batches(
    storage: DataCollectionStorage,
    key: str,
    start: int | None = None,
    end: int | None = None,
    *,
    width: int | None = None,
    numbers: Numbers = "decimal",
) -> Batches:
    """Read a range as record batches; with `width` the bars of so many milliseconds.

    Raises:
        ConfigurationError: pyarrow is not installed, or (while it is read) a number does not fit its column.
    """
    pa = _installed("pyarrow")
    _checked(numbers, get_args(Numbers), "numbers")
    newest = storage.latest(key)
    rows: Iterable[Sequence[Any]] = storage.pages(key, start, end)
    if width is not None:
        columns, rows = _bars(pa), bar_pages(storage, key, start, end, width)
    elif newest and isinstance(newest[0][1], Trade):
        columns, rows = _trades(pa, numbers), ([trade for _, trade in page] for page in rows)
    elif newest and isinstance(newest[0][1], Quote):
        columns, rows = _quotes(pa, numbers), ([quote for _, quote in page] for page in rows)
    else:
        columns = _numbers(pa) if newest and isinstance(newest[0][1], float) else _values(pa)
    schema = pa.schema([(name, column.type) for name, column in columns.items()])
    made = (pa.record_batch(_arrays(pa, key, columns, page), schema=schema) for page in rows if page)
    return Batches(schema, _grouped(pa, made))


def bar_pages(
    storage: DataCollectionStorage, key: str, start: int | None, end: int | None, width: int
) -> Iterator[list[Bar]]:
    """Yield what `storage.bars` returns in pieces of some thousands, or of a day."""
    [series] = storage.info([key])
    if series.first is None or series.last is None:
        return
    at = max(series.first - series.first % checked_width(width), start or 0)
    last = series.last if end is None else min(end, series.last)
    step = -(-max(PAGE * width, DAY_MS) // width) * width
    while at <= last:
        upto = min(at - at % width + step - 1, last)
        yield storage.bars(key, at, upto, width)
        at = upto + 1


class _Column(NamedTuple):
    type: Any
    cell: Callable[[Any], Any]
    """What a row has in it."""


def _trades(pa: Any, numbers: Numbers) -> dict[str, _Column]:
    cells: dict[Numbers, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
        "decimal": (attrgetter("price"), attrgetter("amount")),
        "text": (lambda trade: f"{trade.price:f}", lambda trade: f"{trade.amount:f}"),
        "float": (lambda trade: float(trade.price), lambda trade: float(trade.amount)),
    }
    price, amount = cells[numbers]
    number = {"decimal": pa.decimal128(DIGITS, DECIMALS), "text": pa.string(), "float": pa.float64()}[numbers]
    return {
        "timestamp": _Column(_time(pa), attrgetter("timestamp")),
        "id": _Column(pa.string(), attrgetter("id")),
        "side": _Column(pa.string(), attrgetter("side")),
        "price": _Column(number, price),
        "amount": _Column(number, amount),
        "received": _Column(_time(pa), lambda trade: trade.received or None),
    }


def _bars(pa: Any) -> dict[str, _Column]:
    types = {"timestamp": _time(pa), "count": pa.int64()}
    return {name: _Column(types.get(name, pa.float64()), attrgetter(name)) for name in Bar.__struct_fields__}


def _numbers(pa: Any) -> dict[str, _Column]:
    return {"timestamp": _Column(_time(pa), itemgetter(0)), "value": _Column(pa.float64(), itemgetter(1))}


def _quotes(pa: Any, numbers: Numbers) -> dict[str, _Column]:
    kind, written = (pa.float64(), float) if numbers == "float" else (pa.string(), "{:f}".format)

    def number(name: str) -> _Column:
        read = attrgetter(name)
        return _Column(kind, lambda quote: None if read(quote) is None else written(read(quote)))

    return {
        "timestamp": _Column(_time(pa), attrgetter("at")),
        "price": number("price"),
        "status": _Column(pa.string(), attrgetter("status")),
        "count": _Column(pa.int64(), attrgetter("count")),
        "sources": _Column(pa.int64(), attrgetter("sources")),
        "dispersion": _Column(pa.float64(), attrgetter("dispersion")),
        "volume": number("volume"),
        "newest": _Column(_time(pa), attrgetter("timestamp")),
        "reason": _Column(pa.string(), lambda quote: quote.reason or None),
    }


def _values(pa: Any) -> dict[str, _Column]:
    return {
        "timestamp": _Column(_time(pa), itemgetter(0)),
        "value": _Column(pa.string(), lambda row: msgspec.json.encode(row[1]).decode()),
    }


def _time(pa: Any) -> Any:
    return pa.timestamp("ms", tz="UTC")


def _arrays(pa: Any, key: str, columns: Mapping[str, _Column], rows: Sequence[Any]) -> list[Any]:
    arrays = []
    for name, column in columns.items():
        cells = list(map(column.cell, rows))
        try:
            arrays.append(pa.array(cells, column.type))
        except pa.ArrowInvalid:
            wrong = next(cell for cell in cells if not _fits(pa, cell, column.type))
            raise ConfigurationError(
                f"{key}: the {name} {wrong:f} does not fit {column.type}: take numbers as text or float"
            ) from None
    return arrays


def _fits(pa: Any, cell: Any, kind: Any) -> bool:
    try:
        pa.array([cell], kind)
    except pa.ArrowInvalid:
        return False
    return True


def _grouped(pa: Any, batches: Iterable[Any]) -> Iterator[Any]:
    """Put batches together to larger ones: what reads them works on each as a whole."""
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if sum(one.num_rows for one in group) >= BATCH:
            yield pa.concat_batches(group)
            group = []
    if group:
        yield pa.concat_batches(group)


def _installed(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        wanted = "pandas" if module == "pandas" else "'quoting-collection[frames]'"
        raise ConfigurationError(f"this needs {module}: pip install {wanted}") from None


def _checked(name: str, known: Sequence[str], what: str) -> None:
    if name not in known:
        raise ConfigurationError(f"{what} {name!r}: unknown{nearest(name, known)}")
