"""A simulated exchange, a Redis and settings that point at both, for real Celery processes."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collection.simulator import Simulator
from collection.storage import RedisStorage
from tests.end_to_end.nodes import Nodes

FEED = '[[feeds]]\nname = "{0}"\ntype = "cex_trades"\nexchange = "binance"\nmarket = "{0}"\nwindow = "5m"\n\n'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(autouse=True)
def _own_flower_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run beside each other, and Flower's own port is one."""
    monkeypatch.setenv("FLOWER_PORT", str(free_port()))


@pytest.fixture
def write_feeds(tmp_path: Path) -> Callable[..., None]:
    def write(*markets: str) -> None:
        (tmp_path / "feeds.toml").write_text("".join(FEED.format(market) for market in markets))

    return write


@pytest.fixture
def nodes(tmp_path: Path, redis_url: str, port: int) -> Iterator[Nodes]:
    """Nodes whose exchange is a simulator at `port`, polled every second from its first trade on."""
    exchange = {
        "urls": Simulator(markets=["ANY/ONE"], port=port).ccxt_urls(),
        "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
        "transport": "poll",
    }
    started = Nodes(
        tmp_path,
        {
            "COLLECTION_URL": redis_url,
            "COLLECTION_FEEDS": "feeds.toml",
            "COLLECTION_START": "earliest",
            "COLLECTION_INTERVALS": '{"trades": "1s"}',
            "COLLECTION_EXCHANGES": json.dumps({"binance": exchange}),
        },
    )
    yield started
    started.teardown()


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStorage]:
    with RedisStorage(redis_url) as opened:
        yield opened
