"""The two-sample Cramer-von Mises test."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import Measure, NumberComparison, check_choice
from edge_mlops_monitor.drift.samples import Floats
from edge_mlops_monitor.drift.tails import cramer_von_mises_tail
from edge_mlops_monitor.errors import DataError

MODES = ("auto", "exact", "asymp")
P_VALUE_OF = ("gap", "midranks")
MOST_EXACT = 20  # rows of the larger sample up to which "auto" is exact
FEASIBLE = 40  # the number of values of the statistic grows too fast beyond


class CramerVonMises(NumberComparison):
    """The Cramer-von Mises test: the mean squared gap of the two distribution functions.

    It sees shifts better than Kolmogorov and Smirnov's does. Conventions: the statistic is Anderson's T from
    midranks, as scipy's. Ties inflate it, so that rounded data would raise false alarms; the p-value is
    therefore that of the squared gap itself, which is the same T without ties. `p_value_of="midranks"` has
    scipy's p-value. `mode` "exact" counts all orders of the pooled sample (as without ties), "asymp" takes
    the limit, after T is moved and scaled to the limit's mean and variance; "auto" is exact up to 20 rows.
    Numbers only.

    Source: Anderson, On the distribution of the two-sample Cramer-von Mises criterion, 1962; Xiao, Gordon
    and Yakovlev, A C++ program for the Cramer-von Mises two-sample test, 2007 (exact, by recursion).

    >>> result = CramerVonMises().compare([1, 2, 3, 4], [3.5, 4.5, 5, 6], threshold=0.05)
    >>> result.statistic, round(result.p_value, 6)
    (0.5, 0.057143)
    """

    name: ClassVar[str] = "cramer_von_mises"

    def __init__(self, mode: str = "auto", p_value_of: str = "gap") -> None:
        check_choice(self.name, "mode", mode, MODES)
        check_choice(self.name, "p_value_of", p_value_of, P_VALUE_OF)
        self.mode = mode
        self.p_value_of = p_value_of

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The test of two samples."""
        m, n = len(before), len(after)
        if self.mode == "exact" and max(m, n) > FEASIBLE:
            raise DataError(f"cramer_von_mises counts up to {FEASIBLE} rows exactly; use mode='asymp'")
        before, after = np.sort(before), np.sort(after)
        both = np.sort(np.concatenate((before, after)))
        ranked = m * _rank_excess(before, both) + n * _rank_excess(after, both)
        statistic = ranked / (m * n * (m + n)) - (4 * m * n - 1) / (6 * (m + n))
        tested = statistic
        if self.p_value_of == "gap":
            tested = min(statistic, _squared_gap(before, after, both), _farthest(m, n))
        if self.mode == "exact" or (self.mode == "auto" and max(m, n) <= MOST_EXACT):
            return Measure(statistic, exact_p(tested, m, n))
        return Measure(statistic, asymptotic_p(tested, m, n))


def _rank_excess(part: Floats, both: Floats) -> float:
    """The sum of squares of how far the midranks in the pooled sample lie above those in its part."""
    ranks = (np.searchsorted(both, part) + np.searchsorted(both, part, side="right") + 1) / 2
    return float(((ranks - np.arange(1, len(part) + 1)) ** 2).sum())


def _squared_gap(before: Floats, after: Floats, both: Floats) -> float:
    """T from the distribution functions: they take ties for what they are."""
    m, n = len(before), len(after)
    gap = np.searchsorted(before, both, side="right") / m - np.searchsorted(after, both, side="right") / n
    return float((gap * gap).sum()) * m * n / (m + n) ** 2


def _farthest(m: int, n: int) -> float:
    """T of samples without ties that do not overlap: ties can exceed it, and no order would be as far out."""
    squares = (m + 1) * (2 * m + 1) / (6 * m) + (n + 1) * (2 * n + 1) / (6 * n) - 1
    return squares * m * n / (m + n) ** 2


def asymptotic_p(statistic: float, m: int, n: int) -> float:
    """The limit's tail at the statistic, moved and scaled to the limit's mean 1/6 and variance 1/45."""
    both, pairs = m + n, m * n
    mean = (1 + 1 / both) / 6
    variance = (both + 1) * (4 * pairs * both - 3 * (m * m + n * n) - 2 * pairs) / (180 * both**2 * pairs)
    return cramer_von_mises_tail(1 / 6 + (statistic - mean) / math.sqrt(45 * variance))


def exact_p(statistic: float, m: int, n: int) -> float:
    """The share of all orders of two samples without ties whose statistic is at least this.

    Walks the lattice of orders; the number of walks to each point is kept by the sum of squares so far,
    and a walk that has reached the statistic is counted with all its continuations.
    """
    common = math.gcd(m, n)
    goal = math.floor(statistic * m * n * (m + n) ** 2 / common**2 + 1e-6)
    if goal <= 0:
        return 1.0
    reached = 0.0
    column: list[tuple[Floats, Floats]] = []
    nothing = (np.zeros(0), np.zeros(0))
    for i in range(m + 1):
        for j in range(n + 1):
            left = column[j] if i else nothing
            below = column[j - 1] if j else nothing
            if i == j == 0:
                left = (np.zeros(1), np.ones(1))
            sums, walks = _merged(left, below)
            sums = sums + ((i * n - j * m) // common) ** 2
            over = sums >= goal
            reached += float(walks[over].sum()) * math.comb(m + n - i - j, m - i)
            here = (sums[~over], walks[~over])
            column[j : j + 1] = [here]
    return min(1.0, reached / math.comb(m + n, m))


def _merged(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    sums, inverse = np.unique(np.concatenate((one[0], other[0])), return_inverse=True)
    walks = np.bincount(inverse, np.concatenate((one[1], other[1])), minlength=len(sums))
    return sums, walks.astype(np.float64)
