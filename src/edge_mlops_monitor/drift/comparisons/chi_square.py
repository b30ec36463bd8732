"""The two-sample chi-square test."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import BinnedComparison, Measure
from edge_mlops_monitor.drift.samples import Floats
from edge_mlops_monitor.drift.tails import chi_square_tail


class ChiSquare(BinnedComparison):
    """Pearson's chi-square test that two samples have the same shares of categories or bins.

    Conventions: the two-sample contingency test. The reference is a sample too; taking its shares for the
    truth, as some peers do, raises false alarms in about half of all windows. Asymptotic p-value, with one
    degree of freedom less than cells; `yates` moves each count of a table of 2 by 2 by up to one half towards
    what is expected, as scipy's default does. `data["expected_below_5"]` is the share of counts that are expected to
    be below 5; where most are, the p-value is rough. By default ten bins at the reference's quantiles.

    Source: Pearson, On the criterion that a given system of deviations ..., 1900; Yates, Contingency tables
    involving small numbers and the chi-square test, 1934.

    >>> before, after = ["a"] * 10 + ["b"] * 10 + ["c"] * 20, ["a"] * 20 + ["b"] * 20 + ["c"] * 20
    >>> result = ChiSquare().compare(before, after, threshold=0.05)
    >>> round(result.statistic, 6), round(result.p_value, 6), result.is_drift
    (2.777778, 0.249352, False)
    """

    name: ClassVar[str] = "chi_square"

    def __init__(
        self,
        bins: int | str = 10,
        binning: str = "quantiles",
        edges_from: str = "reference",
        categorical: bool | None = None,
        yates: bool = True,
    ) -> None:
        super().__init__(bins, binning, edges_from, categorical)
        self.yates = yates

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The test of two lists of counts."""
        counts = np.stack((before, after))
        total = counts.sum()
        expected = counts.sum(axis=1, keepdims=True) * (counts.sum(axis=0) / total)
        apart = np.abs(counts - expected)
        if self.yates and len(before) == 2:
            apart = np.maximum(apart - 0.5, 0.0)
        statistic = float((apart * apart / expected).sum())
        degrees = len(before) - 1
        data = {"degrees_of_freedom": degrees, "expected_below_5": float((expected < 5).mean())}
        return Measure(statistic, chi_square_tail(statistic, degrees), data)
