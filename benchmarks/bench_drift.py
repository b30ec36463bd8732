"""Drift decisions: false alarms on healthy data, delays on changed data, processor time.

    python benchmarks/bench_drift.py [--json] [--quick]

Healthy cases run with new references every budget's worth of predictions, so that the luck of one
reference does not decide. The delay is counted from the change to the alarm on the changed feature.
"""

from __future__ import annotations

import argparse
import json
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


def ar(rho: float) -> Callable[[Rng, int], Floats]:
    """A first-order autoregression with variance 1."""

    def draw(rng: Rng, rows: int) -> Floats:
        noise = rng.normal(size=(rows, FEATURES)) * np.sqrt(1 - rho * rho)
        noise[0] /= np.sqrt(1 - rho * rho)
        for row in range(1, rows):
            noise[row] += rho * noise[row - 1]
        return noise

    return draw


def sine(rng: Rng, rows: int) -> Floats:
    """A daily sine of 1440 rows a day, with noise."""
    day = np.sin(2 * np.pi * np.arange(rows) / 1440)[:, None]
    return np.asarray(day + 0.3 * rng.normal(size=(rows, FEATURES)))


HEALTHY: dict[str, tuple[int, Callable[[Rng, int], Any]]] = {
    "independent": (1000, lambda rng, rows: rng.normal(size=(rows, FEATURES))),
    "short reference": (200, lambda rng, rows: rng.normal(size=(rows, FEATURES))),
    "AR(1) 0.1": (1000, ar(0.1)),
    "AR(1) 0.5": (2000, ar(0.5)),
    "AR(1) 0.9": (2000, ar(0.9)),
    "AR(1) 0.97": (2000, ar(0.97)),
    "daily sine": (2000, sine),
    "heavy tails": (1000, lambda rng, rows: rng.standard_t(1, size=(rows, FEATURES))),
    "ties": (1000, lambda rng, rows: np.round(rng.normal(size=(rows, FEATURES)) * 2)),
    "many zeros": (1000, lambda rng, rows: np.maximum(rng.normal(size=(rows, FEATURES)), 0.0)),
    "5 categories": (
        1000,
        lambda rng, rows: rng.choice(list("abcde"), size=(rows, FEATURES), p=(0.5, 0.2, 0.15, 0.1, 0.05)),
    ),
    "1000 categories": (
        2000,
        lambda rng, rows: np.char.mod("c%d", rng.zipf(1.5, size=(rows, FEATURES)) % 1000),
    ),
    "3 % missing": (
        1000,
        lambda rng, rows: np.where(
            rng.random((rows, FEATURES)) < 0.03, np.nan, rng.normal(size=(rows, FEATURES))
        ),
    ),
}

CHANGES: dict[str, Callable[[Floats], Floats]] = {
    "shift 0.25 sd": lambda x: x + 0.25,
    "shift 0.5 sd": lambda x: x + 0.5,
    "shift 1 sd": lambda x: x + 1,
    "shift 2 sd": lambda x: x + 2,
    "scale x1.5": lambda x: x * 1.5,
    "scale x2": lambda x: x * 2,
    "scale x0.5": lambda x: x * 0.5,
    "shape (two peaks)": lambda x: np.sign(x) * 0.9 + 0.436 * np.roll(x, 7),
    "10 % missing": lambda x: np.where(np.arange(len(x)) % 10 == 3, np.nan, x),
}


def columns(data: Any) -> dict[str, list[Any]]:
    """An array (rows, features) as named columns."""
    return {f"inputs.x{i}": data[:, i].tolist() for i in range(data.shape[1])}


