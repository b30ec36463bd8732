"""Checks of data quality: false alarms on healthy data, and faults of every kind with their delays.

    python benchmarks/bench_quality.py [--json] [--quick]

Healthy cases are those of the detection bench and some that look like faults; every budget's worth of
predictions has a reference of its own. Only alarms of data quality are counted, whose share of the
budget is a tenth. A fault begins after 2000 healthy rows and lasts for 3000, ten features; the budget is
one false alarm a month at a row each second.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from detection_device import STREAM
from detection_streams import FEATURES, HEALTHY, ar
from numpy.typing import NDArray

from edge_mlops_monitor.drift.budget import SHARES
from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.records import Event

Floats = NDArray[np.float64]
Rng = np.random.Generator

RUN_LENGTH = 5000.0  # predictions between false alarms of the whole device
NOT_QUALITY = ("drift", "missing", "unseen_category", "recovery")
HEALTHY_ROWS, FAULT_ROWS = 2000, 3000
FAULTY = "inputs.x0"


def columns(data: Any) -> dict[str, list[Any]]:
    """An array (rows, features) as named columns."""
    return {f"inputs.x{i}": data[:, i].tolist() for i in range(data.shape[1])}


def bursts(rng: Rng, rows: int) -> Floats:
    """Bursts of ten rows of extremes, in one row in twenty."""
    begins = rng.random((rows, FEATURES)) < 0.005
    within = np.zeros((rows, FEATURES), dtype=bool)
    for lag in range(10):
        within[lag:] |= begins[: rows - lag]
    return np.asarray(rng.normal(size=(rows, FEATURES)) * np.where(within, 8.0, 1.0))


def saturating(rng: Rng, rows: int) -> Floats:
    """Counts of a converter of 8 bits that saturates at both ends now and then."""
    return np.clip(np.round(ar(0.8)(rng, rows) * 60 + 128), 0, 255)


def switches(rng: Rng, rows: int) -> Floats:
    """On and off, for a while each."""
    return np.asarray((np.cumsum(rng.random((rows, FEATURES)) < 0.1, axis=0) % 2).astype(float))


def slow_and_rounded(rng: Rng, rows: int) -> Floats:
    """A slow temperature, rounded to a tenth."""
    return np.round(20 + 2 * ar(0.9)(rng, rows), 1)


def bell(rng: Rng, rows: int) -> Floats:
    """Independent and normal."""
    return rng.normal(size=(rows, FEATURES))


LOOKS_FAULTY: dict[str, tuple[int, Callable[[Rng, int], Any]]] = {
    "short reference": (200, bell),
    "5 % extremes in bursts": (1000, bursts),
    "constants": (1000, lambda rng, rows: np.full((rows, FEATURES), 7.0)),
    "growing counters": (1000, lambda rng, rows: np.cumsum(rng.integers(0, 3, (rows, FEATURES)), axis=0)),
    "on and off": (1000, switches),
    "saturating converter": (1000, saturating),
    "slow and rounded": (2000, slow_and_rounded),
    "lognormal": (1000, lambda rng, rows: rng.lognormal(sigma=1.5, size=(rows, FEATURES))),
    "few integers": (1000, lambda rng, rows: rng.poisson(3.0, size=(rows, FEATURES))),
    "rounded, rare zeros": (1000, lambda rng, rows: np.round(rng.normal(2.0, 1.0, (rows, FEATURES)), 2)),
}


CASES = {name: (case.reference_rows, case.draw) for name, case in HEALTHY.items()} | LOOKS_FAULTY


def healthy(name: str, budgets: int, seed: int) -> dict[str, Any]:
    """Alarms of data quality in so many budgets of healthy data."""
    reference_rows, draw = CASES[name]
    rng = np.random.default_rng(seed)
    found: Counter[str] = Counter()
    for _ in range(budgets):
        data = np.asarray(draw(rng, reference_rows + int(RUN_LENGTH)))
        watcher = Watcher(Settings(average_run_length=RUN_LENGTH), build(columns(data[:reference_rows])))
        events = watcher.update(STREAM, columns(data[reference_rows:]), [0.0] * int(RUN_LENGTH))
        found.update(e.type for e in events if isinstance(e, Event) and e.type not in NOT_QUALITY)
    return {"alarms": found.total(), "budgets": budgets, "types": dict(found)}


def some(rng: Rng, x: Floats, share: float, run: int = 1) -> NDArray[np.bool_]:
    """Rows chosen at random, in stretches of `run`."""
    begins = rng.random(len(x)) < share / run
    found = np.zeros(len(x), dtype=bool)
    for lag in range(run):
        found[lag:] |= begins[: len(x) - lag]
    return found


def replaced(x: Floats, rows: NDArray[np.bool_], value: Any) -> list[Any]:
    """The values, with another in some rows."""
    return [value if hit else old for hit, old in zip(rows.tolist(), x.tolist(), strict=True)]


# What the fault is called, and what it does to a feature.
FAULTS: dict[str, tuple[str, Callable[[Rng, Floats], Any]]] = {
    "text in every row": ("type", lambda rng, x: ["n/a"] * len(x)),
    "text in 5 % of rows": ("type", lambda rng, x: replaced(x, some(rng, x, 0.05), "ERR")),
    "Kelvin for Celsius": ("range", lambda rng, x: x + 273.15),
    "stretches at random beyond the range": (
        "range",
        lambda rng, x: np.where(some(rng, x, 0.2, 8), 50 + rng.normal(size=len(x)), x),
    ),
    "spikes in 1 % of rows": (
        "spike",
        lambda rng, x: np.where(some(rng, x, 0.01), 40 * rng.choice([-1, 1], len(x)) + x, x),
    ),
    "spikes in 5 % of rows": ("spike", lambda rng, x: np.where(some(rng, x, 0.05), 30 + x, x)),
    "dropout to 0, 10 % in stretches of 5": (
        "dropout",
        lambda rng, x: np.where(some(rng, x, 0.1, 5), 0.0, x),
    ),
    "dropout to -999, 2 %": ("dropout", lambda rng, x: np.where(some(rng, x, 0.02), -999.0, x)),
    "clipped at 1 sd": ("clipping", lambda rng, x: np.minimum(x, 1.0)),
    "clipped at both ends, 1.5 sd": ("clipping", lambda rng, x: np.clip(x, -1.5, 1.5)),
    "stuck": ("stuck", lambda rng, x: np.full(len(x), x[0])),
    "stuck at -999": ("stuck", lambda rng, x: np.full(len(x), -999.0)),
    "10 % missing": ("missing", lambda rng, x: replaced(x, some(rng, x, 0.1), None)),
}


def faulty(name: str, runs: int, seed: int) -> dict[str, Any]:
    """What is said about a fault of one feature, when, and what else is said."""
    expected, spoil = FAULTS[name]
    rng = np.random.default_rng(seed)
    delays, onsets, ends, others = [], [], [], Counter[str]()
    fault = slice(HEALTHY_ROWS, HEALTHY_ROWS + FAULT_ROWS)
    for _ in range(runs):
        data = rng.normal(size=(1000 + fault.stop + 3000, FEATURES))
        watcher = Watcher(Settings(), build(columns(data[:1000])))
        live = columns(data[1000:])
        live[FAULTY][fault] = list(spoil(rng, data[1000:, 0][fault]))
        rows = len(live[FAULTY])
        events = [
            e for e in watcher.update(STREAM, live, [1.7e9 + i for i in range(rows)]) if isinstance(e, Event)
        ]
        right = [e for e in events if e.type == expected and e.data["feature"] == FAULTY]
        over = [e for e in events if e.type == "recovery" and e.data["of"] == expected]
        others.update(e.type for e in events if e not in right[:1] and e not in over[:1])
        if right:
            delays.append(right[0].data["row"] + 1 - fault.start)
            onsets.append(right[0].data["since_index"] - fault.start)
        if over:
            ends.append(over[0].data["row"] + 1 - fault.stop)
    return {
        "called": expected,
        "missed": 1 - len(delays) / runs,
        "median": float(np.median(delays)) if delays else None,
        "90 %": float(np.quantile(delays, 0.9)) if delays else None,
        "since error": float(np.median(np.abs(onsets))) if onsets else None,
        "over after": float(np.median(ends)) if ends else None,
        "other events": dict(others),
    }


def main() -> None:
    """Run it all and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth of the exposure")
    options = parser.parse_args()
    budgets, runs = (8, 5) if options.quick else (80, 50)
    found: dict[str, Any] = {"healthy": {}, "faults": {}}
    say = (lambda text: None) if options.json else print
    say(f"{'healthy data':40}{'alarms':>8}{'allowed':>9}")
    for seed, name in enumerate(CASES):
        found["healthy"][name] = one = healthy(name, budgets, seed)
        say(f"{name:40}{one['alarms']:>8}{budgets * SHARES['quality']:>9.1f}  {one['types'] or ''}")
    say(f"\n{'fault':40}{'called':10}{'median':>8}{'90 %':>7}{'missed':>8}{'since':>7}{'over':>6}  others")
    for seed, name in enumerate(FAULTS):
        found["faults"][name] = one = faulty(name, runs, seed)
        figures = "".join(
            f"{'-' if one[key] is None else round(one[key]):>{width}}"
            for key, width in (("median", 8), ("90 %", 7))
        )
        since, over = ("-" if one[k] is None else round(one[k]) for k in ("since error", "over after"))
        say(
            f"{name:40}{one['called']:10}{figures}{one['missed']:>8.0%}{since:>7}{over:>6}"
            f"  {one['other events'] or ''}"
        )
    if options.json:
        json.dump(found, sys.stdout, indent=1)
        print()


if __name__ == "__main__":
    main()
