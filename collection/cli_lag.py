"""The command that says how late live trades are: lag."""

from __future__ import annotations

from collection import clock
from collection.cli import app
from collection.cli_audit import FormOption, KeysArgument, chosen
from collection.cli_options import checked_format
from collection.data_collectors.lag import is_beside
from collection.local import opened_storage
from collection.output import tell
from collection.output_audit import write_json
from collection.output_lag import clocks, lateness, show_lag
from collection.settings import current


@app.command(epilog="Examples:  collection lag  ·  collection lag 'trades:binance:*' --format json")
def lag(keys: KeysArgument = None, form: FormOption = "table") -> None:
    """Tell how late live trades are, how old the newest ones are, and how far the clocks are apart."""
    checked_format(form, ["table", "json"])
    with opened_storage(current(), tell) as storage:
        meant = [key for key in chosen(storage, keys or ["trades:*"]) if not is_beside(key)]
        late = [lateness(storage, key, clock.now()) for key in meant]
        apart = clocks(storage)
    if form == "json":
        for row in [*(one._asdict() for one in late), *(pair._asdict() for pair in apart)]:
            write_json(row)
        return
    show_lag(late, apart)
    if not any(one.p50 is not None for one in late):
        tell("no lag is known yet: only trades that come over streams have one")
