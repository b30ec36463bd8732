"""Version 0.1.1 of this package beside ours: the same 20-feature prediction, logged in two halves.

It is installed from the package index into `.venv-peer` once; where that is not possible, only the reason
is reported. Both run the same program, each in a folder of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from workload import arguments, figure, payloads, report, scratch

PEER = Path(__file__).parent.parent / ".venv-peer"
PROGRAM = """
import json, sys, time
began = time.perf_counter()
from edge_mlops_monitor import EdgeMonitor
imported = (time.perf_counter() - began) * 1000
memory = next(line for line in open("/proc/self/status") if line.startswith("VmRSS:")).split()[1]
rows = json.load(open("rows.json"))
monitor = EdgeMonitor("config.yaml")
def log(inputs, outputs):
    began = time.perf_counter()
    monitor.log_model_output(monitor.log_model_input(inputs), outputs)
    return time.perf_counter() - began
for row in rows[:20]:
    log(*row)
times = sorted(log(*row) * 1e6 for row in rows)
print(json.dumps({"median": times[len(times) // 2], "p99": times[len(times) * 99 // 100],
                  "import": imported, "memory": int(memory) / 1024}))
sys.stdout.flush()
import os; os._exit(0)
"""


def install() -> str:
    """Make the environment of 0.1.1; the reason where it cannot be."""
    if PEER.exists():
        return ""
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "edge-mlops-monitor==0.1.1"]
    try:
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True, capture_output=True)
        subprocess.run([str(PEER / "bin/python"), *pip], check=True, capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as error:
        subprocess.run(["rm", "-rf", str(PEER)])
        return f"version 0.1.1 could not be installed ({type(error).__name__})"
    return ""


def look_at(python: str, count: int) -> dict[str, float]:
    with scratch() as folder:
        Path(folder, "rows.json").write_text(json.dumps(payloads(count)))
        settings = {"storage": {"type": "sqlite", "sqlite_path": str(Path(folder, "m.db"))}}
        Path(folder, "config.yaml").write_text(json.dumps(settings))
        command = [python, "-c", PROGRAM]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=120)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


def measure(quick: bool) -> None:
    reason = install()
    if reason:
        report("peer", [], skipped=reason)
        return
    count = 100 if quick else 500
    turns = [(look_at(sys.executable, count), look_at(str(PEER / "bin/python"), count)) for _ in range(3)]
    ours, theirs = ({key: min(run[side][key] for run in turns) for key in turns[0][0]} for side in (0, 1))
    at: dict[str, Any] = {"beside_is": "version 0.1.1"}
    figures = [
        figure("a prediction in two halves, median", ours["median"], "us", beside=theirs["median"], **at),
        figure("a prediction in two halves, p99", ours["p99"], "us", beside=theirs["p99"], **at),
        figure("import of EdgeMonitor, time", ours["import"], "ms", beside=theirs["import"], **at),
        figure("resident after the import", ours["memory"], "MB", beside=theirs["memory"], **at),
    ]
    report("peer", figures)


if __name__ == "__main__":
    measure(arguments().quick)
