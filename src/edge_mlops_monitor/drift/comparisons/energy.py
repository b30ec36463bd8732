"""The energy distance."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import Measure, NumberComparison
from edge_mlops_monitor.drift.samples import Floats, common_scale


class Energy(NumberComparison):
    """The energy distance: the root of twice the area of the squared gap of the distribution functions.

    It equals the root of `2 E|X - Y| - E|X - X'| - E|Y - Y'|`. Conventions: exact, from all values; its unit
    is the root of the data's (scipy's `energy_distance`, and Evidently's; Szekely's statistic is its square
    times mn / (m + n)). Numbers only; there is no p-value.

    Source: Szekely and Rizzo, Energy statistics: a class of statistics based on distances, 2013; Cramer,
    On the composition of elementary errors, 1928 (in one dimension).

    >>> round(Energy().compare([0], [2]).statistic, 12)
    2.0
    """

    name: ClassVar[str] = "energy"

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The distance of two samples."""
        scale = common_scale(before, after)
        before, after = np.sort(before / scale), np.sort(after / scale)
        both = np.sort(np.concatenate((before, after)))
        apart = np.searchsorted(before, both[:-1], side="right") / len(before)
        apart -= np.searchsorted(after, both[:-1], side="right") / len(after)
        area = float((apart * apart * np.diff(both)).sum())
        return Measure(math.sqrt(2 * area) * math.sqrt(scale))
