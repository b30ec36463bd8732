"""`upload`: send what is waiting, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_mlops_monitor.cli.mistakes import FAILED
from edge_mlops_monitor.cli.options import config_option, json_option, load, open_store
from edge_mlops_monitor.cli.output import number, print_json


@click.command()
@config_option
@json_option
def upload(config_path: Path | None, as_json: bool) -> int:
    """Seal and send everything that is stored, once.

    Exit status 1 where something stays behind; nothing is lost by that.
    """
    from edge_mlops_monitor.monitor import EdgeMonitor

    config = load(config_path)
    if not config.effective_sinks():
        raise click.ClickException(
            "there is no sink to upload to; set storage.bucket, or type: file and path, or sinks"
        )
    open_store(config).close()
    monitor = EdgeMonitor(config=config)
    try:
        answer = monitor.upload_now()
    finally:
        monitor.stop()
    if as_json:
        print_json(answer)
    else:
        click.echo(_told(answer))
    return FAILED if answer.get("refused") or answer.get("pending") else 0


def _told(answer: dict[str, Any]) -> str:
    text = f"sent {number(answer.get('sent', 0))} objects"
    if answer.get("pending"):
        text += f", {number(answer['pending'])} are still waiting"
    if answer.get("refused"):
        text += f", {number(answer['refused'])} were refused"
    reason = answer.get("last_error")
    return f"{text}: {reason}" if reason and text.count(",") else text
