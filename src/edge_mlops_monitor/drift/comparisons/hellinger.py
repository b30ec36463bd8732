"""The Hellinger distance."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import BinnedComparison, Measure
from edge_mlops_monitor.drift.samples import Floats


class Hellinger(BinnedComparison):
    """The Hellinger distance: the Euclidean distance of the roots of the shares, divided by the root of 2.

    Conventions: it lies between 0 and 1. By default ten bins at the reference's quantiles with open ends.
    NannyML's convention is `bins="doane", binning="equal_width"`, its rule for numbers of few values
    `categorical=True`. Numbers and categories; there is no p-value.

    Source: Hellinger, Neue Begruendung der Theorie quadratischer Formen von unendlichvielen
    Veraenderlichen, 1909.

    >>> result = Hellinger().compare(["a", "b"], ["a", "c"], threshold=0.1)
    >>> round(result.statistic, 6), result.p_value, result.is_drift
    (0.707107, None, True)
    """

    name: ClassVar[str] = "hellinger"

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The distance of two lists of counts."""
        apart = np.sqrt(before / before.sum()) - np.sqrt(after / after.sum())
        return Measure(min(1.0, math.sqrt(float((apart * apart).sum()) / 2)))
