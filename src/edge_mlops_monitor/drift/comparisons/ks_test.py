"""The two-sample Kolmogorov-Smirnov test."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import Measure, NumberComparison, equal_width_edges
from edge_mlops_monitor.drift.samples import Floats
from edge_mlops_monitor.errors import DataError

ALTERNATIVES = ("two-sided", "greater", "less")
MODES = ("auto", "exact", "asymp")
MOST_EXACT = 10_000  # rows of the larger sample up to which "auto" is exact
MOST_PATHS = 690.0  # log of the number of paths that are counted
FAR = 9.0  # beyond so many units of sqrt(mn(m + n)) a path has probability below 1e-70


class KSTest(NumberComparison):
    """The Kolmogorov-Smirnov test of two samples of numbers.

    Conventions: D is the largest distance between the two empirical distribution functions, ties and all;
    `alternative="greater"` looks only at how far the reference's function lies above the current one's.
    `mode` is "auto" (exact up to 10 000 rows), "exact" or "asymp". The exact p-value counts the lattice paths
    that reach D, by sums of positive terms that are accurate in the tails. The asymptotic two-sided p-value
    is Kolmogorov's limit, `2 sum (-1)^(k-1) exp(-2 k^2 z^2)` with `z = D sqrt(m n / (m + n))`; scipy's
    `method="asymp"` uses the one-sample distribution for finite n instead and differs by a few per cent. The
    asymptotic one-sided p-value has Hodges' correction (equation 5.3), as scipy's has. With `bins` the
    functions are compared at the edges of so many equally wide bins over the reference's range only; NannyML
    does so with 10 000 of them from 10 000 reference rows on, and differs from the exact D in the fourth
    decimal. Numbers only.

    Source: Smirnov, Table for estimating the goodness of fit of empirical distributions, 1948; Hodges, The
    significance probability of the Smirnov two-sample test, Arkiv foer Matematik 3, 1958 (exact).

    >>> result = KSTest().compare([1.01, 2.01], [1.0, 2.0, 3.0, 4.0])
    >>> result.statistic, round(result.p_value, 10)
    (0.5, 0.9333333333)
    """

    name: ClassVar[str] = "ks_test"

    def __init__(self, alternative: str = "two-sided", mode: str = "auto", bins: int | None = None) -> None:
        for value, allowed in ((alternative, ALTERNATIVES), (mode, MODES)):
            if value not in allowed:
                raise DataError(f"ks_test knows no {value!r}; use one of {', '.join(allowed)}")
        self.alternative = alternative
        if bins is not None and not (isinstance(bins, int) and 1 <= bins <= 1_000_000):
            raise DataError("ks_test needs bins of 1 to 1 000 000, or None for the exact distance")
        self.mode = mode
        self.bins = bins

    def measure(self, before: Floats, after: Floats) -> Measure:
        """D of two samples, and its p-value."""
        before, after = np.sort(before), np.sort(after)
        if self.bins is None:
            statistic = distance(before, after, self.alternative)
        else:
            statistic = binned_distance(before, after, self.bins, self.alternative)
        return Measure(statistic, self._p_value(statistic, len(before), len(after)))

    def _p_value(self, statistic: float, m: int, n: int) -> float:
        exact = self.mode == "exact" or (self.mode == "auto" and max(m, n) <= MOST_EXACT)
        two_sided = self.alternative == "two-sided"
        if exact:
            return exact_p(statistic, m, n, two_sided)
        return asymptotic_p(statistic, m, n, two_sided)


def distance(before: Floats, after: Floats, alternative: str = "two-sided") -> float:
    """D of two sorted samples."""
    both = np.concatenate((before, after))
    difference = np.searchsorted(before, both, side="right") / len(before)
    difference -= np.searchsorted(after, both, side="right") / len(after)
    return _largest(difference, alternative)


def binned_distance(before: Floats, after: Floats, bins: int, alternative: str = "two-sided") -> float:
    """D of two sorted samples as seen at the right edges of equally wide bins over the first's range."""
    edges = equal_width_edges(before, bins)[1:]
    difference = np.searchsorted(before, edges) / len(before) - np.searchsorted(after, edges) / len(after)
    last = np.searchsorted(after, edges[-1], side="right") / len(after)
    difference[-1] = 1 - last  # the last bin is closed
    return _largest(difference, alternative)


