"""Ranges of series as files: CSV, Parquet, Arrow; piece by piece, whatever their size."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import msgspec

from collection.bars import Bar
from collection.errors import ConfigurationError
from collection.output import cells
from collection.storage import DataCollectionStorage
from collection.storage.disk import sync_folder
from collection.storage.frames import Numbers, bar_pages, read_batches

FileFormat = Literal["csv", "parquet", "arrow"]


class Range(NamedTuple):
    """What is exported: values of a series, or with `width` its bars of so many milliseconds."""

    key: str
    start: int | None = None
    end: int | None = None
    width: int | None = None
    numbers: Numbers = "decimal"


def export(
    storage: DataCollectionStorage, what: Range, form: FileFormat, file: IO[bytes], told: Callable[[int], object]
) -> None:
    """Write a range to a file; `told` is called with the number of rows of each piece that was written.

    CSV has the columns of `collection query` and `collection bars`, and every digit; for the others see
    `collection.storage.frames`.

    Raises:
        ConfigurationError: pyarrow is not installed, or a number does not fit its column.
    """
    if form == "csv":
        _export_csv(storage, what, file, told)
        return
    schema, batches = read_batches(storage, what.key, what.start, what.end, width=what.width, numbers=what.numbers)
    with _writer(form, file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            told(batch.num_rows)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name once it is complete and on disk; what fails leaves nothing, or what was there.

    Raises:
        ConfigurationError: It can't be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigurationError(f"{path}: can't be written: {error.strerror or error}") from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _export_csv(storage: DataCollectionStorage, what: Range, file: IO[bytes], told: Callable[[int], object]) -> None:
    text = TextIOWrapper(file, "utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\n")
        if what.width is None:
            header, _ = cells(storage.latest(what.key))
            writer.writerow(header)
            for page in storage.pages(what.key, what.start, what.end):
                writer.writerows(cells(page)[1])
                told(len(page))
        else:
            writer.writerow(["timestamp_ms", *Bar.__struct_fields__[1:]])
            for bars in bar_pages(storage, what.key, what.start, what.end, what.width):
                writer.writerows(map(msgspec.structs.astuple, bars))
                told(len(bars))
    finally:
        text.detach()


def _writer(form: FileFormat, file: IO[bytes], schema: Any) -> Any:
    if form == "parquet":
        return import_module("pyarrow.parquet").ParquetWriter(file, schema, compression="zstd")
    return import_module("pyarrow.ipc").new_file(file, schema)
