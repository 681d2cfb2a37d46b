"""The console command `collection`: the commands of the library, and those that run Celery."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from collection import (  # noqa: F401  their commands are those of `app` as well
    cli_audit,
    cli_export,
    cli_lag,
    cli_plot,
    cli_plugins,
    cli_quote,
    cli_series,
    clock,
)
from collection.cli import (
    FaultsOption,
    RateOption,
    SeedOption,
    SpeedOption,
    TapeOption,
    app,
    duration,
    parse_tapes,
    run_app,
)
from collection.errors import ConfigurationError
from collection.loading import load_data_source_collectors
from collection.output import out, tell
from collection.quotes.redis_publisher import last_published
from collection.settings import current
from collection.simulator import parse_faults
from collection.storage.redis_server import connect
from collection.text import nearest
from workers import backfill_command  # noqa: F401  as above
from workers.assignments import Assignments
from workers.backfills import Backfills, in_days
from workers.plan import Simulation, make_plan
from workers.status import quotes_line, streams_table, workers_table
from workers.up import run_up


@app.command(
    epilog="Examples:  collection up feeds.toml  ·  collection up --simulate  ·  "
    "collection up --tape XRP/ETH=tape.csv.gz --speed 20000 --duration 60"
)
def up(
    feeds: Annotated[Path | None, typer.Argument(metavar="[FEEDS]", help="The feeds file.", show_default=False)] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="Collect from a simulated exchange.")] = False,
    tape: TapeOption = None,
    transport: Annotated[str, typer.Option(metavar="poll|stream|auto", help="How trades are collected.")] = "auto",
    speed: SpeedOption = 1.0,
    rate: RateOption = 20.0,
    seed: SeedOption = 1,
    misbehave: FaultsOption = "",
    length: Annotated[str | None, typer.Option("--duration", metavar="S", help="Stop after this time.")] = None,
) -> None:
    """Run everything on this machine: Redis if needed, worker, beat and Flower, until Ctrl-C."""
    if transport not in (known := ["poll", "stream", "auto"]):
        raise ConfigurationError(f"--transport {transport}: unknown{nearest(transport, known)}")
    parse_faults(misbehave)
    simulation = None
    if simulate or tape:
        simulation = Simulation(parse_tapes(tape or []), speed, rate, seed, misbehave)
    elif misbehave:
        raise ConfigurationError("--misbehave needs a simulated exchange: add --simulate or --tape")
    if not run_up(make_plan(feeds, simulation, transport), duration(length)):
        raise typer.Exit(1)


@app.command(epilog="Example:  collection status")
def status() -> None:
    """Show which worker runs which stream, what keeps the others from running, and whether feeds are quoted."""
    feeds = current().feeds
    collectors = load_data_source_collectors(feeds) if feeds.exists() else []
    wanted = [one.id for one in collectors if one.interval is None]
    with closing(connect(current().storage())) as redis:
        view = Assignments(redis).view()
        backfills = Backfills(redis).open()
        quotes = last_published(redis)
    out.print(workers_table(view))
    out.print()
    out.print(streams_table(view, wanted))
    running = sum(entry.state == "running" for entry in view.leases.values())
    tell(f"{running:,} streams run on {len(view.workers):,} workers; {feeds} wants {len(wanted):,}")
    if quotes:
        tell(quotes_line(quotes, clock.now()))
    for key, number in backfills.items():
        tell(f"{key}: {in_days(number)} to be backfilled")


def main() -> None:
    """The entry point of the console command."""
    run_app(app)


if __name__ == "__main__":
    main()
