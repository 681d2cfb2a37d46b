"""The plug-ins of docs/plugins.md, installed by pip as they stand there, and used by the commands."""

from __future__ import annotations

import csv
import io
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.end_to_end.test_commands import COLLECTION, collection
from tests.plugin_package import install

KEY = "ticker:toyex:BTC/USD"


@pytest.fixture
def toyex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the page, installed, with its feeds file and settings."""
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", page, re.DOTALL))
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    Path("feeds.toml").write_text(files.pop("feeds.toml"))
    install(tmp_path / "installed", project["name"], project["entry-points"], files)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "installed"))
    monkeypatch.setenv("COLLECTION_STORAGE_URL", f"journal://{tmp_path}/toyex.journal")


@pytest.mark.usefixtures("toyex")
def test_all_four_are_listed_checked_run_and_read(tmp_path: Path) -> None:
    listed = collection("plugins").stdout
    for line in (
        r"feed type +toy +toyex 1\.0 +toyex\.feed:ToyFeed +ok",
        r"exchange +toyex +toyex 1\.0 +toyex\.client:ToyClient +ok",
        r"kind of data +ticker +toyex 1\.0 +toyex\.collector:TickerCollector +ok",
        r"storage +journal +toyex 1\.0 +toyex\.storage:JournalStorage +ok",
    ):
        assert re.search(line, listed), listed
    assert re.search(rf"btc +toy +{KEY} +polled every 1s", collection("check", "feeds.toml").stdout)
    running = subprocess.Popen([*COLLECTION, "run", "feeds.toml"], stderr=subprocess.PIPE, text=True)
    journal, limit = tmp_path / "toyex.journal", time.monotonic() + 40
    while not journal.exists() or journal.read_bytes().count(b"\n") < 2:
        assert time.monotonic() < limit
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=20)[1]
    assert running.returncode == 0, said
    rows = list(csv.reader(io.StringIO(collection("query", KEY, "--format", "csv").stdout)))
    assert rows[0] == ["timestamp_ms", "value"]
    assert len(rows) > 2
    assert all(99 <= float(price) <= 101 for _, price in rows[1:])
    program = (
        "from collection.loading import load_feeds; from collection.storage import open_storage\n"
        f"with open_storage('journal://{journal}') as storage: print(load_feeds('feeds.toml')[0].quote(storage).status)"
    )
    quoted = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert quoted.stdout == "ok\n", quoted.stderr


@pytest.mark.usefixtures("toyex")
def test_what_is_wrong_with_names_of_plugins_is_told_as_with_others() -> None:
    Path("feeds.toml").write_text('[[feeds]]\nname = "btc"\ntype = "toi"\nmarket = "BTC/USD"\n')
    told = collection("check", "feeds.toml", code=1).stderr
    assert told.startswith("Error: feeds.toml: feeds[1] 'btc': type: unknown type 'toi'; did you mean 'toy'?")
    Path("feeds.toml").write_text('[[feeds]]\nname = "btc"\ntype = "toy"\nmarket = "BTCUSD"\n')
    told = collection("check", "feeds.toml", code=1).stderr
    assert told.startswith("Error: collector 'ticker:toyex:BTCUSD': 'BTCUSD' is no market")


def test_without_plugins_the_list_says_so() -> None:
    assert "no plug-ins are installed" in collection("plugins").stderr
