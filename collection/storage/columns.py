"""Records as NumPy arrays: whole pages are decoded in one call, to floats, without an object for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from collection.errors import ConfigurationError
from collection.storage.bulk import bulk
from collection.storage.values import Number, Records, SeriesType, decode, packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

_decode_floats = msgspec.msgpack.Decoder(
    list[tuple[float, float, bool | None, int | None, str | None]], strict=False
).decode
_SIDE = {True: 1, False: -1, None: 0}


def number_columns(numbers: Sequence[Number]) -> dict[str, NDArray[Any]]:
    """The columns of a number series."""
    np = _numpy()
    timestamps, values = zip(*numbers, strict=True) if numbers else ((), ())
    return {"timestamp": np.array(timestamps, np.int64), "value": np.array(values, np.float64)}


def record_columns(series_type: SeriesType | None, pages: Iterable[Records]) -> dict[str, NDArray[Any]]:
    """The columns of a record log."""
    np = _numpy()
    make = _trades if series_type == "trade" else _values
    parts = [make(np, page) for page in pages] or [make(np, Records((), (), ()))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@bulk
def _trades(np: Any, page: Records) -> dict[str, Any]:
    rows = _decode_floats(packed(page.payloads))
    prices, amounts, buys, delays, ids = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    timestamps = np.array(page.timestamps, np.int64)
    received = [0 if delay is None else at + delay for at, delay in zip(page.timestamps, delays, strict=True)]
    texts = [str(seq) if text is None else text for seq, text in zip(page.seqs, ids, strict=True)]
    return {
        "timestamp": timestamps,
        "id": np.array(texts, object),
        "side": np.array([_SIDE[buy] for buy in buys], np.int8),
        "price": np.array(prices, np.float64),
        "amount": np.array(amounts, np.float64),
        "received": np.array(received, np.int64),
    }


def _values(np: Any, page: Records) -> dict[str, Any]:
    values = (value for _, value in decode("value", page))
    return {"timestamp": np.array(page.timestamps, np.int64), "value": np.fromiter(values, object)}


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise ConfigurationError("columns need NumPy: pip install 'quoting-collection[columns]'") from None
    return numpy
