"""A market as one exchange tells of it: the same trades, with its own ids and its own digits."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from collection.simulator.market import Market, Row


class View(Market):
    """A market whose rows are told otherwise; `earliest` gives the least id of the market told as this one or later."""

    def __init__(self, market: Market, row: Callable[[Row], Row], earliest: Callable[[int], int] = int) -> None:
        super().__init__(market.name)
        self.kind = market.kind
        self.price_decimals, self.amount_decimals = market.price_decimals, market.amount_decimals
        self._market, self._row, self._earliest = market, row, earliest

    def published(self, now: int) -> int:
        return self._market.published(now)

    def due(self, position: int) -> int | None:
        return self._market.due(position)

    def rows(self, start: int, stop: int) -> list[Row]:
        return [self._row(row) for row in self._market.rows(start, stop)]

    def position_of_id(self, id: int) -> int:
        return self._market.position_of_id(self._earliest(id))

    def position_of_time(self, moment: int) -> int:
        return self._market.position_of_time(moment)

    @property
    def reference_price(self) -> str:
        return self._market.reference_price


def plain(text: str) -> str:
    """Return a decimal number without the zeros at its end."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain_digits(market: Market) -> Market:
    """The market with the digits that remain where one side of the exchange pads with zeros and the other does not."""
    return View(market, lambda row: Row(row.timestamp, row.id, row.side, plain(row.price), plain(row.amount)))


def step(decimals: int) -> str:
    """Return the tick or lot size that is 10 to the power of minus this."""
    return f"{Decimal(1).scaleb(-decimals):f}"
