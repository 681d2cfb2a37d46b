"""What five exchanges send of the same trades: as messages of their WebSockets and as answers of REST."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import msgspec
from hypothesis import strategies as st

from collection.clients.digits import plain
from collection.clients.wire import Wire
from collection.clients.wires import WIRES
from collection.records import Side, Trade

MARKET = "BTC/USDT"
RECEIVED = 1_795_000_000_000
_FIRST = 1_483_228_800_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Row(NamedTuple):
    """A trade as it happened: its time is in nanoseconds, its numbers are as they are written at full length."""

    id: int
    time: int
    side: Side
    price: str
    amount: str


class Dialect(NamedTuple):
    """How an exchange writes rows: live in one message or in several, over REST in one answer."""

    live: Callable[[Sequence[Row]], Sequence[bytes]]
    page: Callable[[Sequence[Row]], bytes]
    cuts_zeros: bool = False


def made(exchange: str) -> Wire:
    """Return a wire that knows the market."""
    wire = WIRES[exchange]()
    if wire.listing() is not None:
        wire.learn(b'{"error":[],"result":{"XBTUSDT":{"altname":"XBTUSDT","wsname":"XBT/USDT"}}}')
    return wire


def lines(exchange: str, rows: Sequence[Row]) -> list[str]:
    """Return the lines of the records that rows should become."""
    number = (lambda text: plain(Decimal(text))) if DIALECTS[exchange].cuts_zeros else Decimal
    return [Trade(row.time // 10**6, str(row.id), row.side, number(row.price), number(row.amount)).line for row in rows]


@st.composite
def _numbers(draw: st.DrawFn) -> str:
    places = draw(st.integers(0, 12))
    zeros = draw(st.integers(0, places))
    digits = draw(st.integers(1, 10 ** draw(st.integers(1, 18))))
    text = str(digits).rjust(places - zeros + 1, "0")
    whole, rest = text[: len(text) - (places - zeros)], text[len(text) - (places - zeros) :]
    return f"{whole}.{rest}{'0' * zeros}" if places else whole


_ids = st.integers(1, 999) | st.integers(1, 2**62)
_times = st.one_of(
    st.integers(_FIRST // 1000, RECEIVED // 1000).map(lambda seconds: seconds * 10**9),
    st.integers(_FIRST, RECEIVED).map(lambda milliseconds: milliseconds * 10**6),
    st.integers(_FIRST * 10**6, RECEIVED * 10**6),
    st.integers(_FIRST, RECEIVED).map(lambda milliseconds: milliseconds * 10**6 - 1),
)


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Draw trades by ascending (time, id)."""
    several = draw(st.integers(1, 5))
    first = draw(_ids)
    times = sorted(draw(st.lists(_times, min_size=several, max_size=several)))
    sides: list[Side] = ["buy", "sell"]
    return [
        Row(first + number, time, draw(st.sampled_from(sides)), draw(_numbers()), draw(_numbers()))
        for number, time in enumerate(times)
    ]


