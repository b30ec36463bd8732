"""How detection is judged: false alarms on healthy data, delays on changed data, published series.

    python benchmarks/bench_detection.py [--json] [--quick] [--exposure SHARE] [--only healthy changed series]

The protocol is in docs/detection.md, which also holds what was found.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import detection_device as device
import numpy as np
from detection_methods import builds, threshold, zero_of
from detection_series import published
from detection_streams import CHANGES, FEATURES, HEALTHY, KINDS
from detection_tables import figures, tables

RUN_LENGTH = 5000.0  # predictions between false alarms of the whole device
LONGER = {20_000.0: 20, 100_000.0: 10}  # run length: budgets
LONGER_CASES = ("independent", "AR(1) 0.5")
OURS = "e_detector"
PARTS = ("healthy", "changed", "series")
Pool = ProcessPoolExecutor


def healthy_data(pool: Pool, quick: bool) -> dict[str, Any]:
    """Alarms by case, the judged cases' sum, and the longer budgets."""
    jobs = {
        name: pool.submit(device.healthy, name, RUN_LENGTH, 2 if quick else 40, seed)
        for seed, name in enumerate(HEALTHY)
    }
    longer = {
        f"{name}, {length:.0f}": pool.submit(device.healthy, name, length, 1 if quick else budgets, 50 + seed)
        for seed, name in enumerate(LONGER_CASES)
        for length, budgets in (() if quick else LONGER.items())
    }
    cases = {name: job.result() for name, job in jobs.items()}
    judged = [cases[name] for name, case in HEALTHY.items() if case.judged]
    alarms, exposure = (sum(one[key] for one in judged) for key in ("alarms", "exposure"))
    return {
        "cases": cases,
        "longer": {name: job.result() for name, job in longer.items()},
        "alarms": alarms,
        "exposure": exposure,
        "upper": upper_limit(alarms) / max(exposure, 1),
        "worst": max(one["alarms"] / max(one["exposure"], 1) for one in judged),
    }


def upper_limit(count: int, level: float = 0.05) -> float:
    """The exact one-sided upper limit of a Poisson mean (Garwood, 1936).

    >>> round(upper_limit(0), 3), round(upper_limit(10), 2)
    (2.996, 16.96)
    """

    def excess(mean: float) -> float:
        return sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1)) - level

    return zero_of(excess, max(count, 0.1), count + 10 + 5 * math.sqrt(count), within=1e-9, steps=200)[0]


def changed_data(pool: Pool, share: float) -> dict[str, Any]:
    """Thresholds that bring all methods to one rate of alarms, and the delays they then have.

    `share` is that of the exposure: 100 runs of each change and 100 budgets for a threshold.
    """
    thresholds = all_thresholds(pool, share)
    at_once = 4
    runs = math.ceil(100 * share / at_once) * at_once
    jobs = [
        (kind, pool.submit(runs_of, kind, thresholds[kind], at_once, seed))
        for kind in KINDS
        for seed in range(runs // at_once)
    ]
    delays: dict[str, dict[str, list[Any]]] = {}
    for _, job in jobs:
        for change, by_method in job.result().items():
            for method, found in by_method.items():
                delays.setdefault(change, {}).setdefault(method, []).extend(found)
    return {
        "runs": runs,
        "thresholds": thresholds,
        "delays": {
            change: {method: summary(found) for method, found in by_method.items()}
            for change, by_method in delays.items()
        },
    }


def all_thresholds(pool: Pool, share: float) -> dict[str, dict[str, Any]]:
    """By kind of data and method: its threshold, and alarms by alarms wanted."""
    each = RUN_LENGTH * FEATURES
    values, budgets = round(2_000_000 * max(share, 0.15)), math.ceil(100 * share)
    jobs = {
        (kind, name): pool.submit(threshold, kind, name, each, values, 1)
        for kind in KINDS
        for name in builds(kind)
    } | {(kind, OURS): pool.submit(our_threshold, kind, budgets, 2) for kind in KINDS}
    found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for (kind, name), job in jobs.items():
        number, excess = job.result()
        found[kind][name] = {"number": number, "alarms_by_wanted": math.exp(excess)}
    return found


def our_threshold(kind: str, budgets: int, seed: int) -> tuple[float, float]:
    """The log of the nominal run length at which the device raises one alarm in 5000 predictions."""

    def excess(number: float) -> float:
        alarms = device.false_alarms(kind, math.exp(number), budgets, RUN_LENGTH, seed)
        return math.log(max(alarms, 0.5) / budgets)

    return zero_of(excess, math.log(50), math.log(50 * RUN_LENGTH))


def runs_of(kind: str, thresholds: dict[str, Any], runs: int, seed: int) -> dict[str, dict[str, list[Any]]]:
    """Delays of every method on every change of a kind; None: missed, -1: in alarm before."""
    names = [name for name, change in CHANGES.items() if change.kind == kind]
    methods = {name: build(thresholds[name]["number"]) for name, (build, *_) in builds(kind).items()}
    found: dict[str, dict[str, list[Any]]] = {}
    for run in range(runs):
        rng = np.random.default_rng((seed, run))
        ours, spoilt, reference, before = device.first_alarms(kind, math.exp(thresholds[OURS]["number"]), rng)
        for change in names:
            for gradual in (False, True):
                codes = device.changed_codes(change, gradual, rng)
                into = found.setdefault(f"{change}{', gradual' * gradual}", {})
                at = ours(KINDS[kind].columns(rng, codes))
                into.setdefault(OURS, []).append(-1 if spoilt else None if at is None else at + 1)
                for name, method in methods.items():
                    if name.startswith("oracle") and name != f"oracle: {change}":
                        continue
                    at = method.first(reference, np.concatenate((before, codes)))
                    delay = None if at is None else at - len(before) + 1
                    into.setdefault(name.partition(":")[0], []).append(
                        delay if delay is None or delay > 0 else -1
                    )
    return found


def summary(delays: list[int | None]) -> dict[str, Any]:
    """Mean (a miss counts as the horizon), quantiles, share missed, of runs not in alarm before."""
    counted = [device.HORIZON if delay is None else delay for delay in delays if delay != -1]
    if not counted:
        return {"mean": None, "median": None, "90 %": None, "missed": None, "left_out": len(delays)}
    median, ninety = (float(np.quantile(counted, q, method="nearest")) for q in (0.5, 0.9))
    return {
        "mean": float(np.mean(counted)),
        "error": float(np.std(counted) / math.sqrt(len(counted))),
        "median": median,
        "90 %": ninety,
        "missed": sum(delay is None for delay in delays) / len(counted),
        "left_out": len(delays) - len(counted),
    }


def main() -> None:
    """Run it and print tables, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth of the exposure")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--exposure", type=float, default=1.0, metavar="SHARE", help="of runs with a change")
    options = parser.parse_args()
    share = 0.06 if options.quick else options.exposure
    began, found = time.monotonic(), dict[str, Any]()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        if "healthy" in options.only:
            found["healthy"] = healthy_data(pool, options.quick)
        if "changed" in options.only:
            found["changed"] = changed_data(pool, share)
        if "series" in options.only:
            found["series"] = published(pool)
    found["seconds"] = round(time.monotonic() - began, 1)
    if options.json:
        json.dump({"figures": figures(found), "details": found}, sys.stdout, indent=1)
        print()
    else:
        print(tables(found))


if __name__ == "__main__":
    main()
