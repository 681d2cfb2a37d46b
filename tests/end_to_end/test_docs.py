"""Every command, snippet and table of the documentation works as it stands there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
import urllib.request
from decimal import Decimal
from pathlib import Path

import pytest

from collection import clock
from collection.loading import load_feeds
from collection.quotes import RedisPublisher
from collection.records import Quote
from collection.settings_table import settings_table
from collection.simulator import Simulator
from collection.simulator.faults import FAULTS
from collection.storage import open_storage
from tests.conftest import ROOT
from tests.end_to_end.nodes import Nodes
from tests.end_to_end.test_commands import collection, processes_of
from tests.simulation import make_collector, make_factory, make_tape, until

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


PLUGINS = "plugins.md"
"""Its files are installed and run in test_plugins.py."""


def blocks(language: str) -> list[tuple[str, str]]:
    """All fenced blocks of a language, with the page that has them."""
    return [
        (page.name, block)
        for page in PAGES
        for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ]


def commands() -> list[str]:
    """All command lines, without comments."""
    lines = [shlex.join(shlex.split(line, comments=True)) for _, block in blocks("sh") for line in block.splitlines()]
    return sorted({line for line in lines if line})


# What starts and goes on is started and watched here; the others run to their end below.
STAYING = {
    "celery -A workers worker -Q streams -c 500 -l info": "ready.",
    "celery -A workers worker -Q polls,control,backfill,quotes -l info": "ready.",
    "celery -A beat_schedule beat -l info": "this one sends",
    "celery -A workers flower": "Visit me at http",
    "collection simulate --market BTC/USDT --market ETH/USDT --rate 50 --port 8099": "at http://127.0.0.1:8099",
    "collection simulate --tape XRP/ETH=tape.csv --speed 1000 --port 8098": "at http://127.0.0.1:8098",
    "collection quote 'BTC*' --watch": "no trade in the last 1h",
    "collection tail 'trades:*' --position trades.position --format csv": "no series is like trades:* yet",
}
# What the others print after some seconds of the simulation: a pattern for each.
ENDING = {
    "collection series": r"(.*\n){6}",  # a header and five
    "collection query trades:binance:BTC/USDT --last 5": r"(.*\n){6}",
    "collection bars trades:binance:BTC/USDT --width 1s --last 5": r"time \(UTC\).*\n(.*\n){5}",
    "collection bars trades:binance:BTC/USDT --width 5m --last 20": r"time \(UTC\).*\n(.*\n){1,2}",
    "collection bars trades:binance:BTC/USDT --check": "",
    "collection audit trades:binance:BTC/USDT": r"(.*\n){10,}complete: .*\n",
    "collection quote": r"feed +price +status .*\n(BTC-USDT.* (ok|degraded) .*\n){2}ETH-USDT .*\n",
    "collection explain BTC-USDT": r"BTC-USDT  \d.*  vwap of 5m of trades:binance:BTC/USDT\n(.*\n)?",
    "collection gaps": "",
    "collection lag": r"series +p50 .*\n(trades:.* ms .* s ago\n){5}(.*\n)*",
    "collection counters trades:binance:BTC/USDT": r"series +counted.*\n(.*\n)+",
    "collection spool": "",
    "collection export trades:binance:BTC/USDT --start 2026-01-31 --output trades.csv": "",
    "collection export trades:binance:BTC/USDT --format parquet --output trades.parquet": "",
    "collection export trades:binance:BTC/USDT --width 1m --format arrow --output bars.arrow": "",
    "collection plot trades:binance:BTC/USDT": r"trades:binance:BTC/USDT .*\n(.*\n){22}",
    "collection plot trades:binance:BTC/USDT --start 2026-01-31 --width 5m": r"trades:binance:BTC/USDT .*\n(.*\n){22}",
}
ELSEWHERE = {
    "make up": "in a fresh clone, by hand: it installs from the network; the command that it runs is tested with it",
    "make test": "it runs this test",
    ". .venv/bin/activate": "the tests run in it",
    "export COLLECTION_URL=redis://localhost:6379/0 COLLECTION_FEEDS=feeds.toml": "the tests have a Redis of their own",
    "export 'COLLECTION_STORAGE_URL=journal://$PWD/toyex.journal'": "in test_plugins.py",
    "collection plugins": "in test_plugins.py",
    "collection run feeds.toml": "in test_plugins.py",
    "collection query ticker:toyex:BTC/USD": "in test_plugins.py",
    "collection up feeds.toml": "below, with binance simulated",
    "collection status": "in test_streams.py, while streams run",
    "python examples/quoting_loop.py BTC-USD": "in test_quotes.py, while quotes are published",
    "collection backfill trades:binance:BTC/USDT --start 2026-01-01 --end 2026-01-08": "in test_backfill.py",
    "collection backfill trades:binance:BTC/USDT --start 2026-01-01 --detach": "in test_backfill.py",
    "collection backfill trades:binance:BTC/USDT --cancel": "in test_backfill.py",
    "collection audit trades:binance:BTC/USDT --truth http://127.0.0.1:8099": "below, at the simulator's own port",
}


def test_every_command_of_the_docs_is_known_here() -> None:
    assert set(commands()) == {*STAYING, *ENDING, *ELSEWHERE}


def test_make_runs_what_the_readme_says() -> None:
    for target in ("up", "test"):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
        assert {"up": "collection up --simulate", "test": "pytest"}[target] in done.stdout


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(20)


def flower_answers() -> bool:
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{os.environ['FLOWER_PORT']}/healthcheck"),
    ):
        return True
    return False


@pytest.mark.parametrize("command", sorted(STAYING))
async def test_a_command_that_stays_starts_and_ends(command: str, nodes: Nodes, tmp_path: Path) -> None:
    make_tape(tmp_path / "tape.csv", 100)
    (tmp_path / "feeds.toml").write_text((ROOT / "feeds.toml").read_text())
    program, *arguments = shlex.split(command)
    module = {"collection": "workers.cli", "celery": "celery"}[program]
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **nodes.variables, "PYTHONUNBUFFERED": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        await until(lambda: STAYING[command] in (tmp_path / "out").read_text(), 30)
        if command.endswith("flower"):  # its signal handler logs: a signal that comes while it logs itself is lost
            await until(flower_answers, 30)
    finally:
        end(process)
    assert process.returncode in (0, -signal.SIGTERM), (tmp_path / "out").read_text()


def test_the_readmes_way_from_nothing_to_a_query_works(tmp_path: Path, nodes: Nodes) -> None:
    """`make up` without the install, then the commands after it; what is real in the README is simulated here."""
    (tmp_path / "feeds.toml").write_text((ROOT / "feeds.toml").read_text())
    collection("up", "--simulate", "--duration", "8")
    for command, printed in ENDING.items():
        out = collection(*shlex.split(command)[1:]).stdout
        assert re.fullmatch(printed, out), f"{command}: {out}"
    assert processes_of(tmp_path) == []


async def test_an_audit_compares_with_the_truth_of_the_simulator(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTION_URL", redis_url)
    async with Simulator(markets=["BTC/USDT"], rate=500) as simulator:
        await until(lambda: len(simulator.published("BTC/USDT")) > 10)
        factory, storage = make_factory(simulator), open_storage(redis_url)
        await make_collector(factory, "BTC/USDT").run(storage)
        await factory.clients.close()
        storage.close()
        command = next(line for line in ELSEWHERE if "--truth" in line).replace("http://127.0.0.1:8099", simulator.url)
        done = await asyncio.to_thread(collection, *shlex.split(command)[1:])
        assert f"equal to what {simulator.url} published" in done.stdout


def test_collection_up_with_the_projects_own_feeds_file(
    tmp_path: Path, nodes: Nodes, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "feeds.toml").write_text((ROOT / "feeds.toml").read_text())
    nodes.simulator("--market", "BTC/USDT", "--market", "ETH/USDT", "--port", str(port))
    for name in ("COLLECTION_EXCHANGES", "COLLECTION_START"):
        monkeypatch.setenv(name, nodes.variables[name])
    collection("up", "feeds.toml", "--duration", "12")
    out = collection("query", "trades:binance:ETH/USDT", "--format", "csv").stdout
    assert len(out.splitlines()) > 1


def test_python_snippets_run(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTION_URL", redis_url)
    found = [(page, block) for page, block in blocks("python") if page != PLUGINS]
    assert len(found) == 5
    for page, block in found:
        exec(compile(block, page, "exec"), {})


def test_the_quotes_of_the_docs_are_computed(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    computed, _ = [block for page, block in blocks("py") if page == "quotes.md"]
    Path("feeds.toml").write_text(next(block for page, block in blocks("toml") if page == "quotes.md"))
    exec(compile(computed.replace("redis://localhost", redis_url), "quotes.md", "exec"), {})
    assert "status='missing'" in capsys.readouterr().out  # of an empty storage no number is made


def test_the_quotes_of_the_docs_are_followed(redis_url: str) -> None:
    _, followed = [block for page, block in blocks("py") if page == "quotes.md"]
    publisher = RedisPublisher(redis_url)
    publisher.publish([Quote(name="BTC-USD", at=clock.now(), price=Decimal("64000.10"), status="ok")])
    publisher.close()
    program = [sys.executable, "-uc", followed.replace("redis://localhost", redis_url)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "64000.10 ok \n"
        process.kill()


def test_toml_snippets_are_what_is_read() -> None:
    for page, block in blocks("toml"):
        if page == PLUGINS:
            continue
        if "[[feeds]]" in block:
            Path("feeds.toml").write_text(block)
            assert load_feeds("feeds.toml"), page
        else:
            tomllib.loads(block)
            Path("collection.toml").write_text(block)
            collection("settings")


def test_the_settings_are_documented_as_they_are() -> None:
    assert settings_table() in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def test_all_faults_are_documented() -> None:
    page = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
    assert [name for name in FAULTS if name not in page] == []


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_text_of_the_project_names_no_file_that_is_not_there() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    assert "redis:8" in compose
    for name in re.findall(r"^COPY ([\w./ -]+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        for part in name.split():
            assert (ROOT / part).exists(), part