def _largest(difference: Floats, alternative: str) -> float:
    above, below = max(0.0, float(difference.max())), max(0.0, float(-difference.min()))
    return {"greater": above, "less": below, "two-sided": max(above, below)}[alternative]


def exact_p(statistic: float, m: int, n: int, two_sided: bool = True) -> float:
    """The probability that D is at least `statistic` where both samples have one continuous distribution.

    >>> round(exact_p(2 / 3, 2, 3), 12)
    0.6
    """
    common = math.gcd(m, n)
    height = round(statistic * (m * n // common)) * common  # D as a difference of i n and j m
    if height <= 0:
        return 1.0
    if math.lgamma(m + n + 1) - math.lgamma(m + 1) - math.lgamma(n + 1) < MOST_PATHS:
        return _by_counting(height, m, n, two_sided)
    return _by_steps(height, m, n, two_sided)


def _by_counting(height: int, m: int, n: int, two_sided: bool) -> float:
    """The share of all paths that reach the height: `touched` of the `paths` to each column, row by row.

    The rows are the smaller sample, so that windows of a few hundred cost as many cumulative sums.
    """
    rows, columns = min(m, n), max(m, n)
    left, right = (True, two_sided) if m <= n else (two_sided, True)  # on which side D counts
    paths = np.ones(columns + 1)
    touched = np.zeros(columns + 1)
    for row in range(rows + 1):
        # inside, the columns lie strictly within height of the diagonal
        low = max((row * columns - height) // rows + 1, 0) if left else 0
        high = min(-(-(row * columns + height) // rows) - 1, columns) if right else columns
        if low > high:
            return 1.0
        if row:
            paths.cumsum(out=paths)
            touched[low : high + 1].cumsum(out=touched[low : high + 1])
            touched[low : high + 1] += paths[low - 1] if low else 0.0
        touched[high + 1 :] = paths[high + 1 :]
    return float(min(1.0, touched[columns] / paths[columns]))


def _by_steps(height: int, m: int, n: int, two_sided: bool) -> float:
    """The same as probabilities, step by step, where there are more paths than a float can count."""
    far = int(FAR * math.sqrt(m * n * (m + n))) + height
    low_limit = height if two_sided else far
    touched = np.ones(m + 2)  # at i + 1: the probability that a path at (i, step - i) has reached D
    touched[:2] = 0.0
    index = np.arange(m + 1, dtype=np.float64)
    first = 0
    for step in range(1, m + n + 1):
        # inside, i n - j m = i (m + n) - step m lies strictly between -low_limit and height
        low = max((step * m - low_limit) // (m + n) + 1, 0, step - n)
        high = min(-(-(step * m + height) // (m + n)) - 1, m, step)
        if low > high:
            return 1.0
        part = slice(low + 1, high + 2)
        i = index[low : high + 1]
        touched[part] = (i * touched[low : high + 1] + (step - i) * touched[part]) / step
        touched[first + 1 : low + 1] = two_sided  # what has fallen behind: reached D, or never will
        first = low
    return float(min(1.0, touched[m + 1]))


def asymptotic_p(statistic: float, m: int, n: int, two_sided: bool = True) -> float:
    """Kolmogorov's limit, or Smirnov's with Hodges' correction for one side.

    >>> round(asymptotic_p(0.05, 1000, 1000), 6)
    0.164079
    """
    big, small = max(m, n), min(m, n)
    z = statistic * math.sqrt(m * n / (m + n))
    if not two_sided:
        correction = 2 * z * (big + 2 * small) / math.sqrt(m * n * (m + n)) / 3
        return min(1.0, math.exp(-2 * z * z - correction))
    if z < 0.2:
        return 1.0
    if z < 1:  # the series of the distribution function converges faster here
        terms = (math.exp(-((2 * k - 1) ** 2) * math.pi**2 / (8 * z * z)) for k in range(1, 8))
        return 1 - math.sqrt(2 * math.pi) / z * sum(terms)
    return min(1.0, 2 * math.fsum((-1) ** (k - 1) * math.exp(-2 * k * k * z * z) for k in range(1, 12)))
