"""Streams that fall silent: false alarms on healthy ways of arriving, and how soon the end is told.

    python benchmarks/bench_silence.py [--quick]

A device looks every five seconds. It learns arrival for a day and at least 1000 rows, runs healthily for a
month, then nothing comes any more. The budget is one false alarm a month for everything, of which this check
has 0.5 %: what is said in the healthy month is false. Pauses told when rows return are counted apart from
silence that is told while it lasts. A third of the devices sleep for an hour a day, of a third the clock is
set about every half day, by up to a day.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.arriving import EACH_STREAM_CHECK
from edge_mlops_monitor.drift.budget import MAX_GAP, SHARES
from edge_mlops_monitor.drift.settings import SECONDS_PER_MONTH
from edge_mlops_monitor.quality.arrival import Arrival

Floats = NDArray[np.float64]
Rng = np.random.Generator
Came = tuple[Floats, Floats]  # when the rows came, in the device's time, and the times that they carry

TICK, BLOCK = 5.0, 5
DAY = 86400.0
AFTER = 3 * DAY  # within which the end of a stream is to be told
BEGAN = 1.7e9 - 1.7e9 % DAY


def by_gaps(draw: Callable[[Rng, int], Floats]) -> Callable[[Rng, float], Came]:
    """Rows that come with gaps drawn one by one."""

    def came(rng: Rng, seconds: float) -> Came:
        gaps = draw(rng, 1000)
        while gaps.sum() < seconds:
            gaps = np.concatenate((gaps, draw(rng, len(gaps))))
        ts = np.cumsum(gaps)
        return ts[ts < seconds], ts[ts < seconds]

    return came


def bursts(rng: Rng, rows: int) -> Floats:
    """Some rows within a second, then nothing for about two minutes."""
    return np.where(rng.random(rows) < 0.1, rng.exponential(120.0, rows), 0.1)


def events(rng: Rng, rows: int) -> Floats:
    """Heavy tails: most gaps are seconds, some are hours."""
    return np.minimum(10 * (rng.pareto(1.5, rows) + 0.1), 6 * 3600.0)


def working_hours(rng: Rng, seconds: float) -> Came:
    """From eight to six, and never at weekends."""
    ts, _ = by_gaps(lambda rng, rows: rng.exponential(10.0, rows))(rng, seconds)
    hours, days = ts % DAY / 3600, ts // DAY % 7
    kept = ts[(hours >= 8) & (hours < 18) & (days < 5)]
    return kept, kept


def tides(rng: Rng, seconds: float) -> Came:
    """Twenty times as many at noon as at midnight."""
    ts, _ = by_gaps(lambda rng, rows: rng.exponential(5.0, rows))(rng, seconds)
    rate = np.exp(1.5 * (np.cos(2 * np.pi * (ts / DAY - 0.5)) - 1))
    kept = ts[rng.random(len(ts)) < rate]
    return kept, kept


def batches(rng: Rng, seconds: float) -> Came:
    """A row every thirty seconds, handed over once an hour."""
    ts = np.arange(0.0, seconds, 30.0)
    return (ts // 3600 + 1) * 3600 + rng.uniform(0, 60), ts


def old(rng: Rng, seconds: float) -> Came:
    """Times of another year."""
    came, _ = by_gaps(lambda rng, rows: rng.exponential(10.0, rows))(rng, seconds)
    return came, came - 300 * DAY


CASES: dict[str, Callable[[Rng, float], Came]] = {
    "every 10 s": by_gaps(lambda rng, rows: 10 + rng.normal(scale=0.5, size=rows)),
    "at random, 10 s": by_gaps(lambda rng, rows: rng.exponential(10.0, rows)),
    "at random, 5 min": by_gaps(lambda rng, rows: rng.exponential(300.0, rows)),
    "bursts": by_gaps(bursts),
    "heavy tails": by_gaps(events),
    "working hours": working_hours,
    "tides": tides,
    "batches by the hour": batches,
    "times of another year": old,
}


class Device:
    """One stream, looked at every five seconds; `told` holds the kind and the true time of what was said."""

    def __init__(self) -> None:
        self.arrival = Arrival(1000, 24.0, BLOCK)
        self.told: list[tuple[str, float]] = []
        self._ts: list[float] = []
        self._newest = self._now = np.nan
        self._first_row = 0

    def take(self, ts: list[float], moment: float) -> None:
        """Rows came."""
        self._ts += ts
        while len(self._ts) >= BLOCK:
            block, self._ts = self._ts[:BLOCK], self._ts[BLOCK:]
            last = self._newest if self._newest == self._newest else block[0]
            share = min(max(block[-1] - last, 0.0), MAX_GAP) / SECONDS_PER_MONTH
            share *= SHARES["quality"] * EACH_STREAM_CHECK
            found = self.arrival.look(np.array(block), self._first_row, [share])
            self.told += [(seen.kind, moment) for seen in found]
            self._first_row, self._newest = self._first_row + BLOCK, block[-1]

    def look(self, now: float, moment: float) -> None:
        """Whether it is silent, by a clock that may have been set."""
        seconds = max(0.0, now - self._now) if self._now == self._now else 0.0
        self._now, rows = now, self._first_row + len(self._ts)
        self.arrival.silence.look(seconds, rows, not self.arrival.known.learned)
        found = self.arrival.back(self._ts, self._first_row)
        if rows:
            found += self.arrival.listen(now, rows, max(self._ts, default=self._newest))
        self.told += [(seen.kind, moment) for seen in found]


def run(came: Came, seconds: float, kind: str, rng: Rng) -> Device:
    """A device that sees these rows; it sleeps for an hour a day, or its clock is set now and then."""
    device = Device()
    ticks = np.arange(TICK, seconds + AFTER, TICK)
    slept = [(ticks % DAY < 3600) & (ticks < seconds), came[0] % DAY < 3600]
    if kind == "sleeps":
        ticks, came = ticks[~slept[0]], (came[0][~slept[1]], came[1][~slept[1]])
    offset, before = 0.0, 0
    for tick, end in zip(ticks.tolist(), np.searchsorted(came[0], ticks).tolist(), strict=True):
        if kind == "clock" and rng.random() < 1e-4:
            offset = float(rng.choice([-7200.0, -60.0, 300.0, 86400.0]))
        if end > before:
            device.take((came[1][before:end] + BEGAN + offset).tolist(), tick)
            before = end
        device.look(BEGAN + tick + offset, tick)
        if tick > seconds and device.told and device.told[-1][0] == "silent":
            break
    return device


def measure(name: str, devices: int, days: float, seed: int) -> list[str]:
    """A line of the table for each kind of device."""
    rng, seconds = np.random.default_rng(seed), days * DAY
    lines = []
    for kind in ("", "sleeps", "clock"):
        silent, paused, delays = 0, 0, []
        for _ in range(devices):
            came = CASES[name](rng, seconds)
            told = run(came, seconds, kind, rng).told
            silent += sum(what == "silent" and at <= seconds for what, at in told)
            paused += sum(what == "gap" for what, _ in told)
            delays += [at - came[0][-1] for what, at in told if what == "silent" and at > seconds]
        delay = f"{np.median(delays) / 60:9.1f}" if delays else "        -"
        lines.append(f"{name:24}{kind:8}{silent:8}{paused:8}{delay}{devices - len(delays):8}")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one device of each kind, for ten days")
    options = parser.parse_args()
    devices, days = (1, 10.0) if options.quick else (4, 31.0)
    print(f"{'arrival':24}{'device':8}{'silent':>8}{'pauses':>8}{'minutes':>9}{'missed':>8}")
    for seed, name in enumerate(CASES):
        print("\n".join(measure(name, devices, days, seed)), flush=True)


if __name__ == "__main__":
    main()
