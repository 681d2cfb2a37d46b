"""Numbers of exchanges that write one number in several ways."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation

EXACT = Context(prec=60, traps=[Inexact, InvalidOperation])
"""Rounds nothing: a number with more digits is an error."""


def plain(number: Decimal) -> Decimal:
    """Return the number without zeros at its end, so that it is one text however it was sent."""
    return number.normalize(EXACT) if number else Decimal(0)
