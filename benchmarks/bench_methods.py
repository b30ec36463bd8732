"""What methods cost: a decision of 20 features, a value of a stream, state, beside scipy and river.

    python benchmarks/bench_methods.py [--quick]

scipy is measured in the same run, river where bench_peers.py has installed it; else, as for Evidently, the
figure that bench_peers.py found (docs/comparison.md) stands beside ours, and says so.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ks_2samp
from workload import arguments, figure, report

from edge_mlops_monitor import drift
from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher

FEATURES, REFERENCE, ROWS = 20, 1000, 100
STREAM = ("model", "1", None)
NUMBERS = ("adwin", "kswin", "page_hinkley", "cusum", "ewma")
ERRORS = ("ddm", "eddm", "hddm_a", "hddm_w")
PEERS = {"evidently": 1717.0, "river": 0.161}  # ms, us a value; by bench_peers.py, 2026-11-26
ROUNDS = 5
STATE_GOAL = 8192.0


def fastest(job: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """The shortest of some rounds of processor time, in seconds: noise only adds."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        job()
        times.append(time.process_time() - begin)
    return min(times)


def decisions(quick: bool) -> list[dict[str, Any]]:
    """A decision about 20 features from 100 rows, with and without p-values."""
    rng = np.random.default_rng(0)
    before, now = rng.normal(size=(REFERENCE, FEATURES)), rng.normal(size=(ROWS, FEATURES))
    rounds = 20 if quick else 100
    windows = iter(rng.normal(size=(rounds + 1, FEATURES, ROWS)))
    watched = [f"inputs.x{i}" for i in range(FEATURES)]
    watcher = Watcher(Settings(), build(dict(zip(watched, before.T, strict=True))))
    moments = iter(range(0, 1 << 40, ROWS))

    def decide() -> None:
        first = next(moments)
        columns = dict(zip(watched, next(windows), strict=True))
        watcher.update(STREAM, columns, [1e9 + first + row for row in range(ROWS)])

    decide()
    ours = fastest(decide, rounds) * 1e3
    with_p = (
        fastest(lambda: [drift.compare("ks_test", before[:, i], now[:, i]) for i in range(FEATURES)], 5) * 1e3
    )
    theirs = scipys(before, now)
    return [
        figure(
            "a decision about 20 features from 100 rows, as the device makes it (no p-values)",
            ours,
            "ms",
            goal=1.0,
            beside=theirs,
            beside_is="scipy ks_2samp with p-values, same run",
        ),
        figure(
            "the same beside Evidently",
            ours,
            "ms",
            beside=PEERS["evidently"],
            beside_is="Evidently 0.7.23, by bench_peers.py",
        ),
        figure(
            "ks_test with exact p-values, 20 features, 1000 rows against 100",
            with_p,
            "ms",
            beside=theirs,
            beside_is="scipy ks_2samp, same run",
        ),
    ]


def scipys(before: Any, now: Any) -> float:
    """Milliseconds of scipy's test of all columns."""
    return fastest(lambda: [ks_2samp(before[:, i], now[:, i]) for i in range(FEATURES)]) * 1e3


def streams(quick: bool) -> list[dict[str, Any]]:
    """Microseconds a value of each detector's `update_many`."""
    values = 20_000 if quick else 100_000
    rng = np.random.default_rng(1)
    numbers, errors = rng.normal(size=values), (rng.random(values) < 0.2).astype(float)
    adwin, where = rivers_adwin(numbers)
    found = []
    for name in (*NUMBERS, *ERRORS, "e_detector"):
        given = {"reference": rng.normal(size=REFERENCE)} if name == "e_detector" else {}
        stream = errors if name in ERRORS else numbers
        seconds = fastest(lambda: drift.detector(name, **given).update_many(stream))  # noqa: B023
        found.append(
            figure(
                f"{name}, update_many, a value",
                seconds / values * 1e6,
                "us",
                beside=adwin,
                beside_is=f"river's ADWIN, {where}",
                ratio_goal=3.0,
            )
        )
    return found


RIVER = """
import json, sys, time
from river.drift import ADWIN
values, times = json.load(sys.stdin), []
for _ in range(int(sys.argv[1])):
    detector, begin = ADWIN(), time.process_time()
    for value in values:
        detector.update(value)
    times.append(time.process_time() - begin)
print(min(times))
"""


def rivers_adwin(numbers: Any) -> tuple[float, str]:
    """Microseconds a value of river's ADWIN, which is compiled, where bench_peers.py has installed it."""
    python = Path(__file__).parent.parent / ".venv-peer-river" / "bin" / "python"
    if not python.exists():
        return PEERS["river"], "by bench_peers.py"
    command = [str(python), "-c", RIVER, str(ROUNDS)]
    values = json.dumps(numbers.tolist())
    done = subprocess.run(command, input=values, capture_output=True, text=True, check=True, timeout=300)
    return float(done.stdout) / len(numbers) * 1e6, "same run"


