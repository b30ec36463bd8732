"""HDDM_A: watches the mean of bounded values by Hoeffding's bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from edge_mlops_monitor.drift.streaming import FINE, FIRED, WARNED, ErrorDetector, check_share


class HDDMA(ErrorDetector):
    """Hoeffding's bound on moving averages: fires when the mean is above its level at the best cut point.

    The cut point is where the mean plus its bound was smallest. With n0 values before it and n in all, it
    fires when the mean has risen by `sqrt((n - n0) / (2 n0 n) ln(2 / drift_confidence))`, and warns with
    `warning_confidence`; with `two_sided_test` also when it has fallen. Takes values from 0 to 1, errors or
    any other. Makes no assumption on their distribution but independence.

    Source: Frias-Blanco et al., Online and non-parametric drift detection methods based on Hoeffding's
    bounds, 2015.

    >>> HDDMA().update_many([0, 0, 0, 0, 1] * 100 + [1, 1, 1, 0] * 20)
    [509]
    """

    name: ClassVar[str] = "hddm_a"

    def __init__(
        self,
        drift_confidence: float = 0.001,
        warning_confidence: float = 0.005,
        two_sided_test: bool = False,
    ) -> None:
        check_share(self.name, drift_confidence=drift_confidence, warning_confidence=warning_confidence)
        self.drift_confidence = drift_confidence
        self.warning_confidence = warning_confidence
        self.two_sided_test = two_sided_test
        self._reset()

    def _reset(self) -> None:
        self._level = FINE
        self._rows = 0
        self._sum = 0.0
        self._low = [0, 0.0, math.inf]  # rows and mean at the cut point, mean plus bound
        self._high = [0, 0.0, -math.inf]  # the same with mean minus bound

    def _scan(self, values: Sequence[float], start: int) -> int:
        rows, total, level = self._rows, self._sum, self._level
        (low_rows, low, lowest), (high_rows, high, highest) = self._low, self._high
        half = math.log(1 / self.drift_confidence) / 2
        fires, warns = math.log(2 / self.drift_confidence) / 2, math.log(2 / self.warning_confidence) / 2
        for at in range(start, len(values)):
            rows += 1
            total += values[at]
            mean = total / rows
            bound = math.sqrt(half / rows)
            if mean + bound <= lowest:
                low_rows, low, lowest = rows, mean, mean + bound
            if mean - bound >= highest:
                high_rows, high, highest = rows, mean, mean - bound
            risen = mean - low
            evidence = (
                risen * risen * low_rows * rows / (rows - low_rows) if rows > low_rows and risen > 0 else 0.0
            )
            if self.two_sided_test and rows > high_rows and mean < high:
                evidence = max(evidence, (high - mean) ** 2 * high_rows * rows / (rows - high_rows))
            level = FINE if evidence < warns else WARNED if evidence < fires else FIRED
            if level == FIRED:
                break
        self._rows, self._sum, self._level = rows, total, level
        self._low, self._high = [low_rows, low, lowest], [high_rows, high, highest]
        return at + 1 - start
