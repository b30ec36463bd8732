"""The Wasserstein distance."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import Measure, NumberComparison, check_choice
from edge_mlops_monitor.drift.samples import Floats, common_scale

DIVISORS = ("none", "reference_sd")


class Wasserstein(NumberComparison):
    """The first Wasserstein (earth mover's) distance: the area between the two distribution functions.

    Conventions: exact, from all values, in the units of the data. `divided_by="reference_sd"` divides it by
    the reference's standard deviation (divisor N) or by `least_sd` where that is larger; with
    `least_sd=0.001` this is Evidently's normed distance, which alarms at 0.1. NannyML bins a reference of
    10 000 rows and more and may differ in the third decimal. In short windows it is far from 0 without any
    change: about 0.1 standard deviations at 100 rows. Numbers only; there is no p-value.

    Source: Kantorovich, On the translocation of masses, 1942; Vallender, Calculation of the Wasserstein
    distance between probability distributions on the line, 1974 (the area).

    >>> Wasserstein().compare([0, 1, 3], [5, 6, 8]).statistic
    5.0
    """

    name: ClassVar[str] = "wasserstein"

    def __init__(self, divided_by: str = "none", least_sd: float = 0.0) -> None:
        check_choice(self.name, "divided_by", divided_by, DIVISORS)
        self.divided_by = divided_by
        self.least_sd = least_sd

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The distance of two samples."""
        scale = common_scale(before, after)
        before, after = np.sort(before / scale), np.sort(after / scale)
        both = np.sort(np.concatenate((before, after)))
        apart = np.searchsorted(before, both[:-1], side="right") / len(before)
        apart -= np.searchsorted(after, both[:-1], side="right") / len(after)
        area = float((np.abs(apart) * np.diff(both)).sum())
        if self.divided_by == "none":
            return Measure(area * scale)
        sd = max(float(before.std()), self.least_sd / scale)
        if sd <= 0:
            return Measure(None, data={"lacks": "all values of the reference are equal; it has no sd"})
        return Measure(area / sd)
