"""What all benchmarks share: the payload, a monitor to give it to, and how a figure is written down."""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FEATURES = 20
Payload = tuple[dict[str, float], dict[str, float]]


def payloads(count: int = 1000, seed: int = 1) -> list[Payload]:
    """Dicts of 20 random floats in and 2 out: 430 bytes of MessagePack, 696 of JSON in all."""
    rng = random.Random(seed)
    return [
        (
            {f"feature_{i:02d}": rng.gauss(0, 1) for i in range(FEATURES)},
            {"score": rng.random(), "margin": rng.gauss(0, 1)},
        )
        for _ in range(count)
    ]


def reference_file(folder: str | os.PathLike[str]) -> str:
    """A reference for every feature, so that drift is decided about from the first prediction on."""
    rows = payloads(1000, seed=2)
    values: dict[str, list[float]] = {}
    for inputs, outputs in rows:
        for name, value in {**inputs, **outputs}.items():
            values.setdefault(name, []).append(value)
    path = Path(folder, "reference.json")
    path.write_text(json.dumps(values))
    return str(path)


def config(folder: str | os.PathLike[str], *, upload: bool = False, **sections: Any) -> dict[str, Any]:
    """A monitor with drift on, and with `upload` a local folder that it uploads to."""
    out: dict[str, Any] = {
        "storage": {"sqlite_path": str(Path(folder, "monitor.db"))},
        "drift_detection": {"reference_data_path": reference_file(folder)},
    }
    if upload:
        out["sinks"] = {"folder": {"type": "file", "path": str(Path(folder, "uploaded"))}}
    for name, values in sections.items():
        out[name] = {**out.get(name, {}), **values}
    return out


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def figure(
    what: str,
    value: float,
    unit: str,
    *,
    goal: float | None = None,
    beside: float | None = None,
    beside_is: str = "",
    ratio_goal: float | None = None,
    note: str = "",
) -> dict[str, Any]:
    """One figure: the value, the floor or peer beside it, and the goal for the value or for their ratio."""
    return {
        "what": what,
        "value": value,
        "unit": unit,
        "goal": goal,
        "beside": beside,
        "beside_is": beside_is,
        "ratio_goal": ratio_goal,
        "note": note,
    }


def resident_mb(pid: int | str = "self", key: str = "VmRSS") -> float:
    """Resident memory of a process, in MB of 1024 * 1024 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"no {key} in /proc/{pid}/status")


def cpu_seconds() -> float:
    """Processor time of all threads of this process, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def paced(
    rate: int, seconds: float, act: Callable[[int], object], *, yields: bool = True
) -> tuple[int, float]:
    """Call `act(number)` `rate` times a second in bursts of 10 ms; how often, and the seconds it took.

    With `yields=False` the time between two bursts is spun away, and the interpreter's lock never let go.
    """
    burst = max(1, rate // 100)
    pause = burst / rate
    began = time.perf_counter()
    number, due = 0, began
    while due - began < seconds:
        for _ in range(burst):
            act(number)
            number += 1
        due += pause
        wait = due - time.perf_counter()
        if wait > 0 and yields:
            time.sleep(wait)
        elif not yields:
            while time.perf_counter() < due:
                pass
    return number, time.perf_counter() - began


@contextmanager
def scratch() -> Iterator[str]:
    """A folder on a real disk, removed afterwards: the system's temporary one is often in memory."""
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix=".bench-", dir=Path(__file__).parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def arguments() -> argparse.Namespace:
    """`--quick` asks for a fraction of the time, and coarser figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", default="")
    return parser.parse_args()


def report(name: str, figures: list[dict[str, Any]], **details: Any) -> None:
    """Print what `run.py` reads: one JSON object."""
    print(json.dumps({"benchmark": name, "figures": figures, "details": details}))
