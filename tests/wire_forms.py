"""Trades in the forms in which exchanges send them: the messages of WebSockets, and the answers of REST."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from hypothesis import strategies as st

RECEIVED = 1_800_000_000_000


class Row(NamedTuple):
    """A trade as an exchange knows it."""

    id: int
    microseconds: int
    side: str
    price: str
    amount: str

    @property
    def milliseconds(self) -> int:
        return self.microseconds // 1000

    @property
    def moment(self) -> str:
        return datetime.fromtimestamp(self.microseconds // 10**6, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + (
            f"{self.microseconds % 10**6:06d}Z"
        )

    @property
    def maker(self) -> str:
        return "buy" if self.side == "sell" else "sell"


def _number(least: int) -> st.SearchStrategy[str]:
    parts = st.tuples(st.integers(least, 10**15), st.integers(0, 18))
    return parts.map(lambda part: f"{Decimal(part[0]).scaleb(-part[1]):f}")


row = st.builds(
    Row,
    st.integers(0, 2**62),
    st.integers(1_300_000_000_000_000, RECEIVED * 1000),
    st.sampled_from(["buy", "sell"]),
    _number(1),
    _number(0),
)
rows = st.lists(row, min_size=1, max_size=8)


class Form(ABC):
    """Writes what one exchange says of a market, in the digits that it is given."""

    exchange: str
    market = "BTC/USDT"
    id: str
    """The market's name on the wire, and in ccxt's list of markets."""
    socket: str
    """An address as ccxt wants it, from which it takes what the messages are of."""

    def messages(self, rows: Sequence[Row]) -> list[str]:
        """Write messages of WebSockets: one of all rows, where the exchange sends several in one."""
        return [self.message(",".join(self.event(row) for row in rows))]

    @abstractmethod
    def message(self, events: str) -> str: ...

    @abstractmethod
    def event(self, row: Row) -> str: ...

    @abstractmethod
    def row(self, row: Row) -> str:
        """Write one of REST."""

    def page(self, rows: Sequence[Row]) -> str:
        """Write an answer of REST, given the oldest first."""
        return self.answer(",".join(self.row(row) for row in reversed(rows)))

    @abstractmethod
    def answer(self, rows: str) -> str: ...


class OfBinance(Form):
    exchange, id, socket = "binance", "BTCUSDT", "wss://stream.binance.com:9443/stream"

    def messages(self, rows: Sequence[Row]) -> list[str]:
        return [self.message(self.event(row)) for row in rows]

    def message(self, events: str) -> str:
        return f'{{"stream":"btcusdt@aggTrade","data":{events}}}'

    def event(self, row: Row) -> str:
        return f'{{"e":"aggTrade","E":{RECEIVED},"s":"BTCUSDT",{self._trade(row)}}}'

    def row(self, row: Row) -> str:
        return f"{{{self._trade(row)}}}"

    def _trade(self, row: Row) -> str:
        maker = str(row.side == "sell").lower()
        return (
            f'"a":{row.id},"p":"{row.price}","q":"{row.amount}","f":1,"l":2,"T":{row.milliseconds},"m":{maker},"M":true'
        )

    def page(self, rows: Sequence[Row]) -> str:
        return self.answer(",".join(self.row(row) for row in rows))

    def answer(self, rows: str) -> str:
        return f"[{rows}]"


class OfCoinbase(Form):
    exchange, id, socket = "coinbaseexchange", "BTC-USDT", "wss://ws-feed.exchange.coinbase.com"

    def messages(self, rows: Sequence[Row]) -> list[str]:
        return [self.message(self.event(row)) for row in rows]

    def message(self, events: str) -> str:
        return events

    def event(self, row: Row) -> str:
        return (
            f'{{"type":"match","trade_id":{row.id},"maker_order_id":"ac928c66-ca53-498f-9c13-a110027a60e8",'
            f'"taker_order_id":"132fb6ae-456b-4654-b4e0-d681ac05cea1","side":"{row.maker}","size":"{row.amount}",'
            f'"price":"{row.price}","product_id":"BTC-USDT","sequence":50,"time":"{row.moment}"}}'
        )

    def row(self, row: Row) -> str:
        return (
            f'{{"trade_id":{row.id},"side":"{row.maker}","size":"{row.amount}","price":"{row.price}",'
            f'"time":"{row.moment}"}}'
        )

    def answer(self, rows: str) -> str:
        return f"[{rows}]"


class OfKraken(Form):
    exchange, id, socket = "kraken", "XBTUSDT", "wss://ws.kraken.com/v2"

    def message(self, events: str) -> str:
        return f'{{"channel":"trade","type":"update","data":[{events}]}}'

    def event(self, row: Row) -> str:
        return (
            f'{{"symbol":"BTC/USDT","side":"{row.side}","price":{row.price},"qty":{row.amount},"ord_type":"limit",'
            f'"trade_id":{row.id},"timestamp":"{row.moment}"}}'
        )

    def row(self, row: Row) -> str:
        time = f"{row.microseconds // 10**6}.{row.microseconds % 10**6:06d}123"
        return f'["{row.price}","{row.amount}",{time},"{row.side[0]}","l","",{row.id}]'

    def page(self, rows: Sequence[Row]) -> str:
        return self.answer(",".join(self.row(row) for row in rows))

    def answer(self, rows: str) -> str:
        return f'{{"error":[],"result":{{"XBTUSDT":[{rows}],"last":"1700000000000000000"}}}}'


class OfOKX(Form):
    exchange, id, socket = "okx", "BTC-USDT", "wss://ws.okx.com:8443/ws/v5/business"

    def message(self, events: str) -> str:
        return f'{{"arg":{{"channel":"trades-all","instId":"BTC-USDT"}},"data":[{events}]}}'

    def event(self, row: Row) -> str:
        return (
            f'{{"instId":"BTC-USDT","tradeId":"{row.id}","px":"{row.price}","sz":"{row.amount}","side":"{row.side}",'
            f'"source":"0","ts":"{row.milliseconds}"}}'
        )

    def row(self, row: Row) -> str:
        return self.event(row)

    def answer(self, rows: str) -> str:
        return f'{{"code":"0","msg":"","data":[{rows}]}}'


class OfBybit(Form):
    exchange, id, socket = "bybit", "BTCUSDT", "wss://stream.bybit.com/v5/public/spot"

    def message(self, events: str) -> str:
        return f'{{"topic":"publicTrade.BTCUSDT","ts":{RECEIVED},"type":"snapshot","data":[{events}]}}'

    def event(self, row: Row) -> str:
        return (
            f'{{"i":"{row.id}","T":{row.milliseconds},"p":"{row.price}","v":"{row.amount}",'
            f'"S":"{row.side.title()}","seq":4242,"s":"BTCUSDT","BT":false,"RPI":false}}'
        )

    def row(self, row: Row) -> str:
        return (
            f'{{"execId":"{row.id}","symbol":"BTCUSDT","price":"{row.price}","size":"{row.amount}",'
            f'"side":"{row.side.title()}","time":"{row.milliseconds}","isBlockTrade":false,"isRPITrade":false,'
            '"seq":"4242"}'
        )

    def answer(self, rows: str) -> str:
        return (
            f'{{"retCode":0,"retMsg":"OK","result":{{"category":"spot","list":[{rows}]}},"retExtInfo":{{}},'
            f'"time":{RECEIVED}}}'
        )


FORMS = {form.exchange: form for form in (OfBinance(), OfCoinbase(), OfKraken(), OfOKX(), OfBybit())}
