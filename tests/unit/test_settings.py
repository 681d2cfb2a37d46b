"""Settings: sources in their order, secrets hidden, and nothing misspelt in silence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from collection.errors import ConfigurationError
from collection.settings import load_settings


def mistakes() -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    return list(caught.value.problems)


def test_the_environment_goes_before_dotenv_and_that_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("collection.toml").write_text('start = "earliest"\nfeeds = "c.toml"\n[exchanges.kraken]\noptions = {a = 1}\n')
    Path(".env").write_text("COLLECTION_FEEDS=b.toml\nCOLLECTION_INTERVALS__TRADES=2s\nUNRELATED=1\n")
    monkeypatch.setenv("COLLECTION_INTERVALS__TRADES", "250ms")
    monkeypatch.setenv("COLLECTION_EXCHANGES__KRAKEN__TRANSPORT", "poll")
    settings = load_settings()
    assert (settings.start, settings.feeds, settings.intervals.trades) == ("earliest", Path("b.toml"), 0.25)
    assert settings.exchange("kraken").options == {"a": 1}
    assert settings.exchange("kraken").transport == "poll"
    assert settings.exchange("okx").transport == "auto"


def test_storage_and_broker_share_one_url_unless_they_have_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTION_URL", "redis://one/0")
    assert (load_settings().storage(), load_settings().broker()) == ("redis://one/0", "redis://one/0")
    monkeypatch.setenv("COLLECTION_BROKER_URL", "unix://:pw@/run/redis.sock?db=3")
    assert load_settings().storage() == "redis://one/0"
    assert load_settings().broker() == "redis+socket://:pw@/run/redis.sock?virtual_host=3"


def test_no_secret_shows_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "EXCHANGES__BINANCE__API_KEY", "EXCHANGES__BINANCE__SECRET", "EXCHANGES__BINANCE__PROXY"):
        monkeypatch.setenv(f"COLLECTION_{name}", "http://:hush@host")
    assert "hush" not in repr(load_settings())
    assert "hush" not in str(load_settings())


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("URLL", "x", "COLLECTION_URLL: unknown; did you mean 'COLLECTION_URL'?"),
        (
            "EXCHANGES__BINANCE__TRANSPROT",
            "poll",
            "COLLECTION_EXCHANGES__BINANCE__TRANSPROT: unknown; did you mean 'transport'?",
        ),
        (
            "EXCHANGES__BINANCE__TRANSPORT",
            "pol",
            "COLLECTION_EXCHANGES__BINANCE__TRANSPORT: input should be 'auto', 'poll' or 'stream', not 'pol'",
        ),
        ("START", "soon", "COLLECTION_START: 'soon' is neither 'now', 'earliest' nor a time such as 2026-01-31T12:00"),
        ("INTERVALS__TRADES", "1ms", "COLLECTION_INTERVALS__TRADES: 0.001 s is shorter than 0.05 s"),
        (
            "EXCHANGES__KRAKN__PROXY",
            "http://h",
            "COLLECTION_EXCHANGES__KRAKN__PROXY: 'krakn' is no exchange that ccxt knows; did you mean 'kraken'?",
        ),
        ("INTERVALS__TRADES", "0s", "COLLECTION_INTERVALS__TRADES: '0s' is no duration above zero"),
        (
            "EXCHANGES__BINANCE__URLS",
            "3",
            "COLLECTION_EXCHANGES__BINANCE__URLS: input should be a valid dictionary, not 3",
        ),
    ],
)
def test_a_wrong_variable_is_named_with_what_was_meant(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    monkeypatch.setenv(f"COLLECTION_{name}", value)
    assert mistakes() == [f"environment: {line}"]


def test_a_wrong_line_of_dotenv_is_named() -> None:
    Path(".env").write_text("COLLECTION_FEED=x\n")
    assert mistakes() == [".env: COLLECTION_FEED: unknown; did you mean 'COLLECTION_FEEDS'?"]


def test_all_mistakes_of_the_file_are_told_at_once() -> None:
    Path("collection.toml").write_text(
        'urll = 3\n[exchanges.binance]\ntransport = "polll"\nurl = 1\n[intervals]\ntrade = "5s"\n'
    )
    assert sorted(mistakes()) == [
        "collection.toml: exchanges.binance.transport: input should be 'auto', 'poll' or 'stream', not 'polll'",
        "collection.toml: exchanges.binance.url: unknown; did you mean 'urls'?",
        "collection.toml: intervals.trade: unknown; did you mean 'trades'?",
        "collection.toml: urll: unknown; did you mean 'url'?",
    ]


def test_a_secret_of_the_wrong_type_is_not_shown() -> None:
    Path("collection.toml").write_text("[exchanges.binance]\nsecret = 123456\n")
    [line] = mistakes()
    assert line.startswith("collection.toml: exchanges.binance.secret: ")
    assert "123456" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URL", "hush"),
        ("URL", "redis://:hush#x@127.0.0.1:1/0"),
        ("STORAGE_URL", "redis:hush"),
        ("EXCHANGES__BINANCE__PROXY", "user:hush@host:1"),
        ("EXCHANGES__BINANCE__PROXY", "ftp://user:hush@host:1"),
    ],
)
def test_a_malformed_url_is_an_error_that_shows_none_of_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"COLLECTION_{name}", value)
    [line] = mistakes()
    assert line.startswith(f"environment: COLLECTION_{name}: is no URL such as ")
    assert "hush" not in line


def test_a_file_that_is_no_toml_is_named() -> None:
    Path("collection.toml").write_text("url")
    [line] = mistakes()
    assert line.startswith("collection.toml: ")


def test_without_any_redis_one_line_says_what_to_do() -> None:
    with pytest.raises(
        ConfigurationError, match=r"^no Redis: run `collection up` in this folder, or set COLLECTION_URL="
    ):
        load_settings().storage()


def test_importing_starts_nothing_and_needs_nothing(tmp_path: Path) -> None:
    code = "import collection.cli, workers.tasks, beat_schedule"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
