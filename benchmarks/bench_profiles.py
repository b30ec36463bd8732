"""Profiles: processor time of a prediction, bytes of a profile, and how close its quantiles are.

The time is that of the profiler alone, on the columns that the decider has anyway: 22 features in blocks of
50 predictions (10 a second, flushed every 5 seconds) and of 250, an hour of them. Beside it stands the floor:
the same columns made into arrays of 1024 rows, and NumPy's sum, sum of squares, least, largest and sort of
them, from which nothing can be merged.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from workload import arguments, figure, payloads, report

from edge_mlops_monitor.blocks import pack
from edge_mlops_monitor.drift.profiling import profile_of
from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.features import columns_of
from edge_mlops_monitor.profiler import Profiler
from edge_mlops_monitor.profiles import merge, quantile

HOUR = 3600.0
ROWS = 36_000
Column = list[Any]


def hour(block: int) -> list[tuple[dict[str, Column], list[float]]]:
    """An hour of predictions as the decider has them: columns and times, block by block."""
    rows = payloads(ROWS)
    parts = []
    for first in range(0, ROWS, block):
        part = rows[first : first + block]
        columns = columns_of([inputs for inputs, _ in part], [outputs for _, outputs in part])
        parts.append((columns, [first / 10 + i / 10 for i in range(len(part))]))
    return parts


def microseconds(act: Callable[[], object], rounds: int) -> float:
    """Median processor time a prediction."""
    took = []
    for _ in range(rounds):
        began = time.process_time()
        act()
        took.append(time.process_time() - began)
    return statistics.median(took) / ROWS * 1e6


def profiled(parts: list[tuple[dict[str, Column], list[float]]], in_force: Any) -> Profiler:
    profiler = Profiler(HOUR, 100)
    for columns, ts in parts:
        profiler.take(("m", None, None), columns, ts, in_force)
    profiler.close()
    return profiler


def floor(parts: list[tuple[dict[str, Column], list[float]]], together: int) -> None:
    for first in range(0, len(parts), together):
        group = [columns for columns, _ in parts[first : first + together]]
        table = np.array([[x for columns in group for x in columns[name]] for name in group[0]])
        for summed in (table.sum(axis=1), (table * table).sum(axis=1), table.min(axis=1), table.max(axis=1)):
            summed.tolist()
        table.sort(axis=1)


def worst_error() -> float:
    """Of the quantiles from 0.1 % to 99.9 % of an hour of a bell curve, in its standard deviations."""
    values = np.random.default_rng(1).normal(size=ROWS)
    one = profile_of("a", values)
    shares = np.linspace(0.001, 0.999, 999)
    exact = np.quantile(values, shares, method="inverted_cdf")
    found = [quantile(one, share) or 0.0 for share in shares.tolist()]
    return float(np.abs(exact - found).max())


def measure(quick: bool) -> None:
    rounds = 3 if quick else 9
    slow, fast = hour(50), hour(250)
    history = payloads(1000, seed=2)
    columns = columns_of([inputs for inputs, _ in history], [outputs for _, outputs in history])
    references = build(columns)
    in_force = [one.name for one in references], references
    gc.freeze()  # what was made for the benchmark is not for the collector to walk through each time
    bare = microseconds(lambda: floor(slow, 20), rounds)
    profiles = profiled(slow, in_force).closed
    stored = len(pack("profiles", profiles).payload)
    as_json = sum(len(msgspec.json.encode(row)) for row in payloads(1000)) / 1000 * ROWS
    day = [merge([one] * 24) for one in profiles]
    merging = microseconds(lambda: [merge([one, one]) for one in profiles], rounds) * ROWS / len(profiles)
    figures = [
        figure(
            "profiles of 22 features, blocks of 50",
            microseconds(lambda: profiled(slow, in_force), rounds),
            "us a prediction",
            goal=2.0,
            beside=bare,
            beside_is="NumPy's sums and sort",
        ),
        figure(
            "the same, blocks of 250",
            microseconds(lambda: profiled(fast, in_force), rounds),
            "us a prediction",
        ),
        figure("one feature and hour, on disk", stored / len(profiles), "bytes", goal=4096.0),
        figure(
            "one feature and day, merged", len(pack("profiles", day).payload) / len(day), "bytes", goal=4096.0
        ),
        figure("hourly profiles by JSON of the predictions", stored / as_json, "times"),
        figure("two profiles merged", merging, "us"),
        figure("worst quantile of an hour", worst_error(), "sd", note="0.1 % to 99.9 %, a bell curve"),
    ]
    report("profiles", figures)


if __name__ == "__main__":
    measure(arguments().quick)
