"""The L-infinity distance."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import BinnedComparison, Measure
from edge_mlops_monitor.drift.samples import Floats


class LInfinity(BinnedComparison):
    """The L-infinity (Chebyshev) distance: the largest change of the share of one bin or category.

    Conventions: it lies between 0 and 1 and says which category it is (`data["category"]`). By default ten
    bins at the reference's quantiles with open ends. Numbers and categories; there is no p-value.

    Source: Cantrell, Modern mathematical methods for physicists and engineers, 2000 (the metric).

    >>> result = LInfinity().compare(list("aabbcc"), list("aabbccd"), threshold=0.1)
    >>> round(result.statistic, 4), result.data["category"]
    (0.1429, 'd')
    """

    name: ClassVar[str] = "l_infinity"

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The distance of two lists of counts."""
        return Measure(float(np.abs(before / before.sum() - after / after.sum()).max()))
