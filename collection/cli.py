"""The commands that need no Celery; those that read what is stored are in `cli_series` and `cli_audit`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from collection.cli_options import read_option
from collection.data_collector import DataCollector
from collection.data_collectors import CollectorFactory
from collection.errors import CollectionError, ConfigurationError
from collection.loading import load_feeds, unique_collectors
from collection.local import REAL, claim, opened_storage
from collection.output import err, out, tell
from collection.quotes import Updater, open_publisher
from collection.retention import check_start, check_starts
from collection.settings import current
from collection.settings_table import settings_table
from collection.simulator import FAULTS, PROTOCOLS, Simulator, parse_faults, serve
from collection.text import seconds, shortly

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
    try:
        check_start(current().start, current().retention.trades, 0, time.time())
    except ConfigurationError as error:
        tell(f"series that are still empty will not start: {error}")


@app.command(epilog="Example:  collection run feeds.toml")
def run(feeds: FeedsArgument) -> None:
    """Collect and quote in this one process, without Celery, until stopped."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    factory = CollectorFactory(current())
    read = load_feeds(feeds, factory)
    collectors, quotes = unique_collectors(read), current().quotes
    with opened_storage(current(), tell, create=True) as storage:
        keys = [collector.id for collector in collectors]
        check_starts(storage, keys, current().start, current().retention.model_dump(), time.time())
        claim(storage, dict.fromkeys(keys, REAL))
        publisher = open_publisher(current().storage(), quotes.deviation, quotes.heartbeat)
        updater = Updater(read, storage, publisher, interval=quotes.interval, delay=quotes.delay)

        async def work() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(DataCollector(collectors, storage).run())
                group.create_task(updater.run())

        tell(f"{len(collectors)} collectors run; Ctrl-C stops them")
        asyncio.run(_until_stopped(work, factory.clients.close))
        publisher.close()


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
    protocol: Annotated[str, typer.Option(help=f"Whose protocol it speaks: {', '.join(PROTOCOLS)}.")] = "binance",
) -> None:
    """Run a simulated exchange that speaks a real one's protocol; /_truth says what it has published."""
    tapes = parse_tapes(tape or [])
    markets = market or ([] if tapes else ["BTC/USDT"])
    simulator = Simulator(
        protocol=protocol,
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
        serve(
            simulator,
            on_ready=lambda url: out.print(f"{', '.join(simulator.markets)} at {url}", markup=False, soft_wrap=True),
        )
    )


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
    read: float = read_option(seconds, "--duration", f"{text}s" if text.replace(".", "", 1).isdigit() else text)
    return read


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
