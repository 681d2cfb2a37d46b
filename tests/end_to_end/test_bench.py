"""The benchmark of ingest runs, and each of its programs stores what it was sent."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.ingest import report
from bench.ingest_contenders import Contender, Ours, Streams
from bench.ingest_profile import profile
from bench.ingest_run import Plan, run
from tests.conftest import ROOT

PLAN = Plan(markets=3, rate=300.0, seconds=0.5, latency=0.5, capacity=False, warm=0.3)
PLAIN = Streams("plain", "ccxt.pro + XADD", "trades-binance-{0}", (sys.executable, "-m", "bench.ingest_ccxt"))


@pytest.mark.parametrize("contender", [Ours("native"), Ours("ccxt"), PLAIN], ids=lambda one: one.name)
def test_a_program_stores_what_it_is_sent_and_is_measured(contender: Contender) -> None:
    result = run(contender, PLAN)
    assert result.cpu > 0 < result.redis
    assert len(result.latencies) >= 100
    assert 0 < sorted(result.latencies)[50] < 5_000
    assert result.twice == 0
    assert result.missing == 0 or contender is PLAIN  # ccxt withholds what came last while nobody asked
    table = "\n".join(report([contender], PLAN, {contender.name: [result]}))
    assert contender.label in table


def test_the_steps_of_the_native_client_are_measured() -> None:
    lines = list(profile(2, 300.0, 0.5))
    assert any(line.startswith("collectors: what came taken") for line in lines)
    assert float(next(line for line in lines if line.startswith("the process")).split()[-1]) > 0


def test_help_shows_examples() -> None:
    command = [sys.executable, "-m", "bench.ingest", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "python -m bench.ingest --quick" in shown
