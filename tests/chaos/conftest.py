"""The table of what the chaos cases measured: printed at the end, and written to the file that CHAOS_TABLE names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for name in ("passed", "failed") for report in terminalreporter.stats.get(name, ())]
    measured = [value for report in reports for name, value in report.user_properties if name == "chaos"]
    if not measured:
        return
    rows = ["| what happens | measured | promised |", "|---|---|---|"]
    rows += [f"| {case} | {seconds:.1f} s {what} | {limit:g} s |" for case, seconds, limit, what in measured]
    terminalreporter.write_line("\n".join(["", *rows]))
    if path := os.environ.get("CHAOS_TABLE"):
        Path(path).write_text("\n".join([*rows, ""]))
