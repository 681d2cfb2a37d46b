"""The scheduler of beat: how it lets go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from collection.settings import current
from collection.storage.redis_server import connect
from workers.lease import Lease


def test_a_signal_in_the_midst_of_a_renewal_does_not_hang(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery closes the scheduler within its signal handler, that is within whatever the signal interrupted."""
    monkeypatch.setenv("COLLECTION_URL", redis_url)
    current.cache_clear()
    from beat_schedule.scheduler import LeasedScheduler
    from workers.celery import app

    Path("feeds.toml").write_text(
        '[[feeds]]\nname = "x"\ntype = "cex_trades"\nexchange = "binance"\nmarket = "A/B"\nwindow = "5m"\n'
    )
    scheduler = LeasedScheduler(app=app)
    scheduler.tick()
    call = Lease._call

    def interrupted(lease: Lease, action: str) -> Any:
        answer = call(lease, action)
        if action == "hold":
            scheduler.close()  # would wait for the lock that is held here
            raise SystemExit
        return answer

    scheduler._renewal = 0.0
    with monkeypatch.context() as patched:
        patched.setattr(Lease, "_call", interrupted)
        with pytest.raises(SystemExit):
            scheduler.tick()
    scheduler.close()  # as celery does when its loop has ended
    with connect(redis_url) as client:
        assert not client.exists("qc:{lease:beat}")
