"""Bytes written to the device by bytes of JSON, at 10 predictions a second and a flush every 5 s.

Hours are simulated: a clock that is moved by hand, and the workers' steps called when they would run. The
whole monitor takes part: predictions, system metrics, decisions, leases, pruning at the bound on disk. The
bytes are those that the kernel counts for this process (/proc/self/io) on a fresh file, since it counts
whole folios of a file that was read before; the whole device's sectors stand beside it, for a quiet machine.

`--part journals` compares journal modes and page sizes for the decision about the store's layout.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from workload import arguments, config, figure, payloads, report, scratch

from edge_mlops_monitor import opening, retention
from edge_mlops_monitor.capture import writing
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.config import Config
from edge_mlops_monitor.runtime import Runtime

RATE = 10
BOUND_MB = 5  # so small that pruning begins within the first simulated half hour
SAMPLING_SECONDS = 10


def written() -> int:
    """Bytes that this process caused to be written to a device."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    return 0


def sectors(folder: str) -> int:
    """Bytes that went to the device of a folder, by whoever; 0 where it cannot be told."""
    device = os.stat(folder).st_dev
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)):
            return int(fields[9]) * 512
    return 0


def simulate(hours: float, interval: float, *, upload: bool = False) -> dict[str, Any]:
    """The monitor's life at 10 predictions a second, as fast as the disk takes it."""
    rows = payloads()
    clock = ManualClock()
    with scratch() as folder:
        sections = {
            "storage": {"max_sqlite_size_mb": BOUND_MB},
            "model_logging": {"flush_interval_seconds": interval},
        }
        runtime = Runtime(Config.from_dict(config(folder, upload=upload, **sections)), clock)
        runtime.open_store()
        begun, device = written(), sectors(folder)
        number = json_bytes = 0
        next_upload = 300.0
        for tick in range(int(hours * 3600 / interval)):
            for _ in range(int(RATE * interval)):
                clock.advance(1 / RATE)
                inputs, outputs = rows[number % 1000]
                runtime.recorder.log_prediction(inputs, outputs, model="m")
                json_bytes += len(msgspec.json.encode((inputs, outputs)))
                number += 1
            if tick * interval % SAMPLING_SECONDS < interval:
                runtime._sample(clock.monotonic())
            runtime.recorder.write()
            runtime._decide(clock.monotonic())
            if upload and tick * interval >= next_upload:
                next_upload += 300.0
                runtime.uploader.drain()
        found = {
            "ratio": (written() - begun) / json_bytes,
            "device_ratio": (sectors(folder) - device) / json_bytes,
            "pruned": runtime.open_store().query("SELECT sum(removed) FROM sequences")[0][0],
            "predictions": number,
            "lost": runtime.open_store().losses(),
        }
        runtime.open_store().close()
        return found


def variant(mode: str, page_size: int) -> None:
    """Let the store use another journal mode and page size."""
    connect = opening.connect

    def connected(path: Path, max_bytes: int) -> sqlite3.Connection:
        connection = connect(path, max_bytes)
        connection.execute(f"PRAGMA journal_mode = {mode}")
        return connection

    opening.connect = connected
    opening.PAGE_SIZE = retention.PAGE_SIZE = page_size


def rows_of_one() -> None:
    """Let the writer store one prediction in a row, as the layout that was turned down does."""
    writing.ROWS_PER_BLOCK = 1


MODES = [
    *((mode, 4096) for mode in ("PERSIST", "TRUNCATE", "DELETE", "WAL", "PERSIST rows", "WAL rows")),
    ("PERSIST", 2048),
    ("WAL", 2048),
    ("PERSIST", 1024),
    ("WAL", 1024),
]
INTERVALS = (1.0, 5.0, 30.0)  # seconds between two group commits


def run(part: str, quick: bool) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, *["--quick"] * quick]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def one(part: str, quick: bool) -> dict[str, Any]:
    """A part is `mode/page size/interval/upload`, each possibly empty."""
    mode, page, interval, upload = part.split("/")
    words = mode.split()
    if words:
        variant(words[0], int(page))
    if "rows" in words:
        rows_of_one()
    hours = 0.5 if quick else 1.0
    return simulate(hours, float(interval), upload=bool(upload))


def journals(quick: bool) -> None:
    """The table of the decision."""
    print("| journal and layout | page |", " | ".join(f"{interval:g} s" for interval in INTERVALS), "|")
    print("| --- | --- |", " --- |" * len(INTERVALS))
    for mode, page in MODES:
        found = [run(f"{mode}/{page}/{interval}/", quick) for interval in INTERVALS]
        cells = [f"{one['ratio']:.2f} ({one['device_ratio']:.2f})" for one in found]
        print(f"| {mode} | {page} |", " | ".join(cells), "|", flush=True)


def measure(quick: bool) -> None:
    plain, upload = run("//5.0/", quick), run("//5.0/upload", quick)
    figures = [
        figure(
            "bytes written by bytes of JSON, 10 predictions a second",
            plain["ratio"],
            "times",
            goal=2.5,
            note=f"pruning included: {plain['pruned']} of {plain['predictions']} records had gone",
        ),
        figure("the same with sealing and upload every 300 s", upload["ratio"], "times"),
        figure(
            "sectors of the device by bytes of JSON, whoever wrote them",
            plain["device_ratio"],
            "times",
            note="of meaning only where nothing else writes",
        ),
    ]
    report("flash", figures, plain=plain, upload=upload)


if __name__ == "__main__":
    given = arguments()
    if given.part == "journals":
        journals(given.quick)
    elif given.part:
        print(json.dumps(one(given.part, given.quick)))
    else:
        measure(given.quick)
