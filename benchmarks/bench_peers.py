"""Peers of this package on this machine: what pip brings, what an import takes, what a prediction costs.

    python benchmarks/bench_peers.py              all, and the table in docs/comparison.md
    python benchmarks/bench_peers.py river ours   these; only prints

Each is installed from the package index into `.venv-peer-NAME` once, 3 GB in all. They take turns, and the
least of three turns counts, in processor time: what else the machine does only adds.
`make bench` leaves this out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from run import ROOT, described, number, origin, replace
from workload import config, payloads, scratch

TURNS, ROWS = 3, 1000
BOUNDS = ["pandas<3"]  # what pip would choose today, 3.1, these cannot import
QUIET = {"WHYLOGS_NO_ANALYTICS": "True", "NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}
HEAD = """
import json, time
began = time.process_time()
{imports}
imported = time.process_time() - began
status = open("/proc/self/status").read().splitlines()
resident = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS:"))
rows = json.load(open("rows.json"))
costs, alarms = {{}}, {{}}

def cost(name, job, count=1):
    "Microseconds of processor time of all threads, for each of `count`."
    began = time.process_time()
    job()
    costs[name] = (time.process_time() - began) / count * 1e6

{body}
print(json.dumps({{"import": imported, "resident": resident, "costs": costs, "alarms": alarms}}), flush=True)
import os; os._exit(0)
"""
OURS = """
def log(count):
    for number in range(count):
        monitor.log_prediction(*rows[number % 1000])
        if number % 100 == 99:
            time.sleep(0.01)
    monitor.flush()
    time.sleep(2)  # until all is decided about
with EdgeMonitor("config.yaml") as monitor:
    log(5000)
    cost("recorded on disk, decided about", lambda: log(20_000), 20_000)
"""
FIRST = """
monitor = EdgeMonitor("config.yaml")
def job():
    for inputs, outputs in rows[:200]:
        monitor.log_model_output(monitor.log_model_input(inputs), outputs)
cost("recorded on disk", job, 200)
"""
WHYLOGS = """
def job():
    for inputs, _ in rows[:200]:
        why.log(row=inputs)
cost("profiled row by row", job, 200)
frame = pd.DataFrame([inputs for inputs, _ in rows])
cost("profiled as a frame of 1000", lambda: why.log(frame), len(rows))
"""
EVIDENTLY = """
rng, names = np.random.default_rng(0), [f"x{i}" for i in range(20)]
def frame(rows):
    return pd.DataFrame(rng.normal(size=(rows, 20)), columns=names)
def check(reference, current):
    metrics = Report([DataDriftPreset()]).run(current, reference).dict()["metrics"]
    tests = [one["config"] | {"value": float(one["value"])} for one in metrics if "column" in one["config"]]
    small = "p_value" in tests[0]["method"]
    return tests[0]["method"], [(one["value"] < one["threshold"]) == small for one in tests]
for size in (1000, 2000):
    reference = frame(size)
    cost(f"1/100 of a check of 100 against {size} rows", lambda: check(reference, frame(100)), 100)
    found = [check(reference, frame(100)) for _ in range(4)]
    hits = sum(sum(drifted) for _, drifted in found)
    alarms[f"{found[0][0]}, reference of {size} rows"] = [hits, 4 * 20]
"""
NANNYML = """
rng, names = np.random.default_rng(0), [f"x{i}" for i in range(20)]
def frame(rows):
    return pd.DataFrame(rng.normal(size=(rows, 20)), columns=names)
calculator = nannyml.UnivariateDriftCalculator(column_names=names, chunk_size=100)
calculator.fit(frame(1000))
current = frame(10_000)
def job():
    global found
    found = calculator.calculate(current).filter(period="analysis").to_df()
cost("1/10 000 of a check of 100 chunks of 100 against 1000 rows", job, len(current))
alerts = found[[column for column in found.columns if column[-1] == "alert"]].to_numpy()
alarms["jensen_shannon, ten reference chunks"] = [int(alerts.sum()), alerts.size]
"""
RIVER = """
def feed(detectors, rows):
    for inputs, _ in rows:
        for detector, value in zip(detectors, inputs.values()):
            detector.update(value)
for cls, count in ((drift.ADWIN, 800), (drift.PageHinkley, 800), (drift.KSWIN, 100)):
    detectors = [cls() for _ in range(20)]
    feed(detectors, rows[:200])  # their windows are full now
    cost(cls.__name__, lambda: feed(detectors, rows[200:200 + count]), count)
