"""The watchdog: a worker that does not end is ended, and says where it hung."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_worker_that_does_not_end_is_ended_by_force() -> None:
    code = "from workers.bootsteps import _watch; _watch(0.1)"
    variables = {**os.environ, "COLLECTION_URL": "redis://localhost:1/0"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=30)
    assert done.returncode == os.EX_SOFTWARE
    assert "ending it by force" in done.stderr
    assert "bootsteps.py" in done.stderr  # where its threads are
