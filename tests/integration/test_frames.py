"""Frames of what is stored: the same values as `fetch`, exactly, whatever the storage and the kind of frame."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from collection.errors import ConfigurationError
from collection.records import Quote, Trade
from collection.storage import DataCollectionStorage, MemoryStorage, frames
from tests.conftest import trade

KEY = "trades:x:A/B"


def many(number: int = 30) -> list[Trade]:
    """Trades of all digits, sides and times of receipt that there are."""
    return [
        trade(
            at,
            price=f"{at}.{at:018d}",
            amount=["2.50", "1E+3", "0.000000000000000001"][at % 3],
            side=[None, "buy", "sell"][at % 3],
            id=[str(at), f"a-{at}"][at % 2],
            received=0 if at % 5 == 0 else 1_767_225_600_000 + at,
        )
        for at in range(number)
    ]


def put(storage: DataCollectionStorage, trades: list[Trade]) -> None:
    storage.store_batch(KEY, [(one.timestamp, one) for one in trades])
    storage.flush()


def rows(frame: Any) -> list[dict[str, Any]]:
    """The rows of any frame, as Python's own objects."""
    found: list[dict[str, Any]]
    if isinstance(frame, pl.DataFrame):
        found = frame.to_dicts()
    elif isinstance(frame, pd.DataFrame):
        found = pa.Table.from_pandas(frame).to_pylist()
    else:
        found = frame.to_pylist()
    return found


def ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


@pytest.mark.parametrize("kind", ["polars", "pandas", "arrow"])
def test_trades_come_back_exactly(storage: DataCollectionStorage, kind: frames.Kind) -> None:
    put(storage, many())
    back = [
        Trade(
            ms(row["timestamp"]),
            row["id"],
            row["side"],
            row["price"],
            row["amount"],
            ms(row["received"]) if row["received"] is not None else 0,
        )
        for row in rows(storage.frame(KEY, kind=kind))
    ]
    stored = [one for _, one in storage.fetch(KEY)]
    assert back == stored
    assert [one.received for one in back] == [one.received for one in stored]


def test_the_types_of_columns_are_the_same_for_all_markets_and_ranges(storage: DataCollectionStorage) -> None:
    put(storage, many())
    price, time = pl.Decimal(38, 18), pl.Datetime("ms", "UTC")
    schema = {
        "timestamp": time,
        "id": pl.String,
        "side": pl.String,
        "price": price,
        "amount": price,
        "received": time,
    }
    whole, none = storage.frame(KEY), storage.frame(KEY, 0, 1)
    assert dict(whole.schema) == dict(none.schema) == schema
    assert (len(whole), len(none)) == (30, 0)
    part = storage.frame(KEY, trade(3).timestamp, trade(5).timestamp)
    assert part.equals(whole[3:6])


def test_numbers_as_text_have_every_digit_and_as_floats_are_the_nearest(storage: DataCollectionStorage) -> None:
    put(storage, [trade(1, price="1.50", amount="0.1234567890123456789012345678901234567890")])
    [row] = rows(storage.frame(KEY, numbers="text"))
    assert (row["price"], row["amount"]) == ("1.50", "0.1234567890123456789012345678901234567890")
    [row] = rows(storage.frame(KEY, numbers="float"))
    assert (row["price"], row["amount"]) == (1.5, 0.12345678901234568)


@pytest.mark.parametrize("price", ["0.0000000000000000001", "100000000000000000000"])
def test_a_number_that_does_not_fit_is_an_error_and_never_rounded(storage: DataCollectionStorage, price: str) -> None:
    put(storage, [trade(1), trade(2, price=price)])
    message = rf"trades:x:A/B: the price {price} does not fit decimal128\(38, 18\): take numbers as text or float"
    with pytest.raises(ConfigurationError, match=message):
        storage.frame(KEY)


def test_numbers_and_other_values(storage: DataCollectionStorage) -> None:
    storage.store("price", 1.5, 1000)
    storage.store("state", {"a": [Decimal("1.50"), b"x", None]}, 1000)
    storage.store("state", "text", 2000)
    storage.flush()
    assert [(ms(row["timestamp"]), row["value"]) for row in rows(storage.frame("price"))] == [(1000, 1.5)]
    assert [row["value"] for row in rows(storage.frame("state"))] == ['{"a":["1.50","eA==",null]}', '"text"']
    assert rows(storage.frame("nothing")) == []


@pytest.mark.parametrize("width", [1000, 7000, 60_000])
def test_bars_are_those_of_the_storage_in_pieces(
    storage: DataCollectionStorage, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "PAGE", 3)
    monkeypatch.setattr(frames, "DAY_MS", 5000)
    put(storage, many())
    for start, end in ((None, None), (trade(4).timestamp + 1, None), (None, trade(20).timestamp - 1), (0, 1)):
        bars = storage.bars(KEY, start, end, width)
        found = rows(storage.frame(KEY, start, end, width=width))
        assert [(ms(row["timestamp"]), row["open"], row["close"], row["count"]) for row in found] == [
            (bar.timestamp, bar.open, bar.close, bar.count) for bar in bars
        ]


def test_pieces_are_read_as_they_are_needed() -> None:
    class Paged(MemoryStorage):
        read = 0

        def pages(
            self, key: str, start_time: int | None = None, end_time: int | None = None
        ) -> Iterator[list[tuple[int, Any]]]:
            for page in range(4):
                self.read += 1
                yield [
                    (one.timestamp, one) for one in map(trade, range(page * frames.BATCH, (page + 1) * frames.BATCH))
                ]

    storage = Paged()
    put(storage, [trade(1)])
    schema, batches = frames.read_batches(storage, KEY)
    assert storage.read == 0
    assert [next(batches).num_rows, storage.read] == [frames.BATCH, 1]
    assert schema.names == ["timestamp", "id", "side", "price", "amount", "received"]


@pytest.mark.parametrize(
    ("missing", "kind", "message"),
    [
        ("pyarrow", "arrow", r"this needs pyarrow: pip install 'quoting-collection\[frames\]'"),
        ("polars", "polars", r"this needs polars: pip install 'quoting-collection\[frames\]'"),
        ("pandas", "pandas", "this needs pandas: pip install pandas"),
        ("", "polar", "kind 'polar': unknown; did you mean 'polars'"),
    ],
)
def test_what_is_missing_is_named(missing: str, kind: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage()
    put(storage, many())
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError, match=message):
        storage.frame(KEY, kind=kind)


@pytest.mark.parametrize("kind", ["polars", "pandas", "arrow"])
def test_quotes_have_their_columns_and_every_digit_of_a_price(kind: Any) -> None:
    at, price = 1_767_225_600_000, Decimal("61604.94460908600239590326869660229")
    good = Quote(
        name="x", at=at, price=price, timestamp=at - 5, count=3, sources=1, volume=Decimal("1E+2"), status="ok"
    )
    storage = MemoryStorage()
    storage.store_batch("quotes:x", [(at, good), (at + 1, Quote.missing("x", at + 1, "no trade"))])
    first, second = rows(storage.frame("quotes:x", kind=kind))
    assert (first["price"], first["volume"], first["status"], first["count"]) == (str(price), "100", "ok", 3)
    assert (ms(first["timestamp"]), ms(first["newest"]), first["reason"]) == (at, at - 5, None)
    assert (second["price"], second["status"], second["newest"], second["reason"]) == (
        None,
        "missing",
        None,
        "no trade",
    )
    floats = rows(storage.frame("quotes:x", kind=kind, numbers="float"))
    assert [row["price"] for row in floats] == [float(price), None]
