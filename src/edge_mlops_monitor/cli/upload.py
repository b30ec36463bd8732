"""`upload`: send what is waiting, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edge_mlops_monitor.cli.mistakes import FAILED
from edge_mlops_monitor.cli.options import config_option, json_option, load, open_store
from edge_mlops_monitor.cli.output import number, print_json, say
from edge_mlops_monitor.cli.progress import Advance, progress


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
        with progress("uploading objects") as advance:
            answer = monitor.upload_now(progress=_falling(advance))
    finally:
        monitor.stop()
    if as_json:
        print_json(answer)
    else:
        say(_told(answer))
    return FAILED if answer.get("pending") or answer.get("errors") else 0


def _falling(advance: Advance) -> Callable[[int], None]:
    """What is told how many wait, and passes on how many went."""
    last = 0

    def waiting(count: int) -> None:
        nonlocal last
        advance(max(0, last - count))
        last = count

    return waiting


def _told(answer: dict[str, Any]) -> str:
    records, objects = answer.get("records", 0), answer.get("delivered", 0)
    lines = [
        f"sent {number(records)} records in {number(objects)} objects"
        if objects
        else "there was nothing to send"
    ]
    if answer.get("pending"):
        lines = [lines[0] if objects else "nothing could be sent"]
        lines.append(f"{number(answer['pending'])} objects wait and are tried again")
    if answer.get("dead_letters"):
        lines.append(f"{number(answer['dead_letters'])} objects are refused for ever, see check")
    lines += [f"{name}: {error}" for name, error in answer.get("errors", {}).items()]
    return "\n".join(lines)
