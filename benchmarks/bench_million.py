"""A device with a million stored predictions: start, `get_status()` and the command `status`.

The file is out of the page cache before each start, as after a boot. Beside it the same on an empty
database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from workload import arguments, config, figure, payloads, report, scratch

from edge_mlops_monitor import EdgeMonitor

PROGRAM = """
import json, sys, time
from edge_mlops_monitor import EdgeMonitor
began = time.perf_counter()
monitor = EdgeMonitor({config!r})
monitor.start()
monitor.log_prediction({{"a": 1.0}}, {{"b": 1.0}})
monitor.flush()
start = time.perf_counter() - began
asked = []
for _ in range(5):
    began = time.perf_counter()
    status = monitor.get_status()
    asked.append(time.perf_counter() - began)
print(json.dumps({{"start": start, "status": sorted(asked)[2], "count": status["prediction_count"]}}))
sys.stdout.flush()
import os; os._exit(0)
"""


def fill(settings: dict[str, Any], count: int) -> float:
    """Log so many predictions, without drift deciding about them; seconds."""
    rows = payloads()
    began = time.perf_counter()
    monitor = EdgeMonitor(config=settings)
    for number in range(count):
        monitor.log_prediction(*rows[number % 1000], model="m")
        if number % 20_000 == 0:
            monitor.flush()
    monitor.flush()
    monitor.stop()
    return time.perf_counter() - began


def forget_cached(path: str) -> None:
    """Let the kernel drop what it holds of a file in memory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def looked_at(folder: str, settings: dict[str, Any]) -> dict[str, float]:
    """Seconds of a start, of `get_status()` and of the command, on the database in `folder`."""
    path = Path(folder, "config.yaml")
    path.write_text(json.dumps(settings))  # JSON is YAML
    forget_cached(settings["storage"]["sqlite_path"])
    program = [sys.executable, "-c", PROGRAM.format(config=str(path))]
    found: dict[str, float] = json.loads(subprocess.run(program, capture_output=True, check=True).stdout)
    commands = []
    for _ in range(5):
        began = time.perf_counter()
        command = [sys.executable, "-m", "edge_mlops_monitor", "status", "--config", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        commands.append(time.perf_counter() - began)
    return {**found, "command": min(commands)}


def on_database(count: int) -> dict[str, float]:
    with scratch() as folder:
        settings = config(folder, storage={"max_sqlite_size_mb": 4000})
        filled = fill(settings, count)
        size = Path(settings["storage"]["sqlite_path"]).stat().st_size / (1 << 20)
        return {**looked_at(folder, settings), "filled": filled, "megabytes": size}


def measure(quick: bool) -> None:
    count = 100_000 if quick else 1_000_000
    small, large = on_database(10), on_database(count)
    note = f"{large['count']:.0f} predictions, {large['megabytes']:.0f} MB"
    names = {
        "start": ("start, up to the first prediction on stable storage", 2000),
        "status": ("get_status()", 50),
        "command": ("the command status", 400),
    }
    figures = [
        figure(
            f"{what}, with a million stored" if not quick else f"{what}, with {count} stored",
            large[key] * 1000,
            "ms",
            goal=goal,
            beside=small[key] * 1000,
            beside_is="with 10 stored",
            note=note,
        )
        for key, (what, goal) in names.items()
    ]
    report("million", figures, small=small, large=large)


if __name__ == "__main__":
    measure(arguments().quick)
