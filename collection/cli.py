"""The commands that need no Celery."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from collection.data_collector import DataCollector
from collection.data_collectors import CollectorFactory
from collection.errors import CollectionError, ConfigurationError
from collection.loading import load_feeds, unique_collectors
from collection.local import REAL, claim, opened_storage
from collection.output import Format, err, out, show_series, show_values, tell
from collection.settings import current
from collection.settings_table import settings_table
from collection.simulator import FAULTS, Simulator, parse_faults, serve
from collection.text import milliseconds, nearest, seconds, shortly

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Market data from exchanges into time-series storage: what is stored equals what was published.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

FeedsArgument = Annotated[Path, typer.Argument(metavar="FEEDS", help="The feeds file.", show_default=False)]
TapeOption = Annotated[
    list[str] | None,
    typer.Option("--tape", metavar="MARKET=FILE", help="Replay a tape of trades (CSV or CSV.gz); repeatable."),
]
SpeedOption = Annotated[
    float, typer.Option(min=0.001, help="How many times faster than they happened tapes are replayed.")
]
FaultsOption = Annotated[
    str,
    typer.Option(
        "--misbehave",
        metavar="NAME=P,…",
        help=f"Faults of the simulated exchange and their probabilities: {', '.join(FAULTS)}.",
    ),
]
RateOption = Annotated[float, typer.Option(min=0.001, help="Trades a second of each generated market.")]
SeedOption = Annotated[int, typer.Option(help="What the generated markets derive from.")]


@app.command(epilog="Example:  collection check feeds.toml")
def check(feeds: FeedsArgument) -> None:
    """Check a feeds file: shows feeds, collectors and intervals, or all that is wrong with it."""
    read = load_feeds(feeds, CollectorFactory(current()))
    table = Table("feed", "type", "collector", "interval", box=None, pad_edge=False)
    for feed in read:
        for collector in feed.data_source_collectors():
            how = f"polled every {shortly(collector.interval)}" if collector.interval else "streamed"
            table.add_row(feed.name, feed.type, collector.id, how)
    out.print(table)
    tell(f"{len(read)} feeds, {len(unique_collectors(read))} collectors")


@app.command(epilog="Example:  collection run feeds.toml")
def run(feeds: FeedsArgument) -> None:
    """Collect in this one process, without Celery, until stopped."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    factory = CollectorFactory(current())
    collectors = unique_collectors(load_feeds(feeds, factory))
    with opened_storage(current(), tell, create=True) as storage:
        claim(storage, dict.fromkeys((collector.id for collector in collectors), REAL))
        tell(f"{len(collectors)} collectors run; Ctrl-C stops them")
        asyncio.run(_until_stopped(DataCollector(collectors, storage).run, factory.clients.close))


@app.command(epilog="Example:  collection settings > settings.md")
def settings() -> None:
    """Describe all settings: names, defaults and meaning, as a Markdown table."""
    out.print(settings_table(), markup=False, soft_wrap=True)


@app.command(
    epilog="Examples:  collection simulate --market BTC/USDT --rate 50  ·  "
    "collection simulate --tape XRP/ETH=tape.csv.gz --speed 1000"
)
def simulate(
    market: Annotated[list[str] | None, typer.Option(help="Generate this market; repeatable.")] = None,
    tape: TapeOption = None,
    speed: SpeedOption = 1.0,
    rate: RateOption = 10.0,
    seed: SeedOption = 1,
    misbehave: FaultsOption = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    state: Annotated[Path | None, typer.Option(help="Keep the times in this file: they survive a restart.")] = None,
) -> None:
    """Run a simulated exchange that speaks Binance spot's protocol; /_truth says what it has published."""
    tapes = parse_tapes(tape or [])
    markets = market or ([] if tapes else ["BTC/USDT"])
    simulator = Simulator(
        tapes=tapes,
        markets=markets,
        speed=speed,
        rate=rate,
        seed=seed,
        faults=parse_faults(misbehave),
        state=state,
        port=port,
    )
    asyncio.run(
        serve(simulator, on_ready=lambda url: out.print(f"{', '.join(simulator.markets)} at {url}", markup=False))
    )


@app.command(epilog="Example:  collection series 'trades:binance:*'")
def series(
    pattern: Annotated[str, typer.Argument(help="Only keys like this; * and ? stand for anything.")] = "*",
) -> None:
    """List what is stored: keys, counts, first and last record, bytes."""
    with opened_storage(current(), tell) as storage:
        show_series(storage.info([key for key in storage.series() if fnmatchcase(key, pattern)]))


@app.command(
    epilog="Examples:  collection query trades:binance:BTC/USDT --last 10  ·  "
    "collection query trades:binance:BTC/USDT --start 2026-01-31 --end 2026-02-01 --format csv > trades.csv"
)
def query(
    key: Annotated[str, typer.Argument(help="The key of a series, as `collection series` lists them.")],
    start: Annotated[str | None, typer.Option(help="From this time on (Unix ms or ISO 8601, UTC).")] = None,
    end: Annotated[str | None, typer.Option(help="Up to this time, included.")] = None,
    last: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the newest N.")] = None,
    form: Annotated[str, typer.Option("--format", help="table, json (a line each) or csv.")] = "table",
) -> None:
    """Print what is stored under a key; joins the Redis of this folder, or starts it for the query."""
    if form not in Format.__args__:  # type: ignore[attr-defined]
        raise ConfigurationError(f"--format {form}: unknown{nearest(form, ['table', 'json', 'csv'])}")
    times = [_option(milliseconds, name, text) for name, text in (("--start", start), ("--end", end))]
    with opened_storage(current(), tell) as storage:
        if key not in (keys := storage.series()):
            raise ConfigurationError(f"no series {key!r}{nearest(key, keys, str)}")
        if last is not None and start is None and end is None:
            values = storage.latest(key, last)
        else:
            values = storage.fetch(key, *times)[-(last or 0) :]
    show_values(values, form)  # type: ignore[arg-type]
    if form == "table":
        tell(f"{len(values):,} values")


def parse_tapes(options: list[str]) -> dict[str, Path]:
    """Read `MARKET=FILE` options; raises ConfigurationError."""
    tapes = {}
    for option in options:
        market, separator, file = option.partition("=")
        if not separator or not market or not file:
            raise ConfigurationError(f"--tape {option}: write MARKET=FILE, such as XRP/ETH=tape.csv.gz")
        if not Path(file).is_file():
            raise ConfigurationError(f"--tape {option}: there is no such file")
        tapes[market] = Path(file)
    return tapes


def duration(text: str | None) -> float | None:
    """Read the --duration option: `60` or `5m`; raises ConfigurationError."""
    if text is None:
        return None
    read: float = _option(seconds, "--duration", f"{text}s" if text.replace(".", "", 1).isdigit() else text)
    return read


def _option(read: Callable[[str], Any], name: str, text: str | None) -> Any:
    try:
        return None if text is None else read(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None


async def _until_stopped(work: Callable[[], Any], close: Callable[[], Any]) -> None:
    """Run until SIGINT or SIGTERM."""
    task = asyncio.ensure_future(work())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    finally:
        await close()


def run_app(commands: typer.Typer) -> None:
    """Run the command line: what goes wrong is said in a line each, with exit code 1."""
    try:
        commands()
    except CollectionError as error:
        for line in str(error).splitlines():
            err.print(f"Error: {line}", markup=False, style="red", soft_wrap=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
