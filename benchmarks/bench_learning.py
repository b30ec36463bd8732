"""References that a device learns itself: when they are enough, what they are worth, what they find.

    python benchmarks/bench_learning.py [--quick]

Eight features of a stream follow themselves with correlation rho from row to row, some under noise, and are
healthy until the device has learned them all or nine days are over, and 20 000 rows more; then all shift.
Budget: one false alarm in 40 000 rows. What does not alarm within 10 000 rows counts as found then.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from workload import arguments

from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher

FEATURES, HEALTHY, CHANGED = 8, 20_000, 10_000
RUN_LENGTH = 40_000.0
PART = 1000
DAYS = 9
# rho, share of noise, seconds from row to row, hours to learn, shift in standard deviations
CASES = (
    (0.0, 0, 60, 24, 0.25),
    (0.0, 0, 10, 24, 0.25),
    (0.5, 0, 10, 24, 0.5),
    (0.9, 0, 60, 24, 1.0),
    (0.9, 0, 10, 24, 1.0),
    (0.9, 0, 10, 0, 1.0),
    (0.97, 0, 60, 24, 2.0),
    (0.97, 0, 10, 24, 2.0),
    (0.97, 0, 10, 0, 2.0),
    (0.99, 0, 10, 24, 2.0),
    (0.98, 0.5, 10, 24, 2.0),
)


class Device:
    """A device without reference, and what it will see."""

    def __init__(self, rho: float, noise: float, gap: float, hours: float, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.rho, self.noise, self.gap, self.row = rho, noise, gap, 0
        self.last = self.rng.normal(size=FEATURES)
        self.names = [f"inputs.x{i}" for i in range(FEATURES)]
        self.watcher = Watcher(
            Settings(average_run_length=RUN_LENGTH, learn_reference_hours=hours, result_seconds=1e12)
        )

    def feed(self, shift: float = 0.0) -> list[Any]:
        """The alarms of one more part."""
        values = self._draw() + shift
        ts = 1e9 + self.gap * np.arange(self.row, self.row + PART)
        found = self.watcher.update(("m", "1", None), dict(zip(self.names, values.T, strict=True)), ts)
        self.row += PART
        return [one for one in found if one.kind == "events" and one.data.get("feature") in self.names]

    def _draw(self) -> NDArray[np.float64]:
        values = self.rng.normal(size=(PART, FEATURES)) * math.sqrt(1 - self.rho**2)
        for row in values:
            row += self.rho * self.last
            self.last = row
        if not self.noise:
            return values
        noise = self.rng.normal(size=values.shape)
        return np.asarray(math.sqrt(1 - self.noise) * values + math.sqrt(self.noise) * noise)

    @property
    def states(self) -> list[str]:
        """Of the features."""
        (found,) = self.watcher.status().values()
        return [found[name]["state"] for name in self.names]


def seen(
    rho: float, noise: float, gap: float, hours: float, shift: float, seed: int
) -> dict[str, list[float]]:
    """What one device learned and found."""
    device = Device(rho, noise, gap, hours, seed)
    alarms: list[Any] = []
    while not device.row or (
        {"learning", "not_enough_reference"} & set(device.states) and device.row * gap < DAYS * 86400
    ):
        alarms += device.feed()
    learned = [one for one in device.watcher.references() if one.pairs is None]
    at = device.row
    alarms += chain.from_iterable(device.feed() for _ in range(HEALTHY // PART))
    false, began = sum(one.severity == "alarm" for one in alarms), device.row
    after = list(chain.from_iterable(device.feed(shift) for _ in range(CHANGED // PART)))
    delays = {one.data["feature"]: one.data["row"] - began for one in reversed(after) if one.type == "drift"}
    return {
        "done": [at],
        "rows": [one.n for one in learned],
        "worth": [one.effective_rows for one in learned],
        "tau": [one.tau for one in learned],
        "decide": [len(learned) / FEATURES],
        "false": [float(false)],
        "delay": [delays.get(one.name, CHANGED) for one in learned],
    }


def measure(quick: bool) -> None:
    """Print a line a case."""
    names = (
        "rho, noise, row each, hours",
        "done",
        "decide",
        "rows",
        "worth",
        "tau",
        "false, of",
        "shift",
        "delay",
    )
    print(f"| {' | '.join(names)} |")
    print(f"|{' --- |' * len(names)}")
    for rho, noise, gap, hours, shift in CASES:
        devices = 1 if quick else 6
        runs = [seen(rho, noise, gap, hours, shift, seed) for seed in range(devices)]
        every = {name: [value for run in runs for value in run[name]] or [math.nan] for name in runs[0]}
        middle = {name: round(float(np.median(values)), 1) for name, values in every.items()}
        mean, fair = np.mean(every["delay"]), devices * HEALTHY / RUN_LENGTH
        print(
            f"| {rho}, {noise}, {gap} s, {hours} h | {middle['done']:.0f} | "
            f"{np.mean(every['decide']):.0%} | "
            f"{middle['rows']:.0f} | {middle['worth']:.0f} | {middle['tau']} | "
            f"{sum(every['false']):.0f}, {fair:.0f} | {shift} | {middle['delay']:.0f}, mean {mean:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    measure(arguments().quick)