def _short(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _json_number(text: str) -> str:
    short = _short(text)
    return short if "." in short else f"{short}.0"


def _iso(nanoseconds: int, fraction: bool) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest // 1000:06d}Z" if fraction or rest else f"{text}Z"


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9 // 100:07d}"


def _encode(message: object) -> bytes:
    return msgspec.json.encode(message)


def _binance_row(row: Row) -> dict[str, object]:
    number, time, side, price, amount = row
    maker = {"T": time // 10**6, "m": side == "sell", "M": True}
    return {"a": number, "p": price, "q": amount, "f": number + 7, "l": number + 9, **maker}


def _binance_live(rows: Sequence[Row]) -> Sequence[bytes]:
    head = {"e": "aggTrade", "E": RECEIVED, "s": "BTCUSDT"}
    return [_encode({"stream": "btcusdt@aggTrade", "data": {**head, **_binance_row(row)}}) for row in rows]


def _binance_page(rows: Sequence[Row]) -> bytes:
    return _encode([_binance_row(row) for row in rows])


_MAKERS = {"buy": "sell", "sell": "buy"}


def _coinbase_live(rows: Sequence[Row]) -> Sequence[bytes]:
    return [
        _encode(
            {
                "type": "match",
                "trade_id": row.id,
                "maker_order_id": "ac928c66-ca53-498f-9c13-a110027a60e8",
                "taker_order_id": "132fb6ae-456b-4654-b4e0-d681ac05cea1",
                "side": _MAKERS[row.side],
                "size": _short(row.amount),
                "price": _short(row.price),
                "product_id": "BTC-USDT",
                "sequence": 50,
                "time": _iso(row.time, True),
            }
        )
        for row in rows
    ]


def _coinbase_page(rows: Sequence[Row]) -> bytes:
    names = ("trade_id", "side", "size", "price", "time")
    sent = [(row.id, _MAKERS[row.side], row.amount, row.price, _iso(row.time, False)) for row in rows]
    return _encode([dict(zip(names, one, strict=True)) for one in reversed(sent)])


def _kraken_live(rows: Sequence[Row]) -> Sequence[bytes]:
    data = [
        f'{{"symbol":"BTC/USDT","side":"{row.side}","price":{_json_number(row.price)},"qty":{_json_number(row.amount)},'
        f'"ord_type":"limit","trade_id":{row.id},"timestamp":"{_iso(row.time, True)}"}}'
        for row in rows
    ]
    return [f'{{"channel":"trade","type":"update","data":[{",".join(data)}]}}'.encode()]


def _kraken_page(rows: Sequence[Row]) -> bytes:
    sent = [f'["{row.price}","{row.amount}",{_seconds(row.time)},"{row.side[0]}","l","",{row.id}]' for row in rows]
    last = rows[-1].time if rows else 0
    return f'{{"error":[],"result":{{"XBTUSDT":[{",".join(sent)}],"last":"{last}"}}}}'.encode()


def _okx_row(row: Row) -> dict[str, str]:
    number, time, side, price, amount = row
    return {
        "instId": "BTC-USDT",
        "tradeId": str(number),
        "px": price,
        "sz": amount,
        "side": side,
        "ts": str(time // 10**6),
        "source": "0",
    }


def _okx_live(rows: Sequence[Row]) -> Sequence[bytes]:
    argument = {"channel": "trades-all", "instId": "BTC-USDT"}
    return [_encode({"arg": argument, "data": [_okx_row(row) for row in rows]})]


def _okx_page(rows: Sequence[Row]) -> bytes:
    return _encode({"code": "0", "msg": "", "data": [_okx_row(row) for row in reversed(rows)]})


def _bybit_live(rows: Sequence[Row]) -> Sequence[bytes]:
    data = [
        {
            "i": str(row.id),
            "T": row.time // 10**6,
            "p": row.price,
            "v": row.amount,
            "S": row.side.title(),
            "seq": 5,
            "s": "BTCUSDT",
            "BT": False,
            "RPI": False,
        }
        for row in rows
    ]
    return [_encode({"topic": "publicTrade.BTCUSDT", "ts": RECEIVED, "type": "snapshot", "data": data})]


def _bybit_page(rows: Sequence[Row]) -> bytes:
    sent = [
        {
            "execId": str(row.id),
            "symbol": "BTCUSDT",
            "price": row.price,
            "size": row.amount,
            "side": row.side.title(),
            "time": str(row.time // 10**6),
            "isBlockTrade": False,
            "isRPITrade": False,
            "seq": "5",
        }
        for row in reversed(rows)
    ]
    result = {"category": "spot", "list": sent}
    return _encode({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": RECEIVED})


DIALECTS = {
    "binance": Dialect(_binance_live, _binance_page),
    "coinbaseexchange": Dialect(_coinbase_live, _coinbase_page, cuts_zeros=True),
    "kraken": Dialect(_kraken_live, _kraken_page, cuts_zeros=True),
    "okx": Dialect(_okx_live, _okx_page),
    "bybit": Dialect(_bybit_live, _bybit_page),
}
