"""Healthy rows that depend on each other more than a short reference shows: how the alarms become fewer.

    python benchmarks/bench_dependence.py [--quick]

Eight features of a device with a budget of one false alarm in 5000 rows see 30 000 healthy rows; counted are
the alarms in every 5000 of them, in the mean of the devices. Quiet and restless times: GARCH(1, 1) with 0.15
and 0.8; volatility: its logarithm is AR(1) with 0.98; missing: 2.4 % of the rows, in bursts of five.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from workload import arguments

from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.records import Event

Floats = NDArray[np.float64]

FEATURES, ROWS, BUDGET = 8, 30_000, 5000
PART = 1000
REFERENCES = (300, 1000, 3000)


def garch(rng: np.random.Generator, rows: int) -> Floats:
    """Quiet and restless times."""
    noise, found, variance = rng.normal(size=(rows, FEATURES)), np.ones((rows, FEATURES)), np.ones(FEATURES)
    for row in range(1, rows):
        variance = 0.05 + 0.15 * found[row - 1] ** 2 + 0.8 * variance
        found[row] = np.sqrt(variance) * noise[row]
    return found


def volatility(rng: np.random.Generator, rows: int) -> Floats:
    """Noise whose size wanders."""
    size = rng.normal(size=(rows, FEATURES)) * np.sqrt(1 - 0.98**2)
    for row in range(1, rows):
        size[row] += 0.98 * size[row - 1]
    return np.asarray(np.exp(0.7 * size) * rng.normal(size=size.shape))


def missing(rng: np.random.Generator, rows: int) -> Floats:
    """Values that are missing in bursts."""
    found, gone = rng.normal(size=(rows, FEATURES)), np.zeros(FEATURES, dtype=bool)
    for row in range(rows):
        gone = np.where(gone, rng.random(FEATURES) < 0.8, rng.random(FEATURES) < 0.005)
        found[row, gone] = np.nan
    return found


CASES = {"quiet and restless": garch, "volatility": volatility, "missing in bursts": missing}


def alarms(draw: Callable[[np.random.Generator, int], Floats], reference: int, devices: int) -> Floats:
    """Alarms of each device in every 5000 rows (devices, stretches)."""
    found = np.zeros((devices, ROWS // BUDGET))
    for device in range(devices):
        data = draw(np.random.default_rng(device), reference + ROWS)
        names = [f"inputs.x{i}" for i in range(FEATURES)]
        known = build(dict(zip(names, data[:reference].T, strict=True)))
        watcher = Watcher(Settings(average_run_length=BUDGET), known)
        for begin in range(0, ROWS, PART):
            rows = data[reference + begin : reference + begin + PART].T
            columns = dict(zip(names, rows, strict=True))
            for one in watcher.update(("m", "1", None), columns, 1e9 + 60.0 * np.arange(begin, begin + PART)):
                if isinstance(one, Event) and one.severity == "alarm":
                    found[device, one.data["row"] // BUDGET] += 1
    return found


def report(quick: bool) -> None:
    """Print a table."""
    print(
        "| healthy rows | reference | alarms in each 5000 rows, where one is allowed |\n| --- | --- | --- |"
    )
    for name, draw in CASES.items():
        for reference in REFERENCES:
            found = alarms(draw, reference, 2 if quick else 12).mean(axis=0)
            print(f"| {name} | {reference} | {', '.join(f'{one:.1f}' for one in found)} |", flush=True)


if __name__ == "__main__":
    report(arguments().quick)
