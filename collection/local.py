"""What belongs to this folder: its Redis, joined or started, and whose data it holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from collection.embedded import EmbeddedRedis
from collection.errors import ConfigurationError
from collection.settings import FOLDER, Settings
from collection.storage import DataCollectionStorage, open_storage

SOURCES = "sources.json"


@contextmanager
def opened_storage(
    settings: Settings, tell: Callable[[str], None], *, create: bool = False
) -> Iterator[DataCollectionStorage]:
    """Open the storage of the settings, or of this folder: its Redis is joined where it runs, else started meanwhile.

    Raises:
        ConfigurationError: There is none, and no data in this folder to start one on (unless `create`).
    """
    try:
        url = settings.storage()
    except ConfigurationError:
        if not (create or (FOLDER / "redis").is_dir()):
            raise
        with EmbeddedRedis(FOLDER, on_progress=tell) as server, open_storage(server.url) as storage:
            yield storage
        return
    with open_storage(url) as storage:
        yield storage


def claim(folder: Path, sources: Mapping[str, str]) -> None:
    """Note where the data of each market (`binance:XRP/ETH`) come from, in words.

    Real and simulated trades of one market, or those of two simulations, would be one series in the end.

    Raises:
        ConfigurationError: The folder holds another source's data of a market.
    """
    path = folder / SOURCES
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    wrong = [
        f"{folder} holds {market} of {known[market]}, not of {source}: use another folder, or remove {folder}"
        for market, source in sources.items()
        if known.get(market, source) != source
    ]
    if wrong:
        raise ConfigurationError(*wrong)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**known, **sources}, indent=1, sort_keys=True))
