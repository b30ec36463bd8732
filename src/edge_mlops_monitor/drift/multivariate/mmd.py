"""The maximum mean discrepancy, with random Fourier features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import Measure
from edge_mlops_monitor.drift.tables import Floats, TableComparison
from edge_mlops_monitor.drift.tails import upper_gamma
from edge_mlops_monitor.errors import DataError

PIECE = 1024  # rows at a time
SAMPLE = 512  # rows that the bandwidth is taken from


class MMD(TableComparison):
    """The maximum mean discrepancy of two samples of rows under a Gaussian kernel.

    Sees any change of the features' common distribution, best where few features are many sd apart. The
    kernel is approximated by `frequencies` random frequencies, a cosine and a sine each, drawn with `seed`
    from a generator that is the same in every release of NumPy; memory beside the data is constant, since
    only sums over the rows are kept. The kernel's width is `bandwidth` standard deviations, or the median
    distance of at most 512 reference rows, evenly taken.

    The statistic is the squared distance of the mean features (the biased estimate of the squared MMD, from
    0 to 2). The p-value is asymptotic: under the null its multiple mn / (m + n) is a weighted sum of
    chi-square variables, whose first three moments are those of the pooled covariance; it holds for
    independent rows. Gaps, text and scale as `reconstruction` has them. At least 20 rows each.

    Source: Gretton et al., A kernel two-sample test, 2012; Rahimi and Recht, Random features for
    large-scale kernel machines, 2007; Liu, Tang and Zhang, Computational Statistics & Data Analysis 53, 2009.

    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=600)
    >>> together = np.stack((a, a + 0.3 * rng.normal(size=600)), axis=1)
    >>> apart = rng.normal(size=(200, 2))
    >>> MMD().compare(together[:400], apart, threshold=0.001).is_drift
    True
    >>> MMD().compare(together[:400], together[400:], threshold=0.001).is_drift
    False
    """

    name: ClassVar[str] = "mmd"

    def __init__(
        self,
        frequencies: int = 64,
        bandwidth: float | None = None,
        seed: int = 0,
        categorical: Sequence[int] = (),
    ) -> None:
        super().__init__(categorical)
        if not isinstance(frequencies, int) or not 1 <= frequencies <= 1000:
            raise DataError("mmd needs 1 to 1000 frequencies")
        if bandwidth is not None and not 0 < bandwidth < math.inf:
            raise DataError("mmd needs a bandwidth above 0, or None for the median distance")
        self.frequencies, self.bandwidth, self.seed = frequencies, bandwidth, seed

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The squared discrepancy and its p-value."""
        width = self.bandwidth or median_distance(before)
        drawn = np.random.RandomState(self.seed).normal(size=(before.shape[1], self.frequencies)) / width
        (mean, spread), (other, other_spread) = (self._moments(rows, drawn) for rows in (before, after))
        apart = float(((mean - other) ** 2).sum())
        m, n = len(before), len(after)
        covariance = (spread + other_spread) / (m + n - 2)
        p_value = weighted_chi_square_tail(apart * m * n / (m + n), covariance)
        return Measure(apart, p_value, {"bandwidth": width})

    def _moments(self, rows: Floats, drawn: Floats) -> tuple[Floats, Floats]:
        """The mean of the Fourier features, and the sum of their centred products."""
        size = 2 * self.frequencies
        total, products = np.zeros(size), np.zeros((size, size))
        for begin in range(0, len(rows), PIECE):
            angles = rows[begin : begin + PIECE] @ drawn
            features = np.concatenate((np.cos(angles), np.sin(angles)), axis=1) / math.sqrt(self.frequencies)
            total += features.sum(axis=0)
            products += features.T @ features
        mean = total / len(rows)
        return mean, products - len(rows) * np.outer(mean, mean)


def median_distance(rows: Floats) -> float:
    """The median distance of two different rows, of a bounded sample; 1 where all are equal.

    >>> median_distance(np.array([[0.0], [3.0]]))
    3.0
    """
    some = rows[:: math.ceil(len(rows) / SAMPLE)]
    squares = (some**2).sum(axis=1)
    apart = squares[:, None] + squares - 2 * some @ some.T
    apart = apart[np.triu_indices(len(some), 1)]
    positive = apart[apart > 1e-9 * (squares.max() or 1.0)]
    return math.sqrt(float(np.median(positive))) if len(positive) else 1.0


def weighted_chi_square_tail(x: float, covariance: Floats) -> float:
    """The probability that the squared length of a normal vector exceeds `x`, by its first three moments.

    >>> round(weighted_chi_square_tail(3.841458820694124, np.eye(1)), 6)
    0.05
    """
    squared = covariance @ covariance
    first, second = float(np.trace(covariance)), float(np.trace(squared))
    third = float((squared * covariance).sum())
    if second <= 0 or third <= 0:
        return 1.0
    degrees = second**3 / third**2
    return upper_gamma(degrees / 2, (degrees + (x - first) * math.sqrt(degrees / second)) / 2)
