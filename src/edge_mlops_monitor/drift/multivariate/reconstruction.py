"""The reconstruction error of a principal component analysis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import Measure
from edge_mlops_monitor.drift.comparisons.ks_test import KSTest
from edge_mlops_monitor.drift.tables import Floats, TableComparison, principal
from edge_mlops_monitor.errors import DataError

CHUNKS = 10  # of the reference, for the usual limits


class Reconstruction(TableComparison):
    """How far rows lie from the subspace that most of the reference's variance is in.

    Sees correlations of the reference that no longer hold. The statistic is the mean over the current rows
    of the Euclidean distance between the standardised row and its projection, to the digit as NannyML has
    it: as few principal components as explain more than `explained` of the reference's variance (or so many
    as `components` says); text, and what `categorical` names, coded by relative frequency; gaps filled
    with the reference's mean or most frequent label; standardised by mean and population sd.

    `data` holds the same of the reference (`reference`), the sampling error (sample sd over the root of the
    rows), and `lower` and `upper`, mean -+ 3 sd of ten chunks of the reference. An error may also become
    smaller. The p-value is of the two-sided Kolmogorov-Smirnov test of the rows' distances: the components
    are fitted on every second row of the reference, and the other rows tell what is usual, so that it holds
    for independent rows, whatever the distribution. At least 20 reference rows.

    Source: Jackson and Mudholkar, Control procedures for residuals associated with principal component
    analysis, Technometrics 21, 1979.

    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=600)
    >>> together = np.stack((a, a + 0.3 * rng.normal(size=600)), axis=1)
    >>> apart = rng.normal(size=(200, 2))
    >>> found = Reconstruction().compare(together[:400], apart, threshold=0.001)
    >>> found.is_drift, round(found.data["reference"], 2), round(found.statistic, 2)
    (True, 0.15, 0.84)
    >>> Reconstruction().compare(together[:400], together[400:], threshold=0.001).is_drift
    False
    """

    name: ClassVar[str] = "reconstruction"
    least_rows: ClassVar[int] = 1

    def __init__(
        self, components: int | None = None, explained: float = 0.65, categorical: Sequence[int] = ()
    ) -> None:
        super().__init__(categorical)
        check_components(self.name, components, explained)
        self.components, self.explained = components, explained

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The mean error and its p-value."""
        usual, errors = self._errors(before, before, after)
        apart, found = self._errors(before[::2], before[1::2], after)
        p_value = KSTest().compare(apart, found).p_value
        chunks = np.array([chunk.mean() for chunk in np.array_split(usual, CHUNKS)])
        wide = 3 * float(chunks.std())
        data = {
            "reference": float(usual.mean()),
            "lower": float(chunks.mean()) - wide,
            "upper": float(chunks.mean()) + wide,
            "sampling_error": float(errors.std(ddof=1)) / math.sqrt(len(errors)) if len(errors) > 1 else None,
        }
        return Measure(float(errors.mean()), p_value, data)

    def _errors(self, fitted: Floats, *tables: Floats) -> list[Floats]:
        """The distance of each row of the tables from the subspace of the fitted rows."""
        mean = fitted.mean(axis=0)
        kept, _ = principal(fitted, self.components, self.explained)
        centred = [table - mean for table in tables]
        return [np.sqrt(((rows - rows @ kept @ kept.T) ** 2).sum(axis=1)) for rows in centred]


def check_components(method: str, components: int | None, explained: float) -> None:
    """Refuse a number of components, or a share of variance, that is none."""
    if components is not None and (not isinstance(components, int) or components < 1):
        raise DataError(f"{method} needs components of 1 or more, or None for a share of the variance")
    if not 0 < explained <= 1:
        raise DataError(f"{method} needs explained above 0 and at most 1, the share of variance to keep")
