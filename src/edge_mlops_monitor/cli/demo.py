"""`demo`: the whole story on this machine, without network."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from edge_mlops_monitor.cli.options import Within, config_option, json_option


@click.command()
@click.option("--seconds", type=Within(5, 3600), default=45.0, show_default=True, help="How long it runs.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep the database and the uploaded objects there; otherwise in a temporary folder.",
)
@config_option
@json_option
def demo(seconds: float, output: Path | None, config_path: Path | None, as_json: bool) -> int:
    """Show everything on a simulated sensor, in under a minute.

    A real small model is monitored end to end through a fault, a drift and a network outage.

    The demo brings its own config; --config is accepted, as everywhere, and not used.
    """
    story = import_module("edge_mlops_monitor.demo")
    return int(story.run(seconds=seconds, out=output, json=as_json))
