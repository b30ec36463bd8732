"""References that a device learns itself: when they are enough, what they are worth, what they find.

    python benchmarks/bench_learning.py [--quick]

Eight features of a stream follow themselves with correlation rho from row to row, some under noise, and are
healthy until the device has learned them all or nine days are over, and 20 000 rows more; then all shift.
Budget: one false alarm in 40 000 rows. What does not alarm within 10 000 rows counts as found then.

A second table is of features that follow the hour, learned by it, a row a minute, with so many rows of
each hour kept: a sine of 3.3 standard deviations, a shift by half of one, a budget of one alarm in 5000 rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from workload import arguments

from edge_mlops_monitor.drift import learning
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher

FEATURES, HEALTHY, CHANGED = 8, 20_000, 10_000
RUN_LENGTH = 40_000.0
PART = 1000
DAYS = 9
DAILY_RUN = 5000.0
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
    return followed(Device(rho, noise, gap, hours, seed), shift)


def followed(device: Device, shift: float = 0.5) -> dict[str, list[float]]:
    """What a device learned and found, and the most bytes of state that a feature took meanwhile."""
    alarms: list[Any] = []
    most = 0
    while not device.row or (
        {"learning", "not_enough_reference"} & set(device.states) and device.row * device.gap < DAYS * 86400
    ):
        alarms += device.feed()
        most = max(most, len(device.watcher.state()))
    learned = [one for one in device.watcher.references() if one.pairs is None]
    at = device.row
    alarms += chain.from_iterable(device.feed() for _ in range(HEALTHY // PART))
    false, began = sum(one.severity == "alarm" for one in alarms), device.row
    after = list(chain.from_iterable(device.feed(shift) for _ in range(CHANGED // PART)))
    delays = {one.data["feature"]: one.data["row"] - began for one in reversed(after) if one.type == "drift"}
    return {
        "done": [at],
        "bytes": [most / FEATURES],
        "rows": [one.n for one in learned],
        "worth": [one.effective_rows for one in learned],
        "tau": [one.tau for one in learned],
        "decide": [len(learned) / FEATURES],
        "false": [float(false)],
        "delay": [delays.get(one.name, CHANGED) for one in learned],
    }


class Daily(Device):
    """A device whose features follow the hour of the day, which it learns by it."""

    def __init__(self, seed: int) -> None:
        super().__init__(0.0, 0.0, 60.0, 24.0, seed)
        self.watcher = Watcher(
            Settings(average_run_length=DAILY_RUN, context="hour_of_day", result_seconds=1e12)
        )

    def _draw(self) -> NDArray[np.float64]:
        day = 2 * np.pi * 60 / 86_400 * np.arange(self.row, self.row + PART)
        return np.asarray(3.3 * np.sin(day)[:, None] + super()._draw())


@contextmanager
def kept_by_hour(rows: int) -> Iterator[None]:
    """Devices that begin to learn in here keep so many rows of each hour."""
    before = learning.ROWS_BY_HOUR, learning.KEPT_BY_HOUR
    learning.ROWS_BY_HOUR, learning.KEPT_BY_HOUR = min(before[0], rows), rows
    try:
        yield
    finally:
        learning.ROWS_BY_HOUR, learning.KEPT_BY_HOUR = before


def daily(quick: bool) -> None:
    """Print a line a number of rows kept of each hour."""
    print("| rows an hour | bytes a feature | decide | worth | false, of | shift | delay |")
    print(f"|{' --- |' * 7}")
    for rows in (160, 125, 62):
        with kept_by_hour(rows):
            found = [followed(Daily(seed)) for seed in range(1 if quick else 12)]
        every = {name: [value for run in found for value in run[name]] or [math.nan] for name in found[0]}
        fair = len(found) * HEALTHY / DAILY_RUN
        print(
            f"| {rows} | {max(every['bytes']):.0f} | {np.mean(every['decide']):.0%} | "
            f"{np.median(every['worth']):.0f} | {sum(every['false']):.0f}, {fair:.0f} | "
            f"0.5 | {np.median(every['delay']):.0f}, mean {np.mean(every['delay']):.0f} |",
            flush=True,
        )


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
    quick = arguments().quick
    measure(quick)
    daily(quick)
