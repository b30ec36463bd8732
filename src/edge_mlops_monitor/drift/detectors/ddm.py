"""DDM: watches the error rate of a classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from edge_mlops_monitor.drift.streaming import FINE, FIRED, WARNED, ErrorDetector, check_above


class DDM(ErrorDetector):
    """The drift detection method: fires when the error rate p has risen far above its best level.

    With `s = sqrt(p (1 - p) / n)`, it warns at `p + s > p_min + warning_threshold * s_min` and fires at
    `drift_threshold`, where p_min and s_min belong to the smallest p + s so far; values are judged after
    the first `warm_start`. Takes 1 for an error, 0 for none. Best for abrupt changes.

    Source: Gama, Medas, Castillo and Rodrigues, Learning with drift detection, 2004.

    >>> DDM().update_many([0, 0, 0, 0, 1] * 100 + [1, 1, 1, 0] * 20)
    [532]
    """

    name: ClassVar[str] = "ddm"

    def __init__(
        self, warm_start: int = 30, warning_threshold: float = 2.0, drift_threshold: float = 3.0
    ) -> None:
        check_above(self.name, 0, warning_threshold=warning_threshold, drift_threshold=drift_threshold)
        check_above(self.name, -1, warm_start=warm_start)
        self.warm_start = warm_start
        self.warning_threshold = warning_threshold
        self.drift_threshold = drift_threshold
        self._reset()

    def _reset(self) -> None:
        self._level = FINE
        self._rows = 0
        self._rate = 0.0
        self._best = math.inf  # the smallest p + s
        self._warns = self._fires = 0.0

    def _scan(self, values: Sequence[float], start: int) -> int:
        rows, rate, best, level = self._rows, self._rate, self._best, self._level
        warns, fires, warm = self._warns, self._fires, self.warm_start
        root = math.sqrt
        for at in range(start, len(values)):
            rows += 1
            rate += (values[at] - rate) / rows
            if rows <= warm:
                continue
            sd = root(rate * (1 - rate) / rows)
            reached = rate + sd
            if reached <= best:
                best = reached
                warns, fires = rate + self.warning_threshold * sd, rate + self.drift_threshold * sd
            level = FINE
            if reached > warns or reached > fires:
                level = WARNED
                if reached > fires:
                    level = FIRED
                    break
        self._rows, self._rate, self._best, self._level = rows, rate, best, level
        self._warns, self._fires = warns, fires
        return at + 1 - start
