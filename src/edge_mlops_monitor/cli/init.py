"""`init`: write a commented config."""

from __future__ import annotations

from pathlib import Path

import click

from edge_mlops_monitor.cli.options import json_option
from edge_mlops_monitor.cli.output import print_json


@click.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), metavar="FILE", help="The same as PATH."
)
@json_option
@click.option("--force", is_flag=True, help="Replace a file that is already there.")
def init(path: Path | None, config_path: Path | None, as_json: bool, force: bool) -> None:
    """Write a commented config to PATH (./edge-mlops-monitor.yaml)."""
    from edge_mlops_monitor.config import save_default_config

    path = path or config_path or click.get_current_context().find_root().obj
    path = path or Path("edge-mlops-monitor.yaml")
    if path.is_dir():
        path = path / "edge-mlops-monitor.yaml"
    if path.exists() and not force:
        raise click.ClickException(f"{path} is already there; replace it with --force or name another file")
    if not path.parent.exists():
        raise click.ClickException(f"there is no folder {path.parent}; create it first")
    save_default_config(path)
    if as_json:
        print_json({"path": str(path)})
    else:
        click.echo(f"wrote {path}; after your changes: edge-mlops-monitor check --config {path}")
