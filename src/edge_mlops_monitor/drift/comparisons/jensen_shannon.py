"""The Jensen-Shannon distance."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import BinnedComparison, Measure
from edge_mlops_monitor.drift.samples import Floats
from edge_mlops_monitor.errors import DataError


class JensenShannon(BinnedComparison):
    """The Jensen-Shannon distance: the square root of the mean divergence of both from their average.

    Conventions: logarithm to `base` 2, so that it lies between 0 and 1; `divergence=True` gives its square.
    By default ten bins at the reference's quantiles with open ends. NannyML's convention is `bins="doane",
    binning="equal_width"`, its rule for numbers of few values `categorical=True`. Numbers and categories;
    there is no p-value.

    Source: Lin, Divergence measures based on the Shannon entropy, 1991; Endres and Schindelin, A new
    metric for probability distributions, 2003 (its root is a metric).

    >>> result = JensenShannon().compare(["a", "b"], ["a", "c"], threshold=0.1)
    >>> round(result.statistic, 6), result.p_value, result.is_drift
    (0.707107, None, True)
    """

    name: ClassVar[str] = "jensen_shannon"

    def __init__(
        self,
        bins: int | str = 10,
        binning: str = "quantiles",
        edges_from: str = "reference",
        categorical: bool | None = None,
        base: float = 2.0,
        divergence: bool = False,
    ) -> None:
        super().__init__(bins, binning, edges_from, categorical)
        if not 1 < base < math.inf:
            raise DataError("jensen_shannon needs a base above 1; give 2 or math.e")
        self.base = base
        self.divergence = divergence

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The distance of two lists of counts."""
        p, q = before / before.sum(), after / after.sum()
        both = (p + q) / 2
        total = _divergence(p, both) + _divergence(q, both)
        found = max(0.0, total / 2 / math.log(self.base))
        return Measure(found if self.divergence else math.sqrt(found))


def _divergence(p: Floats, q: Floats) -> float:
    used = p > 0
    return float((p[used] * np.log(p[used] / q[used])).sum())
