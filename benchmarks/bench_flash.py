"""Bytes written to the device by bytes of JSON, at 10 predictions a second and a flush every 5 s.

Hours are simulated: a clock that is moved by hand, and the workers' steps called when they would run. The
whole monitor takes part: predictions, system metrics, decisions, leases, pruning at the bound on disk. The
bytes are those that the kernel counts for this process (/proc/self/io) on a fresh file, since it counts
whole folios of a file that was read before. The sectors of the whole device are in the details, for a machine
on which nothing else writes.

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
BOUND_MB = 20  # reached within two simulated hours
SAMPLING_SECONDS = 10
UPLOAD_SECONDS = 300


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
    """The monitor's life at 10 predictions a second, as fast as the disk takes it.

    The bytes count for so many hours from when the bound was reached, so that pruning has its full share.
    """
    with scratch() as folder:
        sections = {
            "storage": {"max_sqlite_size_mb": BOUND_MB},
            "model_logging": {"flush_interval_seconds": interval},
        }
        life = Life(Config.from_dict(config(folder, upload=upload, **sections)))
        while not life.pruned():
            life.go_on(600.0, interval, upload)
        begun, device, life.json_bytes = written(), sectors(folder), 0
        pruned = life.pruned()
        life.go_on(hours * 3600, interval, upload)
        return {
            "ratio": (written() - begun) / life.json_bytes,
            "device_ratio": (sectors(folder) - device) / life.json_bytes,
            "pruned": life.pruned() - pruned,
            "predictions": int(hours * 3600 * RATE),
            "lost": life.runtime.open_store().losses(),
        }


class Life:
    """What the workers of a monitor do, step by step, by the monitor's own clock."""

    def __init__(self, settings: Config) -> None:
        self.clock = ManualClock()
        self.runtime = Runtime(settings, self.clock)
        self.rows = payloads()
        self.number = self.json_bytes = 0
        self.next_sample = self.next_upload = 0.0

    def go_on(self, seconds: float, interval: float, upload: bool) -> None:
        for _ in range(int(seconds / interval)):
            self.log(int(RATE * interval))
            now = self.clock.monotonic()
            if now >= self.next_sample:
                self.next_sample = now + SAMPLING_SECONDS
                self.runtime._sample(now)
            self.runtime.recorder.write()
            self.runtime._decide(now)
            if upload and now >= self.next_upload:
                self.next_upload = now + UPLOAD_SECONDS
                self.runtime.uploader.drain()

    def log(self, count: int) -> None:
        for _ in range(count):
            self.clock.advance(1 / RATE)
            inputs, outputs = self.rows[self.number % 1000]
            self.runtime.recorder.log_prediction(inputs, outputs, model="m")
            self.json_bytes += len(msgspec.json.encode((inputs, outputs)))
            self.number += 1

    def pruned(self) -> int:
        sql = "SELECT removed FROM sequences WHERE kind = 'predictions'"
        removed: int = self.runtime.open_store().query(sql)[0][0]
        return removed


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
            note=f"in a database at its bound: {plain['pruned']} went while {plain['predictions']} came",
        ),
        figure("the same with sealing and upload every 300 s", upload["ratio"], "times"),
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
