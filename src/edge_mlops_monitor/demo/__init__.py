"""The demo: a real small model on a simulated pump, monitored end to end, without network.

A sensor sticks, the network is gone for a while, a sensor reads half a standard deviation too much. What is
said at the end is read from the monitor's own events, status and uploads.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from edge_mlops_monitor.errors import DataError

__all__ = ["run"]


def run(*, seconds: float = 45.0, out: Path | None = None, json: bool = False) -> int:
    """Run the demo for `seconds` in the new or empty folder `out`; 0 where the story came out as it should.

    Without `out` a temporary folder is made, and kept for the commands that are named at the end. With
    `json` one object is printed and nothing else. Raises DataError where `out` is not empty, or the
    monitor is turned off by the environment.
    """
    if os.environ.get("EDGE_MLOPS_MONITOR_DISABLED", "").lower() in ("1", "true", "yes"):
        raise DataError("the demo shows nothing while EDGE_MLOPS_MONITOR_DISABLED is set; unset it")
    from rich.console import Console

    from edge_mlops_monitor.cli.output import print_json
    from edge_mlops_monitor.demo import screens, summary
    from edge_mlops_monitor.demo.outcome import outcome
    from edge_mlops_monitor.demo.play import play
    from edge_mlops_monitor.demo.scene import Scene, folder_for
    from edge_mlops_monitor.demo.script import script

    console = Console()
    scene = Scene(folder_for(out), script(seconds))
    _keep_log(scene.folder)
    screen = screens.choose(console, scene, silent=json)
    with screen:
        played = play(scene, screen)
    story = outcome(scene, played)
    if json:
        print_json({**story, "next": summary.next_commands(scene.folder)})
    else:
        summary.show(console, scene, played, story)
    return 0 if story["ok"] else 1


def _keep_log(folder: Path) -> None:
    """What the monitor logs goes to a file, as in a program that runs unattended."""
    logger = logging.getLogger("edge_mlops_monitor")
    logger.addHandler(logging.FileHandler(folder / "monitor.log", encoding="utf-8", delay=True))
    logger.propagate = False