def kept(features: int, *, learns: bool = False, text: int = 0) -> int:
    """Most bytes of the state of so many features in 5000 rows, as they are kept in the database.

    With `text` one row in so many holds text.
    """
    rng = np.random.default_rng(2)
    names = [f"inputs.x{i}" for i in range(features)]
    references = [] if learns else build({name: rng.normal(size=REFERENCE) for name in names})
    watcher = Watcher(Settings(), references)
    columns: dict[str, Any] = {name: rng.normal(size=5000) for name in names}
    if text:
        columns = {name: column.tolist() for name, column in columns.items()}
        for column in columns.values():
            column[::text] = ["ERR"] * len(column[::text])
    ts, most = np.cumsum(1 + rng.random(5000) / 20), 0
    for begin in range(0, 5000, 250):
        rows = slice(begin, begin + 250)
        watcher.update(STREAM, {name: column[rows] for name, column in columns.items()}, ts[rows])
        most = max(most, len(watcher.state()))
    return most


def by_hour(features: int) -> tuple[float, float]:
    """Bytes of state a feature that depends on the hour: most while it is learned, and after five weeks."""
    rng, most, state = np.random.default_rng(2), 0, b""
    watcher, day = Watcher(Settings(context="hour_of_day")), 1440
    for begin in range(0, 35 * day, day // 2):
        ts = 60.0 * np.arange(begin, begin + day // 2)
        sine = 3 * np.sin(2 * np.pi * ts / 86_400)
        watcher.update(STREAM, {f"inputs.x{i}": sine + rng.normal(size=len(ts)) for i in range(features)}, ts)
        state = watcher.state()
        if watcher.status()[STREAM]["inputs.x0"]["state"] == "learning":
            most = max(most, len(state))
    return most / features, len(state) / features


def state() -> list[dict[str, Any]]:
    """Bytes of state for each feature, of many, of two, and of one or two while a reference is learned."""
    few, some, many = (kept(features) for features in (2, 20, 40))
    (learns, knows), (learns_one, knows_one) = by_hour(2), by_hour(1)
    return [
        figure(
            "state of a feature, as it is checkpointed",
            (many - some) / 20,
            "bytes",
            goal=STATE_GOAL,
            note=f"{some} bytes with 20 features",
        ),
        figure("state of each of two features", few / 2, "bytes", goal=STATE_GOAL),
        figure(
            "state of each of two features while the reference is learned",
            kept(2, learns=True) / 2,
            "bytes",
            goal=STATE_GOAL,
            note="the sample that it is made of, at most 1000 rows",
        ),
        figure(
            "state of an only feature while the reference is learned",
            kept(1, learns=True),
            "bytes",
            goal=STATE_GOAL,
        ),
        figure(
            "state of an only feature with text in one of 11 rows while the reference is learned",
            kept(1, learns=True, text=11),
            "bytes",
            goal=STATE_GOAL,
        ),
        figure(
            "state of each of two features that depend on the hour, after five weeks",
            knows,
            "bytes",
            goal=STATE_GOAL,
        ),
        figure(
            "the same while the hours are learned",
            learns,
            "bytes",
            goal=STATE_GOAL,
            note="a sample of 160 rows of each hour, in fewer digits",
        ),
        figure(
            "state of an only feature that depends on the hour, after five weeks",
            knows_one,
            "bytes",
            goal=STATE_GOAL,
        ),
        figure(
            "the same while the hours of an only feature are learned", learns_one, "bytes", goal=STATE_GOAL
        ),
    ]


def cost(quick: bool) -> list[dict[str, Any]]:
    """Processor time of drift decisions for each prediction of 22 features."""
    found = []
    rows = 5000 if quick else 20_000
    for call in (100, 500, 2000):
        rng = np.random.default_rng(0)
        names = [f"inputs.x{i}" for i in range(22)]
        watcher = Watcher(Settings(), build(dict(zip(names, rng.normal(size=(22, 1000)), strict=True))))
        data = rng.normal(size=(rows, 22)).T.tolist()
        calls = [
            (
                {n: column[i : i + call] for n, column in zip(names, data, strict=True)},
                [j * 1e-4 for j in range(i, min(i + call, rows))],
            )
            for i in range(0, rows, call)
        ]
        watcher.update(STREAM, *calls[0])
        begin = time.process_time()
        for part in calls[1:]:
            watcher.update(STREAM, *part)
        each = (time.process_time() - begin) / (rows - call) * 1e6
        found.append(figure(f"CPU a prediction of 22 features, {call} at a time", each, "us"))
    return found


def measure(quick: bool) -> None:
    report("methods", [*decisions(quick), *streams(quick), *state(), *cost(quick)])


if __name__ == "__main__":
    measure(arguments().quick)
