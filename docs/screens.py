"""Makes the pictures of commands in the guides, by running the guides: `.venv/bin/python docs/screens.py`.

Each picture is what a command of a guide printed, or the picture that it drew, when all blocks before it had
run. `docs/pictures.py` makes those of the demo.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

DOCS = Path(__file__).resolve().parent
COLUMNS = 92
PICTURES = {  # name: the guide, and how the command begins
    "check": ("guides/first-device.md", "edge-mlops-monitor check"),
    "status": ("guides/first-device.md", "edge-mlops-monitor status"),
    "replay": ("guides/recorded-data.md", "edge-mlops-monitor replay"),
}
DRAWN = {  # name: the guide, how the command begins, and the file that it writes
    "replay-plot": ("guides/recorded-data.md", "edge-mlops-monitor replay recorded.csv --plot", "replay.svg"),
}
BLOCK = re.compile(r"^```(python|console) run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN_FOLDER = "/home/pi/demo"  # in place of the temporary folder, and as long


def commands(guide: str) -> Iterator[list[str]]:
    """The commands of the blocks marked `run`, in order."""
    for language, text in BLOCK.findall((DOCS / guide).read_text(encoding="utf-8")):
        if language == "python":
            yield [sys.executable, "-c", text]
            continue
        for line in re.findall(r"^\$ (.+)$", re.sub(r"\\\n\s*", "", text), re.MULTILINE):
            yield ["bash", "-c", line]


def environment() -> dict[str, str]:
    """A terminal of a known width and colour, on a device with a name."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("EDGE_MLOPS_MONITOR")}
    path = os.pathsep.join([os.path.dirname(sys.executable), kept.get("PATH", "")])
    terminal = {"PATH": path, "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "COLORTERM": "truecolor"}
    return {**kept, **terminal}


def name_the_device(config: Path) -> None:
    """What the guide says to do with a fresh config."""
    text = config.read_text(encoding="utf-8") if config.exists() else ""
    config.write_text(text.replace('# device_id: "pi-7"', "device_id: press-7"), encoding="utf-8")


def run(guide: str, begins: str, folder: str) -> tuple[str, str]:
    """The first command of the guide that begins so, and what it printed, in this empty folder."""
    for command in commands(guide):
        done = subprocess.run(
            command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=100
        )
        if done.returncode != 0:
            raise SystemExit(f"{guide}: {command[-1]}\n{done.stderr}")
        if command[-1].startswith(begins):
            return command[-1], done.stdout.replace(folder, SHOWN_FOLDER)
        name_the_device(Path(folder, "edge-mlops-monitor.yaml"))
    raise SystemExit(f"{guide} has no command that begins with {begins!r}")


def draw(name: str, folder: Path) -> None:
    """Write one picture of what is printed as SVG."""
    with tempfile.TemporaryDirectory(prefix="", dir="/tmp") as apart:
        command, text = run(*PICTURES[name], apart)
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text.from_ansi(text.rstrip()))
    console.save_svg(
        str(folder / f"{name}.svg"), title=command.split(" --")[0], theme=MONOKAI, unique_id=name
    )


def keep(name: str, folder: Path) -> None:
    """Keep one picture that a command drew."""
    guide, begins, file = DRAWN[name]
    with tempfile.TemporaryDirectory(prefix="", dir="/tmp") as apart:
        run(guide, begins, apart)
        (folder / f"{name}.svg").write_bytes(Path(apart, file).read_bytes())


def main() -> int:
    """Make all pictures, into docs/images or the folder given."""
    parser = argparse.ArgumentParser(description="Make the pictures of the guides from real runs.")
    parser.add_argument("--output", type=Path, default=DOCS / "images")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        draw(name, given.output)
    for name in DRAWN:
        keep(name, given.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
