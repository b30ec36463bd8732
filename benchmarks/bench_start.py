"""What it takes to be there: import, first logged prediction, resident memory.

Each is a fresh interpreter, beside a bare one started right before it; the smallest of several counts for
time, since everything else on the machine can only add to it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import Any

from workload import arguments, config, figure, payloads, report, scratch

IMPORT = "from edge_mlops_monitor import EdgeMonitor"
PROGRAM = """
import sys, time
began = time.perf_counter()
{statements}
took = time.perf_counter() - began
memory = next(line for line in open("/proc/self/status") if line.startswith("VmRSS:")).split()[1]
print(took * 1000, int(memory) / 1024, "numpy" in sys.modules)
import os; os._exit(0)
"""
FIRST = """
from edge_mlops_monitor import EdgeMonitor
monitor = EdgeMonitor(config={config!r})
monitor.start()
monitor.log_prediction({inputs!r}, {outputs!r}, model="m")
"""


def fresh(statements: str) -> tuple[float, float, bool]:
    """Milliseconds and MB after `statements` in a fresh interpreter, and whether NumPy came with them."""
    command = [sys.executable, "-c", PROGRAM.format(statements=statements)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    took, memory, numpy = done.stdout.split()
    return float(took), float(memory), numpy == "True"


def first_prediction(folder: str) -> str:
    inputs, outputs = payloads(1)[0]
    where = {"storage": {"sqlite_path": f"{folder}/m.db"}}
    return FIRST.format(config=where, inputs=inputs, outputs=outputs)


def starting(rounds: int) -> list[dict[str, Any]]:
    """Bare Python, the import, and everything up to the first prediction, taking turns."""
    found: dict[str, list[tuple[float, float, bool]]] = {"bare": [], "import": [], "first": []}
    for _ in range(rounds):
        found["bare"].append(fresh("pass"))
        found["import"].append(fresh(IMPORT))
        with scratch() as folder:
            found["first"].append(fresh(first_prediction(folder)))
    memory = {name: statistics.median(run[1] for run in runs) for name, runs in found.items()}
    times = {name: min(run[0] for run in runs) for name, runs in found.items()}
    numpy = "NumPy was imported" if any(run[2] for run in found["import"]) else "without NumPy"
    medians = {name: statistics.median(run[0] for run in runs) for name, runs in found.items()}
    beside = {"beside": memory["bare"], "beside_is": "bare Python"}
    return [
        figure(
            "import, time",
            times["import"],
            "ms",
            goal=120,
            note=f"median {medians['import']:.0f} ms; {numpy}",
        ),
        figure("import, above bare Python", memory["import"] - memory["bare"], "MB", goal=10, **beside),
        figure(
            "import, construction, start and first prediction",
            times["first"],
            "ms",
            goal=200,
            note=f"median {medians['first']:.0f} ms",
        ),
    ]


RESIDENT = """
import sys, time
from edge_mlops_monitor import EdgeMonitor
inputs, outputs = {row!r}
monitor = EdgeMonitor(config={config!r})
monitor.start()
for number in range({count}):
    monitor.log_prediction(inputs | {{"feature_00": number % 97 / 97}}, outputs, model="m")
    time.sleep(0.01)
monitor.flush()
errors = monitor.upload_now()["errors"] if {upload} else ""
memory = next(line for line in open("/proc/self/status") if line.startswith("VmRSS:")).split()[1]
print(int(memory) / 1024, errors or "")
sys.stdout.flush()
import os; os._exit(0)
"""


def resident(seconds: float, url: str = "") -> float:
    """Resident memory with drift on, at 100 predictions a second, on a device that was started before."""
    sections: dict[str, Any] = {
        "model_logging": {"flush_interval_seconds": 1},
        "telemetry": {"upload_interval_seconds": 2},
    }
    if url:
        keys = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1"}
        sections["sinks"] = {"s3": {"type": "s3", "bucket": "bench", "endpoint_url": url, **keys}}
    with scratch() as folder:
        settings = config(folder, **sections)
        for count in (1, int(seconds * 100)):
            program = RESIDENT.format(row=payloads(1)[0], config=settings, count=count, upload=bool(url))
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        memory, _, errors = done.stdout.strip().partition(" ")
        assert not errors, errors
        return float(memory)


def measure(quick: bool) -> None:
    figures = starting(3 if quick else 10)
    bare = fresh("pass")[1]
    beside = {"beside": bare, "beside_is": "bare Python"}
    seconds = 4.0 if quick else 12.0
    figures.append(figure("resident with drift on", resident(seconds), "MB", goal=45, **beside))
    for url in s3_server():
        figures.append(figure("resident with drift and S3", resident(seconds, url), "MB", goal=60, **beside))
    report("start", figures)


def s3_server() -> Any:
    """The address of an S3 server on loopback, while it is being iterated; none where moto is missing."""
    try:
        from bench_upload import moto
    except ImportError:
        return
    with moto() as url:
        yield url


if __name__ == "__main__":
    measure(arguments().quick)
