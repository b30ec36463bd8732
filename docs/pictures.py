"""Makes the pictures of the README from a real run of the demo: `.venv/bin/python docs/pictures.py`.

`docs/images/demo-live.svg` is the panel after the drift alarm, while the network is gone;
`docs/images/demo.svg` is what is printed at the end.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console, RenderableType
from rich.terminal_theme import MONOKAI

from edge_mlops_monitor.demo import summary
from edge_mlops_monitor.demo.outcome import outcome
from edge_mlops_monitor.demo.play import Look, Played, play
from edge_mlops_monitor.demo.scene import Scene
from edge_mlops_monitor.demo.screens import LivePanel
from edge_mlops_monitor.demo.script import SHIFTED_SENSOR, script

IMAGES = Path(__file__).resolve().parent / "images"
SECONDS = 45.0
COLUMNS = 96
FOLDER = Path("pump-demo")


class Photographer(LivePanel):
    """Keeps the last panel after the drift alarm before the network is back."""

    taken: RenderableType | None = None

    def look(self, played: Played, look: Look) -> None:
        alarmed = look.states.get(f"inputs.{SHIFTED_SENSOR}") == "alarm"
        if alarmed and look.gone:
            self.taken = self.picture(played, look)


def recorder() -> Console:
    """A console that draws into memory."""
    return Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )


def save(console: Console, file: Path) -> None:
    """Write what was drawn as SVG."""
    console.save_svg(str(file), title="edge-mlops-monitor demo", theme=MONOKAI, unique_id=file.stem)


def main() -> int:
    """Run the demo and make both pictures; 1 where its story did not come out as it should."""
    parser = argparse.ArgumentParser(description="Make the pictures of the demo from a real run.")
    parser.add_argument("--output", type=Path, default=IMAGES)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    images: Path = given.output.resolve()
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    os.chdir(tempfile.mkdtemp())
    FOLDER.mkdir()
    scene = Scene(FOLDER, script(given.seconds))
    photographer = Photographer(recorder(), scene)
    played = play(scene, photographer)
    story = outcome(scene, played)
    panel, end = recorder(), recorder()
    panel.print(photographer.taken)
    save(panel, images / "demo-live.svg")
    summary.show(end, scene, played, story)
    save(end, images / "demo.svg")
    return 0 if story["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
