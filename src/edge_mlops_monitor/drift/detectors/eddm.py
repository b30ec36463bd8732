"""EDDM: watches the distance between the errors of a classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from edge_mlops_monitor.drift.streaming import FINE, FIRED, WARNED, ErrorDetector, check_above, check_share
from edge_mlops_monitor.errors import DataError


class EDDM(ErrorDetector):
    """The early drift detection method: fires when errors come closer together than they once did.

    With mean and standard deviation (divisor n - 1) of the number of values between errors, it compares
    `mean + 2 sd` with the largest so far: it warns below `alpha` times that and fires below `beta` times,
    once there were more than `warm_start` errors; the largest is kept from `warm_start` values on. Takes 1
    for an error, 0 for none. It sees gradual changes early, and raises many false alarms on noise.

    Source: Baena-Garcia et al., Early drift detection method, 2006.

    >>> import random
    >>> chance = random.Random(4)
    >>> errors = [chance.random() < 0.1 for _ in range(1000)] + [chance.random() < 0.5 for _ in range(500)]
    >>> any(1000 < index < 1100 for index in EDDM().update_many(errors))
    True
    """

    name: ClassVar[str] = "eddm"

    def __init__(self, warm_start: int = 30, alpha: float = 0.95, beta: float = 0.9) -> None:
        check_above(self.name, 0, warm_start=warm_start)
        check_share(self.name, alpha=alpha, beta=beta)
        if beta > alpha:
            raise DataError("eddm warns at alpha and fires at beta; give a beta below alpha")
        self.warm_start = warm_start
        self.alpha = alpha
        self.beta = beta
        self._reset()

    def _reset(self) -> None:
        self._level = FINE
        self._rows = 0
        self._errors = 0
        self._last = 0  # when the last error came
        self._mean = self._squares = 0.0
        self._most = 0.0

    def _scan(self, values: Sequence[float], start: int) -> int:
        rows = self._rows
        for at in range(start, len(values)):
            rows += 1
            if values[at] > 0.5:
                self._error(rows)
                if self._level == FIRED:
                    break
        self._rows = rows
        return at + 1 - start

    def _error(self, rows: int) -> None:
        distance, self._last = rows - self._last, rows
        self._errors += 1
        before = distance - self._mean
        self._mean += before / self._errors
        self._squares += before * (distance - self._mean)
        far = self._mean + 2 * math.sqrt(self._squares / max(1, self._errors - 1))
        self._level = FINE
        if far > self._most:
            if rows > self.warm_start:
                self._most = far
        elif self._errors > self.warm_start:
            if far < self.beta * self._most:
                self._level = FIRED
            elif far < self.alpha * self._most:
                self._level = WARNED
