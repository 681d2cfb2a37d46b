"""Paging a history: whatever an exchange has, all of it is read, in pages that prove that they join."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collection.clients.base import Cursor, Refused, Start
from collection.clients.budget import Rate
from collection.clients.histories import NumberedTrades, history_of
from collection.clients.wire import Event, Limits, Pages, Request, Wire
from collection.records import Trade
from collection.storage import Coverage

SIZE = 10
FIRST = 1_600_000_000_000


class Plain(Wire):
    """The wire of no exchange: it pages in any way, and its messages are records."""

    exchange, by, page_size = "plain", "id", SIZE
    limits = Limits(1, 1, Rate(1, 1), Rate(1, 1), Rate(1, 1))
    rest = socket = ""
    rest_key = socket_key = ()

    def __init__(self, pages: Pages) -> None:
        self.pages = pages  # type: ignore[misc]

    def symbol(self, market: str) -> str:
        return market

    def subscribe(self, symbols: Sequence[str], request: int) -> bytes:
        return b""

    unsubscribe = subscribe

    def read(self, message: bytes, received: int) -> Event | None:
        return None

    def symbol_of(self, message: Any) -> Any:
        return ""

    def ask(self, symbol: str, at: int | None, limit: int) -> Request:
        return Request("", {"limit": limit} if at is None else {"at": at, "limit": limit})

    def read_page(self, body: bytes, symbol: str, received: int) -> tuple[list[Trade], list[Refused]]:
        return msgspec.json.decode(body, type=list[Trade]), []


class Exchange:
    """Has `trades`, and forgets the oldest ones."""

    def __init__(self, pages: Pages, trades: list[Trade]) -> None:
        self.pages, self.trades, self.requests = pages, trades, 0
        self.oldest = 0

    async def get(self, request: Request) -> bytes:
        self.requests += 1
        served, limit, at = self.trades[self.oldest :], int(request.params["limit"]), request.params.get("at")
        if at is None:
            page = served[-limit:]
        elif self.pages == "from_id":
            page = [trade for trade in served if int(trade.id) >= int(at)][:limit]
        elif self.pages == "before_id":
            page = [trade for trade in served if int(trade.id) < int(at)][-limit:]
        else:
            page = [trade for trade in served if trade.timestamp >= int(at)][:limit]
        return msgspec.json.encode(page)


def trades_of(steps: Sequence[int], first_id: int) -> list[Trade]:
    """Trades as many milliseconds after one another as the steps say; no page lies within one of them."""
    trades, time = [], FIRST
    for number, step in enumerate(steps):
        time += max(step, 1) if number % (SIZE // 2) == 0 else step
        trades.append(Trade(time, str(first_id + number), "buy", Decimal(1), Decimal(1)))
    return trades


histories = st.builds(
    trades_of, st.lists(st.one_of(st.just(0), st.integers(0, 5), st.integers(0, 100_000)), max_size=150),
    st.integers(0, 10**12),
)  # fmt: skip
pagings = pytest.mark.parametrize("pages", ["from_id", "before_id", "since"])


def numbered(exchange: Exchange) -> NumberedTrades:
    history = history_of(Plain(exchange.pages), exchange.get)
    assert isinstance(history, NumberedTrades)
    return history


async def read_on(history: NumberedTrades, position: int) -> tuple[list[Trade], Coverage]:
    """Read pages from a position until there are no more."""
    read: dict[str, Trade] = {}
    coverage, more, before = Coverage("id"), True, -2
    while more:
        assert before != position, "it goes round and round"
        before = position
        page = await history.page("X", Cursor(position))
        read |= {trade.id: trade for trade in page.trades}
        coverage = coverage.with_intervals(page.covers.intervals)
        position = max([one.upto for one in page.covers.intervals], default=position)
        more = page.more
    return list(read.values()), coverage


@pagings
@given(trades=histories, at=st.floats(0, 1), cut=st.floats(0, 1))
async def test_all_that_an_exchange_still_has_is_read_and_no_more_is_claimed(
    pages: Pages, trades: list[Trade], at: float, cut: float
) -> None:
    exchange = Exchange(pages, trades)
    position = int(trades[int(at * (len(trades) - 1))].id) if trades else 5
    history = numbered(exchange)
    if trades:
        await history.page("X", Cursor(position))  # what it remembers of a time when the exchange had more
    exchange.oldest = int(cut * len(trades))
    served = [trade for trade in trades[exchange.oldest :] if int(trade.id) > position]
    read, coverage = await read_on(history, position)
    assert read == served
    claimed = [id for after, upto in coverage.intervals for id in range(after + 1, upto + 1)]
    assert claimed == [int(trade.id) for trade in served]


@pagings
@given(trades=histories, moment=st.integers(-10, 500_000), cut=st.floats(0, 1))
async def test_a_time_is_found(pages: Pages, trades: list[Trade], moment: int, cut: float) -> None:
    exchange = Exchange(pages, trades)
    exchange.oldest = int(cut * len(trades))
    served = [trade for trade in trades[exchange.oldest :] if trade.timestamp >= FIRST + moment]
    found = await numbered(exchange).first_since("X", FIRST + moment)
    if served:
        assert found == int(served[0].id)
    elif exchange.oldest < len(trades):
        assert found == int(trades[-1].id) + 1
    assert exchange.requests < 60


@pagings
async def test_a_place_in_a_long_history_is_found_with_few_requests(pages: Pages) -> None:
    steps = [0, 3, 700, 0, 12, 40_000, 1, 1, 9, 2] * 10_000
    exchange = Exchange(pages, trades_of(steps, 5_000))
    page = await numbered(exchange).page("X", Cursor(73_210))
    assert [int(trade.id) for trade in page.trades][:3] == [73_211, 73_212, 73_213]
    assert page.covers.intervals[0].after == 73_210
    assert page.more
    assert exchange.requests <= (12 if pages == "since" else 1)


@pagings
async def test_a_first_page_begins_where_it_should(pages: Pages) -> None:
    exchange = Exchange(pages, trades_of([5] * 50, 100))
    exchange.oldest = 20

    async def first(start: Start) -> list[int]:
        return [int(trade.id) for trade in (await numbered(exchange).page("X", start)).trades]

    assert await first(Start("now")) == [149]
    assert await first(Start("earliest")) == list(range(120, 130))
    assert await first(Start(FIRST + 5 * 41)) == list(range(140, 150))
