"""How `collection tail` shows records: a line each, as they come."""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
import time
from collections.abc import Iterator

from collection.errors import ConfigurationError
from collection.output import Format, cells, moment, tell, write_rows
from collection.tail import Batch


class Lines:
    """Writes batches to standard output; CSV has one header, unless it goes on from before (not `titled`)."""

    def __init__(self, form: Format, *, titled: bool) -> None:
        self._form = form
        self._titled = titled
        self._header: list[str] = []

    def write(self, batch: Batch) -> None:
        """Write a batch; all of it is handed to the system when this returns.

        Raises:
            ConfigurationError: CSV can't hold values of several kinds.
        """
        if not batch.complete:
            tell(f"{batch.key}: something was dropped before it was read (retention)")
        if not batch.values:
            return
        names, rows = cells(batch.values)
        header = ["series", *names]
        if self._form == "table":
            for row in rows:
                told = "  ".join("–" if cell is None else str(cell) for cell in row[1:])
                sys.stdout.write(f"{moment(row[0])}  {batch.key}  {told}\n")
            sys.stdout.flush()
            return
        if self._form == "csv" and self._header not in ([], header):
            raise ConfigurationError(f"--format csv: {batch.key} holds {names[-1]}s: tail it by itself, or as json")
        write_rows(header, ([batch.key, *row] for row in rows), self._form, titled=self._titled and not self._header)
        self._header = header


def nobody_reads(pause: float) -> bool:
    """Wait so many seconds; at once True where standard output is a pipe that its reader closed."""
    if not stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
        time.sleep(pause)
        return False
    closed = select.poll()
    closed.register(sys.stdout.fileno(), 0)
    return bool(closed.poll(pause * 1000))


@contextlib.contextmanager
def closed_quietly() -> Iterator[None]:
    """End where the reader of standard output is gone: what Python still holds of it at the end goes nowhere."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
