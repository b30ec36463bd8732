"""The false-alarm budget: what share of it each block of rows may spend.

See docs/decisions/0003-false-alarm-budget.md. The evidence of every check starts anew at each block
with the weight `w` that the block is given here, and is, on healthy data, on average never more than
the weights given so far. So the expected number of false alarms is at most their sum.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.settings import SECONDS_PER_MONTH, Settings

Floats = NDArray[np.float64]

# How the budget is split between kinds of check; what a kind does not use stays unspent.
SHARES = {"drift": 0.75, "quality": 0.1, "performance": 0.1, "device": 0.05}
MAX_GAP = 3600.0  # seconds between two rows that may be spent; a device that was off spent nothing
MOST_OWED = 86400.0  # seconds that go unspent at most after the clock went back
CLOCK_STEP = 3600.0  # seconds back from which on the clock is held to have been set


class Spending:
    """Turns the rows' timestamps into shares of the budget, for one stream.

    `newest` is the latest timestamp so far, NaN before the first. `owed` are seconds that go unspent
    since the clock went back: rows in any order would else spend the same hours again and again.
    """

    def __init__(self, settings: Settings) -> None:
        self._run_length = settings.average_run_length
        self.owed = 0.0
        self._seconds = SECONDS_PER_MONTH / max(settings.false_alarms_per_month, 1e-12)

    @property
    def by_rows(self) -> bool:
        """Whether the budget is in predictions (else in time)."""
        return self._run_length is not None

    def shares(self, ts: Floats, newest: float) -> tuple[Floats, float]:
        """The share of the whole budget that each row may spend, and the new `newest`.

        >>> Spending(Settings(average_run_length=100)).shares(np.zeros(2), math.nan)[0].tolist()
        [0.01, 0.01]
        """
        if self._run_length is not None:
            return np.full(len(ts), 1 / self._run_length), float(ts[-1])
        gaps, newest = self._gaps(ts, newest)
        return gaps / self._seconds, newest

    def _gaps(self, ts: Floats, newest: float) -> tuple[Floats, float]:
        """Seconds by which each row moves time on, at most MAX_GAP; rows out of order move nothing."""
        first = float(ts[0]) if math.isnan(newest) else newest
        latest = np.maximum.accumulate(np.concatenate(([first], ts)))
        if self.owed or (latest[1:] - ts > CLOCK_STEP).any():
            return self._gaps_with_steps(ts.tolist(), first)
        return np.minimum(latest[1:] - latest[:-1], MAX_GAP), float(latest[-1])

    def _gaps_with_steps(self, ts: list[float], newest: float) -> tuple[Floats, float]:
        gaps = []
        for moment in ts:
            gap = min(max(0.0, moment - newest), MAX_GAP)
            unspent = min(gap, self.owed)
            self.owed -= unspent
            gaps.append(gap - unspent)
            if moment < newest - CLOCK_STEP:
                self.owed = min(self.owed + MAX_GAP, MOST_OWED)
            if moment > newest or moment < newest - CLOCK_STEP:
                newest = moment
        return np.array(gaps), newest
