"""Where records are kept that Redis can't take for their own sake: a file of JSON lines, for people to look at."""

from __future__ import annotations

import fcntl
import os
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time

import msgspec

from collection.storage.delivery import Bad
from collection.storage.disk import append_synced, file_size
from collection.storage.values import SeriesType

LARGEST = 64_000_000
"""Bytes of the file; then it becomes `set-aside.old.jsonl`, in place of the one before."""
_REASON = 500

_encode = msgspec.json.Encoder().encode


class _Line(msgspec.Struct):
    key: str
    reason: str


_decode = msgspec.json.Decoder(_Line).decode


def set_aside_file(root: Path) -> Path:
    """Name the file."""
    return root / "set-aside.jsonl"


def append_set_aside(root: Path, key: str, series_type: SeriesType | None, bad: Sequence[Bad]) -> None:
    """Append records of a series, a line each: key, type, timestamp, id and payload (base64), or value; why, when.

    Raises OSError.
    """
    at = int(time() * 1000)
    data = b"".join(
        _encode({"key": key, "type": series_type, "reason": reason[:_REASON], "at": at, **_described(*entry)}) + b"\n"
        for entries, reason in bad
        for entry in entries
    )
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = set_aside_file(root)
    with _locked(root):
        if file_size(path) > LARGEST:
            path.replace(_older(path))
        append_synced(path, data)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _older(path: Path) -> Path:
    return path.with_suffix(".old.jsonl")


def count_set_aside(root: Path) -> Mapping[tuple[str, str], int]:
    """Count what the files hold, by key and reason."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in (set_aside_file(root), _older(set_aside_file(root))):
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    try:
                        read = _decode(line)
                    except msgspec.MsgspecError:  # a line that a full disk cut off
                        continue
                    counts[read.key, read.reason] += 1
    return counts


def _described(timestamp: int, seq: float, payload: bytes | None = None) -> dict[str, object]:
    if payload is None:
        return {"timestamp": timestamp, "value": seq}
    return {"timestamp": timestamp, "id": str(seq), "payload": b64encode(payload).decode()}
