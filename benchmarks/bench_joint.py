"""How features go together: false alarms on healthy data, delays after a changed correlation, processor time.

    python benchmarks/bench_joint.py [--json] [--quick]

Only alarms about pairs are counted; they spend one share of the budget beside one for each feature, as on the
device. Healthy data have a new reference for every budget's worth of predictions. The delay is counted
from the change of one correlation between two of twenty features, of which no feature by itself shows
anything, to the alarm that names these two.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.records import Event

Floats = NDArray[np.float64]
Rng = np.random.Generator
STREAM = ("model", "1", None)
FEATURES = 10
RUN_LENGTH = 5000.0  # predictions between false alarms of the whole device


def factor(rng: Rng, rows: int, by: float, features: int = FEATURES) -> Floats:
    """Standard normal features with a common factor, each two correlated by `by`."""
    common = rng.normal(size=(rows, 1))
    return np.asarray(math.sqrt(by) * common + math.sqrt(1 - by) * rng.normal(size=(rows, features)))


def autoregression(rng: Rng, rows: int, rho: float, by: float) -> Floats:
    """The same with the autocorrelation `rho` from row to row."""
    noise = factor(rng, rows, by) * math.sqrt(1 - rho * rho)
    noise[0] /= math.sqrt(1 - rho * rho)
    for row in range(1, rows):
        noise[row] += rho * noise[row - 1]
    return noise


HEALTHY: dict[str, tuple[int, Callable[[Rng, int], Floats]]] = {
    "independent": (1000, lambda rng, rows: factor(rng, rows, 0.0)),
    "short reference": (200, lambda rng, rows: factor(rng, rows, 0.0)),
    "correlated 0.5": (1000, lambda rng, rows: factor(rng, rows, 0.5)),
    "correlated 0.9": (1000, lambda rng, rows: factor(rng, rows, 0.9)),
    "AR(1) 0.5": (1000, lambda rng, rows: autoregression(rng, rows, 0.5, 0.5)),
    "AR(1) 0.9": (2000, lambda rng, rows: autoregression(rng, rows, 0.9, 0.5)),
    "AR(1) 0.9, independent": (2000, lambda rng, rows: autoregression(rng, rows, 0.9, 0.0)),
    "heavy tails": (1000, lambda rng, rows: rng.standard_t(1, size=(rows, FEATURES))),
    "ties": (1000, lambda rng, rows: np.round(factor(rng, rows, 0.5) * 2)),
    "many zeros": (1000, lambda rng, rows: np.maximum(factor(rng, rows, 0.5), 0.0)),
    "10 % missing": (
        1000,
        lambda rng, rows: np.where(rng.random((rows, FEATURES)) < 0.1, np.nan, factor(rng, rows, 0.5)),
    ),
}
CHANGES = ((0.0, 0.8), (0.8, 0.0), (0.5, -0.5), (0.0, 0.5), (0.0, 0.3), (0.9, 0.6), (0.95, 0.8))


def columns(data: Floats) -> dict[str, Any]:
    """An array (rows, features) as named columns."""
    return {f"inputs.x{i}": data[:, i].tolist() for i in range(data.shape[1])}


def joint_alarms(watcher: Watcher, data: Floats) -> list[Event]:
    """The alarms about pairs that these rows raise."""
    found = watcher.update(STREAM, columns(data), [0.0] * len(data))
    return [one for one in found if isinstance(one, Event) and one.type == "drift" and "features" in one.data]


def healthy(name: str, budgets: int, seed: int) -> dict[str, Any]:
    """Alarms in so many budgets of healthy data."""
    rows, draw = HEALTHY[name]
    rng = np.random.default_rng(seed)
    alarms = 0
    for _ in range(budgets):
        data = draw(rng, rows + int(RUN_LENGTH))
        settings = Settings(average_run_length=RUN_LENGTH, minimum_effect=0.0)
        alarms += len(joint_alarms(Watcher(settings, build(columns(data[:rows]))), data[rows:]))
    return {"alarms": alarms, "budgets": budgets}


def tied(data: Floats, by: float, features: slice) -> None:
    """Let the first two features have a correlation in some rows, each staying standard normal."""
    part = data[features]
    part[:, 1] = by * part[:, 0] + math.sqrt(1 - by * by) * part[:, 1]


def changed(before: float, after: float, runs: int, seed: int) -> dict[str, Any]:
    """Delays: 20 features, run length 250 000, reference 1000, healthy for 2000, changed for 4000."""
    rng = np.random.default_rng(seed)
    delays = []
    for _ in range(runs):
        data = rng.normal(size=(7000, 20))
        tied(data, before, slice(0, 3000))
        tied(data, after, slice(3000, None))
        watcher = Watcher(Settings(average_run_length=250_000), build(columns(data[:1000])))
        rows = [
            one.data["row"] - 1999
            for one in joint_alarms(watcher, data[1000:])
            if one.data["row"] >= 2000 and one.data["features"] == ["inputs.x0", "inputs.x1"]
        ]
        delays.append(rows[0] if rows else np.inf)
    ten, half, ninety = (float(np.quantile(delays, q, method="nearest")) for q in (0.1, 0.5, 0.9))
    return {"median": half, "10 %": ten, "90 %": ninety, "missed": float(np.mean(np.isinf(delays)))}


def cost(call: int, together: bool, rows: int = 12_000) -> float:
    """Microseconds of processor time a prediction of 22 features; without pairs where one has no other."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(rows, 22))
    reference = build(columns(data[:1000]))
    settings = Settings(share="drift" if together else "performance")  # a share that has no pairs
    watcher = Watcher(settings, reference)
    calls = [(columns(data[i : i + call]), [i * 0.1] * call) for i in range(1000, rows - call, call)]
    watcher.update(STREAM, *calls[0])
    begin = time.process_time()
    for part in calls[1:]:
        watcher.update(STREAM, *part)
    return (time.process_time() - begin) / (call * (len(calls) - 1)) * 1e6


def main() -> None:
    """Run it all and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a quarter of the exposure")
    options = parser.parse_args()
    budgets, runs = (10, 10) if options.quick else (40, 40)
    found: dict[str, Any] = {"healthy": {}, "delays": {}, "cost_us": {}}
    for seed, name in enumerate(HEALTHY):
        found["healthy"][name] = healthy(name, budgets, seed)
        if not options.json:
            print(f"{name:26}{found['healthy'][name]['alarms']:>4} alarms in {budgets} budgets", flush=True)
    for seed, (before, after) in enumerate(CHANGES):
        found["delays"][f"{before} -> {after}"] = one = changed(before, after, runs, seed)
        if not options.json:
            figures = "".join(f"{key}: {value:g}  " for key, value in one.items())
            print(f"correlation {before} -> {after}:  {figures}", flush=True)
    for call in (100, 500, 2000):
        found["cost_us"][str(call)] = [cost(call, together) for together in (True, False)]
        if not options.json:
            with_pairs, without = found["cost_us"][str(call)]
            print(
                f"{call} predictions a call: {with_pairs:.1f} us each, {without:.1f} without pairs",
                flush=True,
            )
    if options.json:
        json.dump(found, sys.stdout, indent=1)
        print()


if __name__ == "__main__":
    main()
