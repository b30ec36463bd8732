"""20 000 predictions a second for a minute, drift on: what is dropped, and whether memory stays flat.

With a host that sleeps between bursts, and one that never lets go of the interpreter's lock.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import Any

from workload import arguments, config, figure, paced, payloads, report, resident_mb, scratch

from edge_mlops_monitor import EdgeMonitor

RATE = 20_000


def load(seconds: float, yields: bool, upload: bool) -> dict[str, Any]:
    """Log for so long; resident memory is looked at every second."""
    rows = payloads()
    memory: list[float] = []
    ended = threading.Event()
    with scratch() as folder:
        monitor = EdgeMonitor(config=config(folder, upload=upload, telemetry={"upload_interval_seconds": 5}))
        log = monitor.log_prediction

        def watch() -> None:
            while not ended.wait(1.0):
                memory.append(resident_mb())

        with monitor:
            watcher = threading.Thread(target=watch)
            watcher.start()
            count, took = paced(RATE, seconds, lambda n: log(*rows[n % 1000], model="m"), yields=yields)
            ended.set()
            watcher.join()
            waiting = monitor.get_status()["buffered"]
            began = time.perf_counter()
            monitor.flush(120)
            drained = time.perf_counter() - began
        dropped = monitor.get_status()["dropped"]
    third = max(1, len(memory) // 3)
    return {
        "rate": count / took,
        "dropped": dropped,
        "lost": dropped.get("memory_full", 0),
        "share": dropped.get("memory_full", 0) / count * 100,
        "memory": max(memory[-third:]),
        "before": max(memory[third : 2 * third]),
        "waiting": waiting,
        "drained": drained,
    }


PARTS = {"yields": (True, False), "never": (False, False), "upload": (True, True)}


def run(part: str, quick: bool) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, *["--quick"] * quick]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def seconds(part: str, quick: bool) -> float:
    return 9.0 if quick else 60.0 if part == "yields" else 30.0


def described(part: str, found: dict[str, Any], quick: bool) -> str:
    length = seconds(part, quick)
    return f"{found['rate']:.0f} a second for {length:.0f} s; {found['waiting']} waited at the end"


def measure(quick: bool) -> None:
    found = {part: run(part, quick) for part in PARTS}
    host, stubborn, upload = found["yields"], found["never"], found["upload"]
    figures = [
        figure(
            "dropped at 20 000 a second, host that lets go of the lock",
            host["lost"],
            "predictions",
            goal=0,
            note=described("yields", host, quick),
        ),
        figure(
            "resident memory in the last third of that minute",
            host["memory"],
            "MB",
            beside=host["before"],
            beside_is="in the second third",
            ratio_goal=1.05,
        ),
        figure(
            "dropped at 20 000 a second with upload to a folder",
            upload["share"],
            "%",
            note=described("upload", upload, quick),
        ),
        figure(
            "dropped at 20 000 a second, host that never lets go",
            stubborn["share"],
            "%",
            note=described("never", stubborn, quick),
        ),
    ]
    report("rate", figures, **found)


if __name__ == "__main__":
    given = arguments()
    if given.part:
        print(json.dumps(load(seconds(given.part, given.quick), *PARTS[given.part])))
    else:
        measure(given.quick)
