"""Plug-ins that are broken, lack something or clash: what is said of them, and when."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collection import plugins
from collection.clients import CEXClient, Clients
from collection.data_collectors import CollectorFactory, DataSourceCollector
from collection.errors import ConfigurationError
from collection.feeds import FEED_TYPES, PriceFeed, feed_types
from collection.loading import load_feeds
from collection.names import check_exchange, known_exchanges, streams_trades
from collection.settings import Settings, load_settings
from collection.storage import MemoryStorage, open_storage
from tests.plugin_package import EntryPoints, write

Installer = Callable[..., None]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installer]:
    """Lays down a distribution where this process finds it, with one module of its own name."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def install(name: str, entry_points: EntryPoints, module: str = "") -> None:
        names.append(name)
        write(tmp_path, name, entry_points, {f"{name}.py": module})
        forget()

    forget()
    yield install
    for name in names:
        sys.modules.pop(name, None)
    forget()


def forget() -> None:
    for cached in (plugins._installed, plugins._loaded, streams_trades):
        cached.cache_clear()


STORAGE = """
from collection.storage import MemoryStorage
class Mine(MemoryStorage):
    def __init__(self, url, *, spool, spool_limit):
        super().__init__()
        self.url = url
"""
CLIENT = """
from collection.clients.native_client import NativeClient
from collection.clients.kraken import Kraken
class Mine(NativeClient):
    def __init__(self, settings, budgets):
        super().__init__(Kraken(), settings, budgets)
        self.proxy = settings.proxy
"""


def test_a_storage_is_opened_by_its_scheme_with_all_that_is_asked_for(installed: Installer, tmp_path: Path) -> None:
    installed("mine", {plugins.GROUPS["storages"]: {"mine": "mine:Mine"}}, STORAGE)
    storage = open_storage("mine://u:secret@x", spool=tmp_path)
    assert isinstance(storage, MemoryStorage)
    assert vars(storage)["url"] == "mine://u:secret@x"
    with pytest.raises(ConfigurationError, match=r"redis\+sentinel://, mine://$"):
        open_storage("mime://u:secret@x")


async def test_an_exchange_of_a_plugin_has_settings_collectors_and_one_client(installed: Installer) -> None:
    installed("mine", {plugins.GROUPS["clients"]: {"mineex": "mine:Mine"}}, CLIENT)
    assert check_exchange("mineex") == "mineex"
    settings = load_settings(exchanges={"mineex": {"proxy": "http://127.0.0.1:1"}})
    clients = Clients(settings)
    client = clients.get("mineex", "BTC/USD")
    assert client is clients.get("mineex", "ETH/USD")
    assert vars(client)["proxy"].get_secret_value() == "http://127.0.0.1:1"
    factory = CollectorFactory(settings, clients)
    assert factory.build("trades:mineex:BTC/USD").interval is None
    assert factory.build("trades:mineex:BTC/USD", "poll").interval == 5
    await clients.close()
    with pytest.raises(ValueError, match=r"'minex' is no exchange .*; did you mean 'mineex'"):
        check_exchange("minex")


def test_a_client_that_can_only_be_polled_is_polled(installed: Installer) -> None:
    installed("mine", {plugins.GROUPS["clients"]: {"mineex": "mine:Mine"}}, f"{CLIENT}    streams = False\n")
    assert CollectorFactory(Settings()).build("trades:mineex:BTC/USD").interval == 5
    with pytest.raises(ConfigurationError, match=r"exchanges\.mineex\.transport: its trades can't be streamed"):
        CollectorFactory(Settings()).build("trades:mineex:BTC/USD", "stream")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("raise RuntimeError('no licence\\nat all')", "RuntimeError: no licence"),
        ("import nothing_like_that", "ModuleNotFoundError: No module named 'nothing_like_that'"),
        ("", "AttributeError: module 'mine' has no attribute 'Mine'"),
        ("class Mine: pass", "it is no class of DataSourceCollector"),
        ("Mine = 5", "it is no class of DataSourceCollector"),
        (
            "from collection.data_collectors import DataSourceCollector as D\nclass Mine(D): pass",
            "Mine lacks what DataSourceCollector asks for: run",
        ),
    ],
)
def test_a_broken_plugin_is_one_error_where_it_is_needed_or_listed(
    installed: Installer, module: str, said: str
) -> None:
    group = plugins.GROUPS["collectors"]
    installed("mine", {group: {"mine": "mine:Mine"}}, module)
    factory = CollectorFactory(Settings())
    factory.build("trades:kraken:BTC/USD")
    expected = f"plug-in of mine 1.0, entry point {group}: mine = mine:Mine: {said}"
    with pytest.raises(ConfigurationError) as error:
        factory.build("mine:x:A/B")
    assert error.value.problems == (expected,)
    [one] = plugins.listed("collectors", DataSourceCollector, ["trades"])
    assert one.problem == expected


def test_a_broken_feed_type_is_told_with_the_feeds_that_need_it(installed: Installer) -> None:
    installed("mine", {plugins.GROUPS["feeds"]: {"mine": "mine:Mine"}})
    Path("feeds.toml").write_text('[[feeds]]\nname = "a"\ntype = "mine"\n\n[[feeds]]\nname = "b"\ntype = "min"\n')
    with pytest.raises(ConfigurationError) as error:
        load_feeds("feeds.toml")
    broken, unknown = error.value.problems
    assert broken.startswith(
        "feeds.toml: feeds[1] 'a': type: plug-in of mine 1.0, entry point quoting_collection.feeds"
    )
    assert unknown == "feeds.toml: feeds[2] 'b': type: unknown type 'min'; did you mean 'mine'?"


def test_a_name_that_two_bring_is_an_error_that_names_both(installed: Installer) -> None:
    for name in ("mine", "yours"):
        installed(name, {plugins.GROUPS["storages"]: {"mine": f"{name}:Mine"}}, STORAGE)
    with pytest.raises(
        ConfigurationError, match=r"'mine' is brought by mine 1\.0 and yours 1\.0: uninstall one of them"
    ):
        open_storage("mine://")


def test_what_is_built_in_stays_and_the_list_says_so(installed: Installer) -> None:
    built_in = {"feeds": "cex_trades", "clients": "gemini", "collectors": "trades", "storages": "memory"}
    points = {plugins.GROUPS[what]: {name: "mine:Mine"} for what, name in built_in.items()}
    installed("mine", points, "raise RuntimeError")
    assert type(open_storage("memory://")) is MemoryStorage
    CollectorFactory(Settings()).build("trades:gemini:BTC/USD")
    assert feed_types().count("cex_trades") == 1
    [feed] = plugins.listed("feeds", PriceFeed, FEED_TYPES)
    assert feed.problem is not None
    assert feed.problem.endswith("'cex_trades' is built in, and stays so: give it another name")
    [client] = plugins.listed("clients", CEXClient, known_exchanges())
    assert client.problem is not None


def test_importing_looks_nothing_up() -> None:
    program = (
        "from collection import plugins; plugins.entry_points = None\n"
        "from collection.data_collectors import CollectorFactory; from collection.settings import Settings\n"
        "CollectorFactory(Settings()).build('trades:kraken:BTC/USD')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
