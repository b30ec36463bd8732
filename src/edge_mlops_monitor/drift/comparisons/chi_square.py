"""The two-sample chi-square test."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import BinnedComparison, Measure, check_choice
from edge_mlops_monitor.drift.samples import Floats
from edge_mlops_monitor.drift.tails import chi_square_tail, upper_gamma

P_VALUE_OF = ("auto", "chi_square", "moments")


class ChiSquare(BinnedComparison):
    """Pearson's chi-square test that two samples have the same shares of categories or bins.

    Conventions: the two-sample contingency test. The reference is a sample too; taking its shares for the
    truth, as some peers do, raises false alarms in about half of all windows. `yates` moves each count of a
    table of 2 by 2 by up to one half towards what is expected, as scipy's default does. The p-value is that
    of chi-square, with one degree of freedom less than cells, where Cochran's rule allows it: every count
    expected to be at least 1, and four of five at least 5. In sparser tables (a rare category, ten thousand
    of them, a short window) it would raise false alarms in up to a third of all windows; there the gamma
    distribution with the statistic's own mean and variance given both margins takes its place
    (`data["p_value_of"]` says which). `p_value_of="chi_square"` or "moments" chooses one. By default ten bins
    at the reference's quantiles. Numbers and categories.

    Source: Pearson, On the criterion that a given system of deviations ..., 1900; Yates, Contingency tables
    involving small numbers and the chi-square test, 1934; Cochran, Some methods for strengthening the common
    chi-square tests, 1954; Haldane, The mean and variance of chi-square, when used as a test of homogeneity,
    when expectations are small, 1940.

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
        p_value_of: str = "auto",
    ) -> None:
        super().__init__(bins, binning, edges_from, categorical)
        check_choice(self.name, "p_value_of", p_value_of, P_VALUE_OF)
        self.yates = yates
        self.p_value_of = p_value_of

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The test of two lists of counts."""
        counts = np.stack((before, after))
        total = counts.sum()
        expected = counts.sum(axis=1, keepdims=True) * (counts.sum(axis=0) / total)
        apart = np.abs(counts - expected)
        plain = float((apart * apart / expected).sum())
        if self.yates and len(before) == 2:
            apart = np.maximum(apart - 0.5, 0.0)
        statistic = float((apart * apart / expected).sum())
        degrees, kind = len(before) - 1, self.p_value_of
        if kind == "auto":
            sparse = expected.min() < 1 or (expected < 5).mean() > 0.2
            kind = "moments" if sparse else "chi_square"
        p_value = _by_moments(plain, counts) if kind == "moments" else chi_square_tail(statistic, degrees)
        return Measure(statistic, p_value, {"degrees_of_freedom": degrees, "p_value_of": kind})


def _by_moments(statistic: float, counts: Floats) -> float:
    """The tail of the gamma distribution with the mean and variance of chi-square given both margins."""
    total, rows, cells = float(counts.sum()), counts.sum(axis=1), counts.sum(axis=0)
    if total <= 3:
        return 1.0
    mean = total * (len(cells) - 1) / (total - 1)
    free, uneven = 1.0, 1.0
    for margin in (rows, cells):
        sides = len(margin)
        spread = (float((total / margin).sum()) - sides * sides) / (total - 2)
        free *= (sides - 1) * (total - sides) / (total - 1) - spread
        uneven *= spread
    variance = 2 * total / (total - 3) * free + total * total / (total - 1) * uneven
    if mean <= 0 or variance <= 1e-9 * mean:
        return 1.0  # these margins allow one value of the statistic alone
    return upper_gamma(mean * mean / variance, statistic * mean / variance)
