"""The domain classifier: can the current rows be told from the reference's?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from edge_mlops_monitor.drift.comparison import Measure
from edge_mlops_monitor.drift.tables import Floats, TableComparison, principal
from edge_mlops_monitor.errors import DataError

MOST_CROSSED = 20  # features, or leading principal components, whose products are used
FAR = 5.0  # standard deviations; a row further out counts as this
STEPS = 30


class DomainClassifier(TableComparison):
    """How well a logistic regression tells current rows from rows of the reference.

    Its inputs are the features and, with `degree` 2, all their squares and products (above 20 features,
    those of the 20 leading principal components), so that it sees changed means, spreads and correlations.
    It is trained on every second row of both samples, with the ridge `penalty`, and judged on the other
    rows. The statistic is the area under the ROC curve there: 0.5 where the samples cannot be told apart, 1
    where they can always be. The p-value is that of the one-sided Mann-Whitney test of the held-out scores
    (normal approximation, with ties), which holds for independent rows, whatever was learned. NannyML's
    figure is cross-validated with boosted trees, and differs. Gaps, text and scale as `reconstruction`
    has them. At least 20 rows each.

    Source: Lopez-Paz and Oquab, Revisiting classifier two-sample tests, 2017; Friedman, On multivariate
    goodness-of-fit and two-sample testing, 2003.

    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=600)
    >>> together = np.stack((a, a + 0.3 * rng.normal(size=600)), axis=1)
    >>> apart = rng.normal(size=(200, 2))
    >>> found = DomainClassifier().compare(together[:400], apart, threshold=0.001)
    >>> found.is_drift, found.statistic > 0.8
    (True, True)
    >>> DomainClassifier().compare(together[:400], together[400:], threshold=0.001).is_drift
    False
    """

    name: ClassVar[str] = "domain_classifier"

    def __init__(self, degree: int = 2, penalty: float = 1.0, categorical: Sequence[int] = ()) -> None:
        super().__init__(categorical)
        if degree not in (1, 2):
            raise DataError("domain_classifier needs degree=1 (the features) or 2 (their products too)")
        if not 0 < penalty < math.inf:
            raise DataError("domain_classifier needs a penalty above 0")
        self.degree, self.penalty = degree, penalty

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The area under the ROC curve and its p-value."""
        rows = np.clip(np.concatenate((before, after)), -FAR, FAR)
        current = np.concatenate((np.zeros(len(before)), np.ones(len(after))))
        trained = np.concatenate((np.arange(len(before)) % 2, np.arange(len(after)) % 2)) == 0
        inputs = self._inputs(rows, trained)
        weights = logistic_regression(inputs[trained], current[trained], self.penalty)
        scores = (inputs[~trained] @ weights).round(9)  # what differs by rounding is a tie
        held_out = current[~trained] == 1
        return mann_whitney(scores[~held_out], scores[held_out])

    def _inputs(self, rows: Floats, trained: Floats) -> Floats:
        """The standardised inputs of the regression, a column of ones first."""
        columns = [rows]
        if self.degree == 2:
            base = rows
            if rows.shape[1] > MOST_CROSSED:
                base = rows @ principal(rows[trained], MOST_CROSSED, 1.0)[0]
            first, second = np.triu_indices(base.shape[1])
            columns.append(base[:, first] * base[:, second])
        found = np.concatenate(columns, axis=1)
        found -= found[trained].mean(axis=0)
        sd = found[trained].std(axis=0)
        found /= np.where(sd > 1e-9, sd, 1.0)
        return np.concatenate((np.ones((len(rows), 1)), found), axis=1)


def logistic_regression(inputs: Floats, labels: Floats, penalty: float) -> Floats:
    """The weights of a ridge logistic regression, by Newton's method; the first is not penalised.

    >>> logistic_regression(np.ones((4, 1)), np.array([0.0, 1.0, 1.0, 1.0]), 1.0).round(4).tolist()
    [1.0986]
    """
    weights = np.zeros(inputs.shape[1])
    ridge = np.full(inputs.shape[1], penalty)
    ridge[0] = 1e-9
    for _ in range(STEPS):
        share = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        gradient = inputs.T @ (labels - share) - ridge * weights
        curvature = (inputs * (share * (1 - share))[:, None]).T @ inputs
        curvature[np.diag_indices_from(curvature)] += ridge
        step = np.linalg.solve(curvature, gradient)
        weights += step / max(1.0, float(np.abs(step).max()))  # far steps are cut, so that it converges
        if float(np.abs(step).max()) < 1e-8:
            break
    return weights


def mann_whitney(before: Floats, after: Floats) -> Measure:
    """The share of pairs in which `after` is larger (ties count half), and its one-sided p-value.

    >>> mann_whitney(np.array([1.0, 2.0]), np.array([3.0, 4.0])).statistic
    1.0
    """
    m, n = len(before), len(after)
    _, place, counts = np.unique(np.concatenate((before, after)), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place.ravel()]
    area = (float(ranks[m:].sum()) - n * (n + 1) / 2) / (m * n)
    tied = float((counts.astype(np.float64) ** 3 - counts).sum()) / ((m + n) * (m + n - 1))
    variance = (m + n + 1 - tied) / (12 * m * n)
    if variance <= 1e-15:
        return Measure(area, 1.0)
    correction = 0.5 / (m * n)
    return Measure(area, 0.5 * math.erfc((area - 0.5 - correction) / math.sqrt(2 * variance)))
