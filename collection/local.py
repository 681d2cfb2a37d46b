"""The storage of this folder: joined or started, and whose data it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from collection.embedded import EmbeddedRedis
from collection.errors import ConfigurationError
from collection.settings import FOLDER, Settings
from collection.storage import DataCollectionStorage, open_storage

REAL = "the exchange"
"""The source of what is not simulated."""


@contextmanager
def opened_storage(
    settings: Settings, tell: Callable[[str], None], *, create: bool = False
) -> Iterator[DataCollectionStorage]:
    """Open the storage of the settings, or of this folder: its Redis is joined where it runs, else started meanwhile.

    `create` is for those who collect: what Redis does not take waits in the spool then.

    Raises:
        ConfigurationError: There is none, and no data in this folder to start one on (unless `create`).
    """
    open_it = partial(open_storage, spool=settings.spool if create else None, spool_limit=settings.spool_limit)
    try:
        url = settings.storage()
    except ConfigurationError:
        if not (create or (FOLDER / "redis").is_dir()):
            raise
        with EmbeddedRedis(FOLDER, on_progress=tell) as server, open_it(server.url) as storage:
            yield storage
        return
    with open_it(url) as storage:
        yield storage


def claim(storage: DataCollectionStorage, sources: Mapping[str, str]) -> None:
    """Note where the data of each series come from, in words, before any is collected.

    Real and simulated trades of one market, or those of two simulations, would be one series in the end.

    Raises:
        ConfigurationError: The storage holds another source's data of a series.
    """
    for key in sources:
        if storage.latest(key):
            storage.claim(key, REAL)  # unless it is claimed already: workers that are started by hand claim nothing
    noted = {key: storage.claim(key, source) for key, source in sources.items()}
    wrong = [
        f"{key} is stored from {noted[key]}, not from {source}: use another folder or Redis"
        for key, source in sources.items()
        if noted[key] != source
    ]
    if wrong:
        raise ConfigurationError(*wrong)
