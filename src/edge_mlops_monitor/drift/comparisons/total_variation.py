"""The total variation distance."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import BinnedComparison, Measure
from edge_mlops_monitor.drift.samples import Floats


class TotalVariation(BinnedComparison):
    """The total variation distance: half the sum of the absolute changes of all shares.

    It is the share of the rows that would have to move to another bin or category. Conventions: it lies
    between 0 and 1 (Evidently's `TVD` is the same). By default ten bins at the reference's quantiles with
    open ends. Numbers and categories; there is no p-value.

    Source: Levin, Peres and Wilmer, Markov chains and mixing times, 2009, section 4.1.

    >>> TotalVariation().compare(["a", "a", "b", "b"], ["a", "a", "a", "b"], threshold=0.1).statistic
    0.25
    """

    name: ClassVar[str] = "total_variation"

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The distance of two lists of counts."""
        apart = np.abs(before / before.sum() - after / after.sum())
        return Measure(min(1.0, float(apart.sum()) / 2))
