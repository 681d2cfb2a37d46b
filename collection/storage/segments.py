"""The files of the spool: checksummed frames, each a batch of one series.

A segment is `QCSPOOL1` and frames; a frame is three 32-bit numbers (the length of its body, the body's CRC-32, and the
CRC-32 of these eight bytes, so that a wrong length is not taken for an end that was cut off) and the body: msgpack of
key, type, kind of position, intervals, counts, entries.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Any
from zlib import crc32

import msgspec

from collection.storage.base import Covers
from collection.storage.batch import Batch
from collection.storage.coverage import By, Interval
from collection.storage.disk import append_synced, file_size
from collection.storage.values import Entry, Number, SeriesType

log = logging.getLogger(__name__)

MAGIC = b"QCSPOOL1"
_PREFIX = Struct(">II")
_HEADER = Struct(">III")
_Body = tuple[str, SeriesType | None, By | None, list[Interval], dict[str, int], msgspec.Raw]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode
_decode_entries = msgspec.msgpack.Decoder(list[Entry]).decode
_decode_numbers = msgspec.msgpack.Decoder(list[Number]).decode


class BadFrame(Exception):
    """A segment can't be read from `offset` on: its end was `torn` off while it was written, or it is damaged."""

    def __init__(self, offset: int, *, torn: bool, problem: str) -> None:
        self.offset = offset
        self.torn = torn
        super().__init__(problem)


def encode_frame(key: str, batch: Batch) -> bytes:
    """Write a batch as a frame."""
    by, intervals = (batch.covers.by, list(batch.covers.intervals)) if batch.covers else (None, [])
    body = _encode((key, batch.type, by, intervals, dict(batch.counts), list(batch.entries)))
    prefix = _PREFIX.pack(len(body), crc32(body))
    return b"".join((prefix, crc32(prefix).to_bytes(4), body))


def read_frames(data: bytes, offset: int = 0) -> Iterator[tuple[int, str, Batch]]:
    """Yield the frames of a segment from an offset on: where the next one begins, key, batch.

    Raises:
        BadFrame: What follows can't be read.
    """
    if not data.startswith(MAGIC):
        torn = MAGIC.startswith(data)
        raise BadFrame(0, torn=torn, problem="the file is empty" if torn else "no segment of this version")
    offset = max(offset, len(MAGIC))
    while offset < len(data):
        end, body = _body(data, offset)
        try:
            key, series_type, by, intervals, counts, raw = _decode(body)
            entries: list[Any] = _decode_numbers(raw) if series_type == "number" else _decode_entries(raw)
        except msgspec.MsgspecError as error:
            raise BadFrame(offset, torn=False, problem=f"a frame is no batch ({error})") from None
        yield end, key, Batch(series_type, entries, Covers(by, intervals) if by else None, counts)
        offset = end


def _body(data: bytes, offset: int) -> tuple[int, memoryview]:
    """Return where the frame at an offset ends, and what it holds."""
    start = offset + _HEADER.size
    if start > len(data):
        raise BadFrame(offset, torn=True, problem="the last frame was cut off")
    length, checksum, own_checksum = _HEADER.unpack_from(data, offset)
    if crc32(data[offset : offset + _PREFIX.size]) != own_checksum:
        # A file system may give a file its length before its content.
        torn = not data[offset:].strip(b"\0")
        raise BadFrame(offset, torn=torn, problem="the last frame is empty" if torn else "a frame's header is damaged")
    end = start + length
    if end > len(data):
        raise BadFrame(offset, torn=True, problem="the last frame was cut off")
    body = memoryview(data)[start:end]
    if crc32(body) != checksum:
        raise BadFrame(offset, torn=False, problem="a frame is damaged")
    return end, body


class Segment:
    """A file of frames. What was read of it up to `done` was acknowledged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done = 0
        self.torn = False
        self.damaged = False

    @property
    def size(self) -> int:
        """Bytes; 0 where the file is gone."""
        return file_size(self.path)

    def append(self, frames: bytes) -> None:
        """Write to the disk itself. Raises OSError; then nothing was added, and nothing more should be."""
        append_synced(self.path, frames if self.size else MAGIC + frames)

    def read(self) -> Iterator[tuple[int, str, Batch]]:
        """Yield what is beyond `done`, each frame with its end; where that can't be read is logged. Raises OSError."""
        data = self.path.read_bytes()
        try:
            yield from read_frames(data, self.done)
        except BadFrame as bad:
            rest = len(data) - bad.offset
            if bad.torn:
                self.torn = True
                log.warning("%s: %s: %d bytes, which were never durable, are left out", self.path, bad, rest)
            else:
                self.damaged = True
                log.error("%s: %s: the %d bytes from %d on can't be read", self.path, bad, rest, bad.offset)
