"""The two-sided cumulative sum chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from edge_mlops_monitor.drift.streaming import FINE, FIRED, StreamDetector, check_above
from edge_mlops_monitor.errors import DataError


class CUSUM(StreamDetector):
    """Cumulative sums of standardised deviations: fires when those above or below reach `threshold`.

    Mean and standard deviation are `mean` and `sd` where given, else those of the first `min_instances`
    values (divisor n - 1), which are not judged. `slack` is half the shift, in standard deviations, that it
    is tuned to; a slack of 0.5 and a threshold of 5 fire about every 465 values of healthy independent normal
    data, 7 about every 3400. There is no warning level. Sees shifts of the mean.

    Source: Page, Continuous inspection schemes, 1954; Siegmund, Sequential analysis, 1985 (run lengths).

    >>> CUSUM(mean=0.0, sd=1.0).update_many([0.0] * 100 + [1.0] * 100)
    [110, 121, 132, 143, 154, 165, 176, 187, 198]
    """

    name: ClassVar[str] = "cusum"

    def __init__(
        self,
        min_instances: int = 30,
        slack: float = 0.5,
        threshold: float = 5.0,
        mean: float | None = None,
        sd: float | None = None,
    ) -> None:
        check_above(self.name, 0, threshold=threshold)
        check_above(self.name, 1, min_instances=min_instances)
        if (mean is None) != (sd is None):
            raise DataError("cusum needs mean and sd together; give both or neither")
        if sd is not None:
            check_above(self.name, 0, sd=sd)
        self.min_instances = min_instances
        self.slack = slack
        self.threshold = threshold
        self.mean = mean
        self.sd = sd
        self._reset()

    def _reset(self) -> None:
        self._level = FINE
        self._rows = 0
        self._mean = self._squares = 0.0
        self._above = self._below = 0.0

    def _scan(self, values: Sequence[float], start: int) -> int:
        learned = 0 if self.mean is not None else self._learn(values, start)
        mean, sd = self._baseline()
        above, below, slack, most = self._above, self._below, self.slack, self.threshold
        at = start + learned - 1
        for at in range(start + learned, len(values)):
            z = (values[at] - mean) / sd
            above += z - slack
            below -= z + slack
            if above < 0.0:
                above = 0.0
            if below < 0.0:
                below = 0.0
            if above > most or below > most:
                self._level = FIRED
                break
        self._above, self._below = above, below
        return at + 1 - start

    def _learn(self, values: Sequence[float], start: int) -> int:
        """Take what is still needed for mean and standard deviation; how many values that were."""
        needed = values[start : start + self.min_instances - self._rows]
        for x in needed:
            self._rows += 1
            before = x - self._mean
            self._mean += before / self._rows
            self._squares += before * (x - self._mean)
        return len(needed)

    def _baseline(self) -> tuple[float, float]:
        if self.mean is not None and self.sd is not None:
            return self.mean, self.sd
        # of values that are all equal any other is infinitely far away
        return self._mean, math.sqrt(self._squares / max(1, self._rows - 1)) or math.ulp(self._mean)
