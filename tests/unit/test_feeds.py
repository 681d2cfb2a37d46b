"""The feeds file: every mistake, all at once, each with file, table and field."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from collection.data_collectors import CollectorFactory
from collection.errors import ConfigurationError
from collection.feeds import CEXTradesFeed
from collection.loading import build_collector, load_data_source_collectors, load_feeds
from collection.settings import load_settings

GOOD = """
[[feeds]]
name = "btc"
type = "cex_trades"
exchange = "binance"
market = "BTC/USDT"
window = "5m"

[[feeds]]
name = "btc-long"
type = "cex_trades"
exchange = "binance"
market = "BTC/USDT"
window = 3600

[[feeds]]
name = "eth"
type = "cex_trades"
exchange = "kraken"
market = "ETH/USD"
window = "1h30m"
"""


def write(text: str) -> Path:
    path = Path("feeds.toml")
    path.write_text(text)
    return path


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_data_source_collectors(write(text))
    return list(caught.value.problems)


def test_feeds_are_read_in_order_with_their_fields() -> None:
    feeds = load_feeds(write(GOOD))
    assert [(feed.name, feed.type) for feed in feeds] == [(n, "cex_trades") for n in ("btc", "btc-long", "eth")]
    assert isinstance(feeds[2], CEXTradesFeed)
    assert (feeds[2].exchange, feeds[2].market, feeds[2].window) == ("kraken", "ETH/USD", 5400.0)


def test_feeds_that_need_the_same_collector_share_one() -> None:
    collectors = load_data_source_collectors(write(GOOD))
    assert [collector.id for collector in collectors] == ["trades:binance:BTC/USDT", "trades:kraken:ETH/USD"]
    assert [collector.interval for collector in collectors] == [None, None]  # streamed where ccxt can


def test_a_collector_is_built_from_its_id_alone() -> None:
    assert build_collector("trades:kraken:ETH/USD").id == "trades:kraken:ETH/USD"


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ("trade:binance:BTC/USDT", "unknown kind of data 'trade'; did you mean 'trades'?"),
        ("trades:binnance:BTC/USDT", "'binnance' is no exchange that ccxt knows; did you mean 'binance'?"),
        ("trades:binance", "'' is no market such as 'BTC/USDT'"),
        ("", "unknown kind of data ''"),
    ],
)
def test_a_wrong_id_is_a_clear_error(identity: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_collector(identity)
    assert f"collector {identity!r}: {message}" in str(caught.value)


def test_all_mistakes_are_told_at_once_with_file_table_and_field() -> None:
    assert mistakes(
        """
        title = "x"
        [[feeds]]
        name = "btc"
        type = "cex_trades"
        exchange = "binnance"
        market = "BTCUSDT"
        window = "60d"
        [[feeds]]
        name = "btc"
        type = "cex_trade"
        [[feeds]]
        type = "cex_trades"
        exchange = "binance"
        market = "btc/usdt"
        window = "soon"
        windw = 3
        [[feeds]]
        name = 3
        exchange = 4
        type = "cex_trades"
        market = "BTC/USD"
        window = 300
        """
    ) == [
        "feeds.toml: title: unknown; known: feeds",
        "feeds.toml: feeds[1] 'btc': exchange: 'binnance' is no exchange that ccxt knows; did you mean 'binance'?",
        "feeds.toml: feeds[1] 'btc': market: 'BTCUSDT' is no market such as 'BTC/USDT' "
        "(base/quote, or base/quote:settle)",
        "feeds.toml: feeds[1] 'btc': window: 60d is longer than trades are kept (retention.trades = 30d)",
        "feeds.toml: feeds[2] 'btc': name: feeds[1] has it already",
        "feeds.toml: feeds[2] 'btc': type: unknown type 'cex_trade'; did you mean 'cex_trades'?",
        "feeds.toml: feeds[3]: name: missing",
        "feeds.toml: feeds[3]: market: 'btc/usdt' is no market; did you mean 'BTC/USDT'?",
        "feeds.toml: feeds[3]: window: 'soon' is no duration such as '5s', '1m30s', '2h' or '30d'",
        "feeds.toml: feeds[3]: windw: unknown; did you mean 'window'?",
        "feeds.toml: feeds[4]: name: input should be a valid string, not 3",
        "feeds.toml: feeds[4]: exchange: input should be a valid string, not 4",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "feeds.toml: it has no [[feeds]] table"),
        ("feeds = 3", "feeds.toml: feeds: write each feed as a table [[feeds]]"),
        ("[[feeds]\n", "feeds.toml: Expected ']]'"),
        ("[[feeds]]\nname='a'", "feeds.toml: feeds[1] 'a': type: missing"),
        ("[[feeds]]\nname='a'\ntype=3", "feeds.toml: feeds[1] 'a': type: should be text, not 3"),
    ],
)
def test_a_file_that_is_no_feeds_file_is_a_clear_error(text: str, message: str) -> None:
    [line] = mistakes(text)
    assert line.startswith(message)


def test_a_missing_file_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: there is no such feeds file"):
        load_feeds("nowhere.toml")


def test_a_window_may_be_as_long_as_the_retention_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTION_RETENTION__TRADES", "60d")
    write(GOOD.replace("5m", "60d"))
    assert len(load_feeds("feeds.toml", CollectorFactory(load_settings()))) == 3


def test_a_transport_that_an_exchange_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTION_EXCHANGES__BTCBOX__TRANSPORT", "stream")
    [line] = mistakes(GOOD.replace('"binance"', '"btcbox"'))
    assert line == ("exchanges.btcbox.transport: its trades can't be streamed: make it 'auto' or 'poll', not 'stream'")


def test_a_transport_that_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTION_EXCHANGES__BINANCE__TRANSPORT", "poll")
    monkeypatch.setenv("COLLECTION_EXCHANGES__KRAKEN__TRANSPORT", "stream")
    collectors = load_data_source_collectors(write(GOOD))
    assert [collector.interval for collector in collectors] == [5.0, None]


def test_reading_feeds_does_not_import_ccxt() -> None:
    write(GOOD)
    code = "import sys; from collection.loading import *; load_feeds('feeds.toml'); sys.exit('ccxt' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