"""


class Peer(NamedTuple):
    """What is installed, imported and run."""

    title: str
    packages: list[str]
    imports: str
    body: str


PEERS = {
    "ours": Peer("this package", [str(ROOT)], "from edge_mlops_monitor import EdgeMonitor", OURS),
    "0.1.1": Peer(
        "0.1.1 of it", ["edge-mlops-monitor==0.1.1"], "from edge_mlops_monitor import EdgeMonitor", FIRST
    ),
    "whylogs": Peer(
        "whylogs 1.6.4", ["whylogs[numpy]==1.6.4", *BOUNDS], "import whylogs as why, pandas as pd", WHYLOGS
    ),
    "evidently": Peer(
        "Evidently 0.7.23",
        ["evidently==0.7.23", *BOUNDS],
        "import numpy as np, pandas as pd\nfrom evidently import Report\n"
        "from evidently.presets import DataDriftPreset",
        EVIDENTLY,
    ),
    "nannyml": Peer(
        "NannyML 0.13.1",
        ["nannyml==0.13.1", "statsmodels", *BOUNDS],
        "import nannyml, numpy as np, pandas as pd",
        NANNYML,
    ),
    "river": Peer("river 0.26.1", ["river==0.26.1"], "from river import drift", RIVER),
}


def installed(name: str) -> Path:
    """The Python of an environment that holds the peer, made if it is not there."""
    folder = ROOT / f".venv-peer-{name}"
    done = folder / ".installed"
    if not done.exists():
        print(f"installing {PEERS[name].title} ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PEERS[name].packages], check=True, timeout=900)
        done.touch()
    return folder / "bin" / "python"


def brought(python: Path) -> float:
    """MB of what pip brought into an environment, without pip itself and without caches."""
    packages = next((python.parent.parent / "lib").glob("python*/site-packages"))
    own = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    files = (path for path in packages.rglob("*") if path.is_file() and path.suffix != ".pyc")
    counted = (path for path in files if not path.relative_to(packages).parts[0].startswith(own))
    return sum(path.stat().st_size for path in counted) / 1e6


def turn(name: str) -> dict[str, Any]:
    """One run of a peer's program in an empty folder."""
    peer = PEERS[name]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with scratch() as folder:
        Path(folder, "rows.json").write_text(json.dumps(payloads(ROWS)))
        settings = {"storage": {"type": "sqlite", "sqlite_path": str(Path(folder, "m.db"))}}
        Path(folder, "config.yaml").write_text(json.dumps(config(folder) if name == "ours" else settings))
        command = [str(installed(name)), "-c", HEAD.format(imports=peer.imports, body=peer.body)]
        done = subprocess.run(
            command, cwd=folder, env=environment | QUIET, capture_output=True, text=True, timeout=400
        )
    if done.returncode:
        raise SystemExit(f"{peer.title} failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def least(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure the least, since noise only adds."""
    costs = {name: min(one["costs"][name] for one in turns) for name in turns[0]["costs"]}
    first = {name: min(one[name] for one in turns) for name in ("import", "resident")}
    return {**first, "costs": costs, "alarms": turns[0]["alarms"]}


def row(name: str, found: dict[str, Any]) -> str:
    costs = "; ".join(f"{what} {number(value)} us" for what, value in found["costs"].items())
    size = f"{brought(installed(name)):.0f}"
    cells = [PEERS[name].title, size, number(found["import"]), f"{found['resident']:.0f}", costs]
    return f"| {' | '.join(cells)} |"


def raised(found: dict[str, dict[str, Any]]) -> str:
    """What the peers that decide said of data without any drift."""
    lines = [
        f"| {PEERS[name].title}: {method} | {100 * hits / of:.1f} % of {of} |"
        for name, one in found.items()
        for method, (hits, of) in one["alarms"].items()
    ]
    return "\n".join(["| asked about one feature, 100 rows | says drift in |", "| --- | --- |", *lines])


def main() -> None:
    names = sys.argv[1:] or list(PEERS)
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(TURNS):
        for name in names:
            turns[name].append(turn(name))
    found = {name: least(each) for name, each in turns.items()}
    head = "| | installed MB | import s | resident MB | a prediction of 20 features |\n" + "| --- " * 5 + "|"
    costs = "\n".join([head, *(row(name, one) for name, one in found.items())])
    when = f"`python benchmarks/bench_peers.py`, {described(origin())}"
    print(costs, raised(found), when, sep="\n\n")
    if not sys.argv[1:]:
        replace(ROOT / "docs" / "comparison.md", "peers", f"{costs}\n\n{when}")
        replace(ROOT / "docs" / "comparison.md", "alarms of peers", f"{raised(found)}\n\n{when}")


if __name__ == "__main__":
    main()
