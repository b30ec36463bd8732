"""The exponentially weighted moving average chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from edge_mlops_monitor.drift.streaming import FINE, FIRED, WARNED, StreamDetector, check_above
from edge_mlops_monitor.errors import DataError


class EWMA(StreamDetector):
    """A moving average with weight `alpha` for the newest value: fires when it is far from the mean.

    Far is `threshold` of its own standard deviations, after t values those of the data times
    `sqrt(alpha / (2 - alpha) * (1 - (1 - alpha)**2t))`; from `warning_threshold` of them on there is a
    warning. Mean and standard deviation are `mean` and `sd` where given, else those of the first
    `min_instances` values (divisor n - 1), which are not judged. An alpha of 0.1 and a threshold of 2.814
    fire about every 500 values of healthy independent normal data. Sees small shifts of the mean.

    Source: Roberts, Control chart tests based on geometric moving averages, 1959; Lucas and Saccucci,
    Exponentially weighted moving average control schemes, 1990 (run lengths).

    >>> EWMA(mean=0.0, sd=1.0).update_many([0.0] * 100 + [1.0] * 16)
    [115]
    """

    name: ClassVar[str] = "ewma"

    def __init__(
        self,
        alpha: float = 0.1,
        threshold: float = 3.5,
        warning_threshold: float = 2.5,
        min_instances: int = 50,
        mean: float | None = None,
        sd: float | None = None,
    ) -> None:
        check_above(self.name, 0, alpha=alpha, threshold=threshold, warning_threshold=warning_threshold)
        check_above(self.name, 1, min_instances=min_instances)
        if alpha > 1:
            raise DataError(f"ewma needs alpha of at most 1, not {alpha!r}")
        if (mean is None) != (sd is None):
            raise DataError("ewma needs mean and sd together; give both or neither")
        if sd is not None:
            check_above(self.name, 0, sd=sd)
        self.alpha = alpha
        self.threshold = threshold
        self.warning_threshold = warning_threshold
        self.min_instances = min_instances
        self.mean = mean
        self.sd = sd
        self._reset()

    def _reset(self) -> None:
        self._level = FINE
        self._rows = 0
        self._mean = self._squares = 0.0
        self._average = 0.0  # of standardised values
        self._kept = 1.0  # the weight of what was before, squared

    def _scan(self, values: Sequence[float], start: int) -> int:
        at = start if self.mean is not None else start + self._learn(values, start)
        mean, sd = self._baseline()
        alpha, rest, average, kept = self.alpha, 1 - self.alpha, self._average, self._kept
        squared = alpha / (2 - alpha)
        fires, warns = self.threshold**2 * squared, self.warning_threshold**2 * squared
        while at < len(values) and self._level != FIRED:
            average = alpha * ((values[at] - mean) / sd) + rest * average
            kept *= rest * rest
            at += 1
            far = average * average / (1 - kept)
            self._level = FINE if far <= warns else WARNED if far <= fires else FIRED
        self._average, self._kept = average, kept
        return at - start

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
