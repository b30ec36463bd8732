"""The Mahalanobis distance: Hotelling's T2 and the residual Q."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import Measure
from edge_mlops_monitor.drift.comparisons.ks_test import KSTest
from edge_mlops_monitor.drift.multivariate.reconstruction import check_components
from edge_mlops_monitor.drift.tables import Floats, TableComparison, principal


class Mahalanobis(TableComparison):
    """How far rows lie from the reference's centre, in units of its own covariance.

    T2 is a row's squared Mahalanobis distance within the leading principal components (as few as explain
    more than `explained` of the variance, or `components`), Q the squared rest outside of them, in squared
    standard deviations of a feature. T2 sees rows far out in directions that vary, Q correlations that no
    longer hold. The statistic is the mean T2 of the current rows; `data` holds the mean Q, and both of the
    reference. The components are fitted on every second row of the reference and the other rows tell what
    is usual, since a fit makes the rows it was made on look closer than they are.

    The p-value is twice the smaller one of two Kolmogorov-Smirnov tests, of T2 and of Q (once where nothing
    is outside), at most 1: it holds for independent rows, whatever the distribution. Gaps, text and scale
    as `reconstruction` has them. At least 20 reference rows.

    Source: Hotelling, Multivariate quality control, 1947; Jackson and Mudholkar, Technometrics 21, 1979.

    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=600)
    >>> together = np.stack((a, a + 0.3 * rng.normal(size=600)), axis=1)
    >>> apart = rng.normal(size=(200, 2))
    >>> Mahalanobis().compare(together[:400], apart, threshold=0.001).is_drift
    True
    >>> Mahalanobis().compare(together[:400], together[400:], threshold=0.001).is_drift
    False
    """

    name: ClassVar[str] = "mahalanobis"
    least_rows: ClassVar[int] = 1

    def __init__(
        self, components: int | None = None, explained: float = 0.9, categorical: Sequence[int] = ()
    ) -> None:
        super().__init__(categorical)
        check_components(self.name, components, explained)
        self.components, self.explained = components, explained

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The mean T2 and the p-value of T2 and Q together."""
        fitted, usual = before[::2], before[1::2]
        kept, variances = principal(fitted, self.components, self.explained)
        t2, q = [], []
        for rows in (usual, after):
            centred = rows - fitted.mean(axis=0)
            inside = centred @ kept
            t2.append((inside**2 / np.where(variances > 0, variances, 1.0)).sum(axis=1))
            q.append(((centred - inside @ kept.T) ** 2).sum(axis=1))
        tests = [t2] if kept.shape[1] == before.shape[1] else [t2, q]
        smallest = min(KSTest().compare(*pair).p_value or 0.0 for pair in tests)
        data = {
            "q": float(q[1].mean()),
            "reference_t2": float(t2[0].mean()),
            "reference_q": float(q[0].mean()),
        }
        return Measure(float(t2[1].mean()), min(1.0, len(tests) * smallest), data)
