"""Which markets a simulator has: the arguments checked, the tapes read, the beginnings remembered."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from collection.errors import ConfigurationError
from collection.simulator.generator import Generator
from collection.simulator.market import Market
from collection.simulator.state import remembered_starts
from collection.simulator.tape import Recording, Tape, read_tape

_NAME = re.compile(r"[A-Z0-9]{1,10}/[A-Z0-9]{1,10}")
_FASTEST = 10_000


def check_markets(names: Sequence[str], speed: float, rate: float) -> None:
    """Raise ConfigurationError if a name, the tapes' speed or the generator's rate is impossible; all at once."""
    problems = [f"market {name!r}: a name such as BTC/USDT is expected" for name in names if not _NAME.fullmatch(name)]
    problems += [f"market {name!r}: is given {times} times" for name, times in Counter(names).items() if times > 1]
    symbols: dict[str, str] = {}
    for name in names:
        other = symbols.setdefault(name.replace("/", ""), name)
        if other != name:
            problems.append(f"market {name!r}: has the same symbol as {other!r}")
    if not names:
        problems.append("markets: none is given, neither a tape nor one to generate")
    if not 1 <= speed < float("inf"):
        problems.append(f"speed: {speed} must be at least 1, or trades would be published before their own time")
    if not 0.0001 <= rate <= _FASTEST:
        problems.append(f"rate: {rate} must be from 0.0001 to {_FASTEST} trades a second")
    if problems:
        raise ConfigurationError(*problems)


def load_markets(
    tapes: Mapping[str, Path],
    generated: Sequence[str],
    speed: float,
    rate: float,
    seed: int,
    state: Path | None,
    now: int,
) -> list[Market]:
    """Return the markets, begun at `now` (Unix time in milliseconds) unless the state remembers them.

    Raises:
        ConfigurationError: Tapes are damaged (the problems of all of them), or the state is.
    """
    problems: list[str] = []
    recordings: dict[str, Recording] = {}
    for name, path in tapes.items():
        try:
            recordings[name] = read_tape(path)
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(*problems)
    keys = {name: f"{name} tape {tape.sha256} speed {speed!r}" for name, tape in recordings.items()}
    keys |= {name: f"{name} generated seed {seed} rate {rate!r}" for name in generated}
    starts = remembered_starts(state, list(keys.values()), now)
    return [
        *(Tape(name, tape, starts[keys[name]], speed) for name, tape in recordings.items()),
        *(Generator(name, seed, rate, starts[keys[name]]) for name in generated),
    ]
