"""How the commands show quotes: a table, and a tree of what one is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from collection.feeds import Explanation
from collection.output import moment
from collection.records import Quote

STYLES = {"ok": "green", "degraded": "yellow", "stale": "magenta", "missing": "red"}
_SHOWN = Context(prec=10, rounding=ROUND_HALF_EVEN)
"""Digits of a quotient that people read."""


def quotes_table(quotes: Iterable[Quote], before: Mapping[str, Quote]) -> Table:
    """Draw a row for each quote; a price that is higher or lower than before is coloured."""
    table = Table("feed", box=None, pad_edge=False)
    table.add_column("price", justify="right")
    table.add_column("status")
    for name in ("age", "data", "sources", "dispersion", "volume"):
        table.add_column(name, justify="right")
    table.add_column("reason")
    for quote in quotes:
        table.add_row(
            quote.name,
            Text(number(quote.price), style=_moved(quote, before.get(quote.name))),
            Text(quote.status, style=STYLES[quote.status]),
            age(quote),
            f"{quote.count:,}",
            f"{quote.sources:,}",
            "–" if quote.dispersion is None else f"{quote.dispersion * 10_000:.2f} bp",
            number(quote.volume),
            Text(quote.reason, style="dim"),
        )
    return table


def quote_line(quote: Quote) -> str:
    """Say a quote in one line."""
    told = [moment(quote.at), quote.name, number(quote.price), quote.status, quote.reason]
    return "  ".join(filter(None, told))


def quote_tree(explained: Explanation) -> Tree:
    """Draw a quote and what it is made of."""
    tree = Tree(_branch(explained, explained.quote.reason))
    _grow(tree, explained)
    return tree


def _grow(tree: Tree, explained: Explanation) -> None:
    for part in explained.parts:
        _grow(tree.add(_branch(part, _own_reason(part))), part)


def _branch(explained: Explanation, reason: str) -> Text:
    quote = explained.quote
    out = bool(explained.left_out)
    line = Text()
    line.append(explained.name, style="dim" if out else "bold")
    line.append(f"  {number(quote.price)}", style="dim strike" if out else "")
    line.append(f"  {quote.status}", style=STYLES[quote.status])
    told = [
        f"weight {explained.weight:.2%}" if explained.weight is not None and not out else "",
        f"{age(quote)} old" if quote.timestamp is not None else "",
        f"{quote.count:,} data" if quote.count else "",
        f"± {quote.dispersion * 10_000:.2f} bp" if quote.dispersion is not None else "",
        explained.made_of,
    ]
    line.append("".join(f"  {text}" for text in told if text), style="dim" if out else "")
    if why := f"left out: {explained.left_out}" if out else reason:
        line.append(f"\n{why}", style="red" if out else STYLES[quote.status])
    return line


def _own_reason(explained: Explanation) -> str:
    """Return why it is not ok, unless its parts tell that."""
    told = tuple(f"{part.name}: " for part in explained.parts)
    return "" if told and explained.quote.reason.startswith(told) else explained.quote.reason


def number(value: Decimal | None) -> str:
    """Write a number with at most ten digits that count."""
    return "–" if value is None else f"{_SHOWN.plus(value):f}"


def age(quote: Quote) -> str:
    """Say how old the newest datum was."""
    return "–" if quote.timestamp is None else f"{(quote.at - quote.timestamp) / 1000:,.1f} s"


def _moved(quote: Quote, before: Quote | None) -> str:
    if before is None or quote.price is None or before.price is None or quote.price == before.price:
        return ""
    return "green" if quote.price > before.price else "red"
