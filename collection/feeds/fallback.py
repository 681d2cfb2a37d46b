"""The first healthy one of several feeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field

from collection.feeds.composite import CompositeFeed, Part
from collection.quotes.moment import Moment


class FallbackFeed(CompositeFeed):
    """The quote of the first feed that is `ok`; else of the first that is `degraded`, else of the first `stale` one.

    While it is that of the first in the list and that is `ok`, this one is `ok`, however the others are.
    """

    type: Literal["fallback"]
    feeds: list[str] = Field(min_length=1)

    def references(self) -> Iterable[tuple[str, str]]:
        return [("feeds", name) for name in self.feeds]

    def made_of(self) -> str:
        return "the first that is ok"

    def parts(self, moment: Moment) -> list[Part]:
        parts = self.quotes(moment)
        for status in ("ok", "degraded", "stale"):
            places = [place for place, part in enumerate(parts) if part.quote.status == status]
            if places:
                return [self._chosen(part, place, places[0]) for place, part in enumerate(parts)]
        return parts

    def _chosen(self, part: Part, place: int, chosen: int) -> Part:
        if place == chosen:
            return part._replace(weight=Decimal(1))
        why = part.left_out or part.note or "in reserve"
        return part._replace(weight=Decimal(0), left_out=why, note="")

    def telling(self, parts: list[Part]) -> list[Part]:
        used = [place for place, part in enumerate(parts) if not part.left_out]
        return parts[: used[0] + 1] if used else parts

    def combine(self, used: Sequence[Part]) -> dict[str, Any]:
        quote = used[0].quote
        return {"price": quote.price, "dispersion": quote.dispersion, "volume": quote.volume}
