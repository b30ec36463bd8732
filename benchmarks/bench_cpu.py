"""Processor time of all threads for one prediction, less what the load generator itself takes.

Each part runs in a process of its own: the loop alone, capture with store and drift, the same with sealing
into a local folder, and a minute at 10 predictions a second with all of it. Beside the fast ones stands the
floor of any store: the same predictions, encoded, inserted into SQLite in groups of 1000.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from workload import arguments, config, cpu_seconds, figure, paced, payloads, report, scratch

from edge_mlops_monitor import EdgeMonitor

RATE = 10_000


def loop(seconds: float) -> dict[str, float]:
    """The load generator alone."""
    rows = payloads()
    began = cpu_seconds()
    count, _ = paced(RATE, seconds, lambda number: rows[number % 1000])
    return {"cpu": cpu_seconds() - began, "count": count}


def bare_store(seconds: float) -> dict[str, float]:
    """Encode and insert in groups of 1000, with nothing else."""
    rows, encode = payloads(), msgspec.msgpack.Encoder().encode
    group: list[tuple[bytes]] = []
    with scratch() as folder:
        database = sqlite3.connect(Path(folder, "floor.db"))
        database.execute("CREATE TABLE rows (row BLOB)")

        def insert(number: int) -> None:
            group.append((encode(rows[number % 1000]),))
            if len(group) == 1000:
                database.executemany("INSERT INTO rows VALUES (?)", group)
                database.commit()
                group.clear()

        began = cpu_seconds()
        count, _ = paced(RATE, seconds, insert)
        database.close()
        return {"cpu": cpu_seconds() - began, "count": count}


def monitored(seconds: float, upload: bool) -> dict[str, float]:
    """The whole monitor under load, up to where everything is stored, decided about and uploaded."""
    rows = payloads()
    sections: dict[str, Any] = {
        "storage": {"max_sqlite_size_mb": 1000},
        "telemetry": {"upload_interval_seconds": 1},
        "model_logging": {"flush_interval_seconds": 1},
    }
    with scratch() as folder:
        monitor = EdgeMonitor(config=config(folder, upload=upload, **sections))
        log = monitor.log_prediction
        with monitor:
            paced(RATE, 2.5, lambda number: log(*rows[number % 1000], model="m"))
            monitor.flush()
            if upload:
                monitor.upload_now()
            time.sleep(1)  # so that nothing of the warm-up is left to decide about
            began = cpu_seconds()
            count, _ = paced(RATE, seconds, lambda number: log(*rows[number % 1000], model="m"))
            monitor.flush()
            if upload:
                monitor.upload_now()
        used = cpu_seconds() - began
        return {"cpu": used, "count": count, "dropped": sum(monitor.get_status()["dropped"].values())}


def slowly(seconds: float) -> dict[str, float]:
    """10 predictions a second with the defaults, system sampling and an upload included."""
    rows = payloads()
    with scratch() as folder:
        sections = {"telemetry": {"upload_interval_seconds": max(5.0, seconds / 2)}}
        monitor = EdgeMonitor(config=config(folder, upload=True, **sections))
        log = monitor.log_prediction
        with monitor:
            for number in range(300):
                log(*rows[number], model="m")
            monitor.flush()
            time.sleep(1)
            monitor.upload_now()  # the libraries are there, and every worker has run once
            idle = cpu_seconds()
            for _ in range(int(seconds * 10)):
                time.sleep(0.1)
                log(*rows[0], model="m")
            used = cpu_seconds() - idle
        return {"cpu": used, "count": int(seconds * 10)}


def slow_loop(seconds: float) -> dict[str, float]:
    """The load generator of `slowly` alone, where sleeping is what costs."""
    began = cpu_seconds()
    for _ in range(int(seconds * 10)):
        time.sleep(0.1)
    return {"cpu": cpu_seconds() - began, "count": int(seconds * 10)}


PARTS = {
    "loop": loop,
    "bare_store": bare_store,
    "store": lambda seconds: monitored(seconds, upload=False),
    "seal": lambda seconds: monitored(seconds, upload=True),
    "slowly": slowly,
    "slow_loop": slow_loop,
}


def run(part: str, quick: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--part", part, *["--quick"] * quick]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def microseconds(found: dict[str, float], less: float = 0.0) -> float:
    return found["cpu"] / found["count"] * 1e6 - less


def measure(quick: bool) -> None:
    alone = microseconds(run("loop", quick))
    store, seal, bare = (run(part, quick) for part in ("store", "seal", "bare_store"))
    at = {"beside": microseconds(bare, alone), "beside_is": "encode, insert into SQLite by the thousand"}
    figures = [
        figure("CPU a prediction: capture, store, drift", microseconds(store, alone), "us", goal=25, **at),
        figure("CPU a prediction: the same and sealing", microseconds(seal, alone), "us", goal=40, **at),
    ]
    seconds = minute(quick)
    slow, idle = run("slowly", quick), run("slow_loop", True)
    share = (slow["cpu"] / slow["count"] - idle["cpu"] / idle["count"]) * 10 * 100
    note = f"over {seconds:.0f} s, uploads and system sampling included"
    figures.append(figure("share of a core at 10 predictions a second", share, "%", goal=0.3, note=note))
    report("cpu", figures, dropped=store["dropped"] + seal["dropped"])


def minute(quick: bool) -> float:
    return 12.0 if quick else 60.0


if __name__ == "__main__":
    given = arguments()
    if given.part:
        length = minute(given.quick) if given.part.startswith("slow") else (3.0 if given.quick else 8.0)
        print(json.dumps(PARTS[given.part](length)))
    else:
        measure(given.quick)
