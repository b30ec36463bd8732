"""The two-sample Anderson-Darling test."""

from __future__ import annotations

import math
from functools import cache
from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import Measure, NumberComparison, check_choice
from edge_mlops_monitor.drift.samples import Floats
from edge_mlops_monitor.drift.tails import anderson_darling_tail

MODES = ("limit", "table")
# Scholz and Stephens, table 1: levels, and the coefficients of the percentiles of the standardised statistic
LEVELS = (0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001)
B0 = (0.675, 1.281, 1.645, 1.96, 2.326, 2.573, 3.085)
B1 = (-0.245, 0.25, 0.678, 1.149, 1.822, 2.364, 3.615)
B2 = (-0.105, -0.305, -0.362, -0.391, -0.396, -0.345, -0.154)
MOST_POINTS = 400
LIMIT_SD = math.sqrt(2 * (math.pi**2 - 9) / 3)  # of A squared, two samples


class AndersonDarling(NumberComparison):
    """The Anderson-Darling test: the squared gap of the distribution functions, weighted up in the tails.

    Conventions: the statistic is Scholz and Stephens' standardised T, `(A2 - 1) / sd`, with midranks for ties
    (`midrank=False`: right-continuous), as scipy's `anderson_ksamp`. The p-value is asymptotic: `mode`
    "limit" takes the limit's tail and is good for small levels too, for rounded data with the
    right-continuous statistic standardised by its variance with these ties; "table" interpolates the paper's
    table between 0.25 and 0.001 and stops there, as scipy does. Numbers only.

    Source: Scholz and Stephens, K-sample Anderson-Darling tests, 1987; Pettitt, A two-sample
    Anderson-Darling rank statistic, 1976.

    >>> result = AndersonDarling().compare(range(50), range(20, 70), threshold=0.05)
    >>> round(result.statistic, 6), result.is_drift
    (20.015429, True)
    """

    name: ClassVar[str] = "anderson_darling"

    def __init__(self, mode: str = "limit", midrank: bool = True) -> None:
        check_choice(self.name, "mode", mode, MODES)
        self.mode = mode
        self.midrank = midrank

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The test of two samples."""
        if len(before) + len(after) < 4:
            return Measure(None, data={"lacks": "both samples together have fewer than 4 values"})
        both = np.sort(np.concatenate((before, after)))
        if both[0] == both[-1]:
            return Measure(None, data={"lacks": "all values of both samples are equal"})
        sd = math.sqrt(_variance(len(before), len(after)))
        statistic = (_a_squared(np.sort(before), np.sort(after), both, self.midrank) - 1) / sd
        if self.mode == "table":
            return Measure(statistic, _table_p(statistic))
        if self.mode == "limit" and len(np.unique(both)) < len(both):
            statistic_of_ties = _standardised_with_ties(np.sort(before), np.sort(after), both)
            return Measure(statistic, anderson_darling_tail(1 + statistic_of_ties * LIMIT_SD))
        return Measure(statistic, anderson_darling_tail(1 + statistic * LIMIT_SD))


def _a_squared(before: Floats, after: Floats, both: Floats, midrank: bool) -> float:
    rows = len(both)
    values = np.unique(both)
    if not midrank:
        values = values[:-1]
    upto = np.searchsorted(both, values, side="right").astype(np.float64)
    ties = upto - np.searchsorted(both, values)
    below = upto - ties / 2 if midrank else upto
    divisor = below * (rows - below) - (rows * ties / 4 if midrank else 0)
    total = 0.0
    for part in (before, after):
        count = np.searchsorted(part, values, side="right").astype(np.float64)
        if midrank:
            count -= (count - np.searchsorted(part, values)) / 2
        inner = ties / rows * (rows * count - below * len(part)) ** 2 / divisor
        total += float(inner.sum()) / len(part)
    return total * (rows - 1) / rows if midrank else total


def _standardised_with_ties(before: Floats, after: Floats, both: Floats) -> float:
    """A squared (right-continuous) by its mean and variance given the ties.

    It is a weighted sum of squares of variables with variance 1, correlated as a Brownian bridge is.
    """
    rows = len(both)
    _, ties = np.unique(both, return_counts=True)
    weight: Floats = ties[:-1] / rows
    upto: Floats = ties.cumsum()[:-1] / rows
    expected = float(weight.sum()) * rows / (rows - 1)
    if len(weight) > MOST_POINTS:  # neighbours together
        cell = (upto * MOST_POINTS).astype(np.int64)
        grouped = np.bincount(cell, weight).astype(np.float64)
        used = grouped > 0
        upto = (np.bincount(cell, weight * upto)[used]) / grouped[used]
        weight = grouped[used]
    odds = upto / (1 - upto)
    correlated = np.minimum(odds[:, None] / odds, odds / odds[:, None])
    variance = 2 * float(weight @ correlated @ weight)
    return (_a_squared(before, after, both, midrank=False) - expected) / math.sqrt(variance)


def _variance(m: int, n: int) -> float:
    """Of A squared under the hypothesis (equation 4), for two samples."""
    rows = m + n
    inverse = 1 / np.arange(rows - 1, 0, -1)
    sums = inverse.cumsum()
    harmonic = float(sums[-1])
    g = float((sums[:-1] / np.arange(2, rows)).sum())
    shares = 1 / m + 1 / n
    a = (4 * g - 6) + (10 - 6 * g) * shares
    b = (2 * g - 4) * 4 + 16 * harmonic + (2 * g - 14 * harmonic - 4) * shares - 8 * harmonic + 4 * g - 6
    c = (6 * harmonic + 2 * g - 2) * 4 + (4 * harmonic - 4 * g + 6) * 2
    c += (2 * harmonic - 6) * shares + 4 * harmonic
    d = (2 * harmonic + 6) * 4 - 8 * harmonic
    return (a * rows**3 + b * rows**2 + c * rows + d) / ((rows - 1) * (rows - 2) * (rows - 3))


@cache
def _table() -> tuple[float, ...]:
    points = np.array(B0) + np.array(B1) + np.array(B2)  # for two samples
    return tuple(np.polyfit(points, np.log(LEVELS), 2).tolist())


def _table_p(statistic: float) -> float:
    """Log level as a quadratic in the percentile, held between the table's ends."""
    points = np.array(B0) + np.array(B1) + np.array(B2)
    if statistic < points[0]:
        return LEVELS[0]
    if statistic > points[-1]:
        return LEVELS[-1]
    a, b, c = _table()
    return math.exp((a * statistic + b) * statistic + c)
