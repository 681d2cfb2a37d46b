"""Numbers of exchanges that write one number in several ways."""

from __future__ import annotations

from decimal import Decimal


def plain(number: Decimal) -> Decimal:
    """Return the number without zeros at its end, so that it is one text however it was sent."""
    return number.normalize() if number else Decimal(0)
