"""Kuiper's two-sample test."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import Measure, NumberComparison
from edge_mlops_monitor.drift.comparisons.ks_test import distance
from edge_mlops_monitor.drift.samples import Floats


class Kuiper(NumberComparison):
    """Kuiper's test: the largest gap above plus the largest gap below of the two distribution functions.

    It is as sensitive in the tails as at the median, and does not depend on where a circle (hour of day,
    direction) is cut open. Conventions: two-sided; the p-value is Kuiper's limit with Stephens' correction
    for m and n rows, asymptotic (good from about 10 rows on, conservative below). Numbers only.

    Source: Kuiper, Tests concerning random points on a circle, 1960; Stephens, Use of the
    Kolmogorov-Smirnov, Cramer-von Mises and related statistics without extensive tables, 1970.

    >>> result = Kuiper().compare(range(100), range(40, 140), threshold=0.05)
    >>> round(result.statistic, 9), round(result.p_value, 8), result.is_drift
    (0.4, 3.1e-06, True)
    """

    name: ClassVar[str] = "kuiper"

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The test of two samples."""
        before, after = np.sort(before), np.sort(after)
        statistic = min(1.0, distance(before, after, "greater") + distance(before, after, "less"))
        root = math.sqrt(len(before) * len(after) / (len(before) + len(after)))
        return Measure(statistic, kuiper_tail((root + 0.155 + 0.24 / root) * statistic))


def kuiper_tail(x: float) -> float:
    """The probability that the limit of Kuiper's statistic exceeds `x`.

    >>> round(kuiper_tail(1.747), 3), round(kuiper_tail(2.001), 3)  # Stephens' 5 % and 1 % points
    (0.05, 0.01)
    """
    if x < 0.4:
        return 1.0  # within 1e-6
    squares = [(k * x) ** 2 for k in range(1, 40)]
    return max(0.0, min(1.0, 2 * math.fsum((4 * z - 1) * math.exp(-2 * z) for z in squares)))
