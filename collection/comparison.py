"""Comparison of what is stored with what a simulated exchange says it has published."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any

from collection.certificate import Certificate
from collection.errors import ConfigurationError, RetryLater
from collection.records import Trade
from collection.storage import DataCollectionStorage, Interval

SHOWN = 10
"""Differing trades that are told; all are counted."""
_PATIENCE = 60.0
_LAST_ID = 2**64 - 1
_Line = tuple[int, int, str]
"""A trade's id, whether it was published (1) or stored (0), and its line."""


def differences(storage: DataCollectionStorage, certificate: Certificate, url: str) -> list[str]:
    """Say line by line how a series differs from what the exchange at `url` published in its range of ids.

    Raises:
        ConfigurationError: The exchange tells no truth of this market, or the series has no ids to compare by.
        RetryLater: The exchange does not answer.
    """
    if certificate.doubled is None and certificate.stored:
        raise ConfigurationError(f"--truth: {certificate.key}: trades are compared by ids, and these are no integers")
    address = _address(certificate, url)
    after, until = _range(certificate)
    query = urllib.parse.urlencode({"after": after, "until": until} if until is not None else {})
    with _opened(f"{address}?{query}") as answer:
        try:
            truth = json.load(answer)
            told = (truth["count"], truth["digest"])
        except (ValueError, KeyError, TypeError):
            raise ConfigurationError(f"--truth {url}: it is no simulated exchange") from None
    if told == (certificate.stored, certificate.digest):
        return []
    in_range = Interval(after, _LAST_ID if until is None else until)
    published = _published(f"{address}/trades?format=csv")
    lines, count = [f"published {truth['count']:,}, stored {certificate.stored:,}"], 0
    for count, line in enumerate(_differing(_stored(storage, certificate), published, in_range), 1):
        lines += [line] if count <= SHOWN else []
    return [*lines, f"and {count - SHOWN:,} more"] if count > SHOWN else lines


def _range(certificate: Certificate) -> tuple[int, int | None]:
    """Return the ids that are to be equal: those after the first number, up to the second."""
    ids = [int(record.id) for record in (certificate.first, certificate.last) if record]
    if certificate.expected is not None:
        ids += [end for span in (*certificate.covered, *certificate.gaps) for end in (span.first, span.last)]
    return (min(ids) - 1, max(ids)) if ids else (-1, None)


def _address(certificate: Certificate, url: str) -> str:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ConfigurationError(f"--truth {url}: give the simulated exchange's address, such as http://127.0.0.1:8099")
    market = certificate.key.split(":", 2)[-1]
    return f"{url.rstrip('/').removesuffix('/_truth')}/_truth/{urllib.parse.quote(market, safe='')}"


def _opened(url: str) -> Any:
    try:
        return urllib.request.urlopen(url, timeout=_PATIENCE)  # noqa: S310  the scheme is checked above
    except urllib.error.HTTPError as error:
        told = error.read(200).decode(errors="replace").strip().partition("\n")[0]
        raise ConfigurationError(f"--truth: it answers {error.code}: {told}") from None
    except OSError as error:
        raise RetryLater(f"--truth: the exchange does not answer: {getattr(error, 'reason', error)}") from None


def _stored(storage: DataCollectionStorage, certificate: Certificate) -> Iterator[_Line]:
    for page in storage.pages(certificate.key, certificate.start, certificate.end):
        for _, trade in page:
            if isinstance(trade, Trade):
                yield int(trade.id), 0, trade.line


def _published(url: str) -> Iterator[_Line]:
    with _opened(url) as answer:
        next(answer, None)
        for row in answer:
            line = row.decode().rstrip("\n")
            yield int(line.split(",", 2)[1]), 1, line


def _differing(stored: Iterator[_Line], published: Iterator[_Line], in_range: Interval) -> Iterator[str]:
    for number, group in groupby(merge(stored, published), itemgetter(0)):
        if not in_range.after < number <= in_range.upto:
            continue
        lines: tuple[list[str], list[str]] = ([], [])
        for _, side, line in group:
            lines[side].append(line)
        ours, theirs = (" and ".join(some) for some in lines)
        if ours != theirs:
            yield f"stored {ours or 'nothing'}, published {theirs or 'nothing'}"