def healthy(name: str, budgets: int, seed: int) -> dict[str, Any]:
    """Alarms in so many budgets of healthy data."""
    reference_rows, draw = HEALTHY[name]
    rng = np.random.default_rng(seed)
    alarms, silent = 0, 0
    for _ in range(budgets):
        data = draw(rng, reference_rows + int(RUN_LENGTH))
        settings = Settings(average_run_length=RUN_LENGTH, minimum_effect=0.0)
        watcher = Watcher(settings, build(columns(data[:reference_rows])))
        live = columns(data[reference_rows:])
        found = watcher.update(STREAM, live, [0.0] * int(RUN_LENGTH))
        alarms += sum(isinstance(one, Event) and one.severity == "alarm" for one in found)
        silent += sum(state["state"] == "not_enough_reference" for state in watcher.status()[STREAM].values())
    return {"alarms": alarms, "budgets": budgets, "not_enough_reference": silent / budgets / FEATURES}


def changed(name: str, runs: int, seed: int) -> dict[str, Any]:
    """Delays until the alarm: 20 features, average run length 250 000, reference 1000, healthy for 2000."""
    rng = np.random.default_rng(seed)
    delays = []
    for _ in range(runs):
        settings = Settings(average_run_length=250_000 * 20 / 20, minimum_effect=0.0)
        data = rng.normal(size=(1000 + 2000 + 6000, 20))
        data[3000:, 0] = CHANGES[name](data[3000:, 0])
        watcher = Watcher(settings, build(columns(data[:1000])))
        found = watcher.update(STREAM, columns(data[1000:]), [0.0] * 8000)
        rows = [
            one.data["row"] - 1999
            for one in found
            if isinstance(one, Event) and one.data["feature"] == "inputs.x0" and one.data["row"] >= 2000
        ]
        delays.append(rows[0] if rows else np.inf)
    ten, half, ninety = (float(np.quantile(delays, q, method="nearest")) for q in (0.1, 0.5, 0.9))
    missed = float(np.mean(np.isinf(delays)))
    return {"median": half, "10 %": ten, "90 %": ninety, "missed": missed}


def cost(rows: int, call: int) -> float:
    """Microseconds of processor time a prediction, 22 features, `call` predictions a call."""
    rng = np.random.default_rng(0)
    watcher = Watcher(Settings(), build(columns(rng.normal(size=(1000, 22)))))
    data = rng.normal(size=(rows, 22))
    calls = [
        (columns(data[i : i + call]), [(i + j) * 1e-4 for j in range(call)]) for i in range(0, rows, call)
    ]
    watcher.update(STREAM, *calls[0])
    begin = time.process_time()
    for part in calls[1:]:
        watcher.update(STREAM, *part)
    return (time.process_time() - begin) / (rows - call) * 1e6


def main() -> None:
    """Run it all and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth of the exposure")
    options = parser.parse_args()
    budgets, runs = (8, 10) if options.quick else (80, 100)
    found: dict[str, Any] = {"healthy": {}, "delays": {}, "cost_us": {}}
    if not options.json:
        print(f"{'healthy data':22}{'alarms':>8}{'budget':>8}{'not enough reference':>24}")
    for seed, name in enumerate(HEALTHY):
        found["healthy"][name] = one = healthy(name, budgets, seed)
        if not options.json:
            print(f"{name:22}{one['alarms']:>8}{one['budgets']:>8}{one['not_enough_reference']:>23.0%}")
    if not options.json:
        print(f"\n{'delay in predictions':22}{'median':>8}{'10 %':>8}{'90 %':>8}{'missed':>8}")
    for seed, name in enumerate(CHANGES):
        found["delays"][name] = one = changed(name, runs, seed)
        if not options.json:
            print(
                f"{name:22}{one['median']:>8.0f}{one['10 %']:>8.0f}{one['90 %']:>8.0f}{one['missed']:>8.0%}"
            )
    for call in (100, 500, 2000):
        found["cost_us"][str(call)] = cost(20_000, call)
    if options.json:
        json.dump(found, sys.stdout, indent=1)
        print()
    else:
        each = ", ".join(f"{us:.1f} ({call} a call)" for call, us in found["cost_us"].items())
        print(f"\nus of processor time a prediction of 22 features: {each}")


if __name__ == "__main__":
    main()
