"""`purge`: erase from the device."""

from __future__ import annotations

from pathlib import Path

import click

from edge_mlops_monitor.cli.options import Moment, config_option, json_option, load, open_store
from edge_mlops_monitor.cli.output import number, print_json, say


@click.command()
@click.option(
    "--before", type=Moment(), help="Erase everything older: 2026-05-01, Unix seconds, or 30d (ago)."
)
@click.option("--id", "prediction_id", metavar="ID", help="Erase one prediction and its actuals.")
@config_option
@json_option
def purge(before: float | None, prediction_id: str | None, config_path: Path | None, as_json: bool) -> None:
    """Erase records from the device for good.

    What is waiting to be uploaded is erased too. What has been uploaded already has to be erased where it is.
    """
    from edge_mlops_monitor.monitor import EdgeMonitor

    if (before is None) == (prediction_id is None):
        raise click.UsageError("say what to erase: either --before T or --id ID", click.get_current_context())
    config = load(config_path)
    open_store(config).close()
    monitor = EdgeMonitor(config=config)
    try:
        erased = monitor.purge(before=before, prediction_id=prediction_id)
    finally:
        monitor.stop()
    if as_json:
        print_json({"erased": erased})
    else:
        what = ", ".join(f"{number(count)} {kind}" for kind, count in erased.items() if count)
        say(f"erased {what}" if what else "there was nothing to erase")
