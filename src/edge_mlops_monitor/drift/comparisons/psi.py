"""The population stability index."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import BinnedComparison, Measure
from edge_mlops_monitor.drift.samples import Floats
from edge_mlops_monitor.errors import DataError


class PSI(BinnedComparison):
    """The population stability index: the sum of `(q - p) ln(q / p)` over bins or categories.

    Conventions: natural logarithm; by default ten bins at the reference's quantiles with open ends, as in
    credit scoring; a share of zero counts as `floor`, without norming again. 0.1 and 0.25 are customary
    thresholds, but with N rows in the reference, M now and B bins a stable feature has an index of about
    `(B - 1) (1 / N + 1 / M)`, so that they suit long windows only. Evidently's convention is
    `bins="sturges", binning="equal_width", edges_from="both"`. Numbers and categories; there is no p-value.

    Source: Jeffreys, An invariant form for the prior probability in estimation problems, 1946 (the
    divergence); Siddiqi, Credit risk scorecards, 2006 (the index). The expectation under stability: Yurdakul
    and Naranjo, Statistical properties of the population stability index, 2020.

    >>> result = PSI().compare(["a"] * 50 + ["b"] * 50, ["a"] * 20 + ["b"] * 80, threshold=0.25)
    >>> round(result.statistic, 6), result.is_drift, round(result.effect, 6)
    (0.415888, True, 0.3)
    """

    name: ClassVar[str] = "psi"

    def __init__(
        self,
        bins: int | str = 10,
        binning: str = "quantiles",
        edges_from: str = "reference",
        categorical: bool | None = None,
        floor: float = 1e-4,
    ) -> None:
        super().__init__(bins, binning, edges_from, categorical)
        if not 0 < floor < 1:
            raise DataError("psi needs a floor between 0 and 1; 0.0001 is customary")
        self.floor = floor

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The index of two lists of counts."""
        p, q = before / before.sum(), after / after.sum()
        p, q = np.where(p > 0, p, self.floor), np.where(q > 0, q, self.floor)
        return Measure(float(((q - p) * np.log(q / p)).sum()))
