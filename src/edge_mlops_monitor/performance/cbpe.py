"""Performance of a classifier without labels: confidence-based performance estimation (CBPE)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.performance.calibrating import Calibrator, fit, of_class, places, reference_of
from edge_mlops_monitor.performance.samples import Codes, Figures, Floats, figure, score_array

THRESHOLD = 0.5  # of a single score, from which on the model is taken to say "yes"
METRICS = ("roc_auc", "accuracy", "f1", "precision", "recall")
Gradient = tuple["float | None", Floats]  # a metric, and its derivative by each row's probability


def estimate(
    reference_scores: Any, reference_labels: Any, scores: Any, *, classes: Sequence[Any] | None = None
) -> Figures:
    """Estimate how well a classifier does on rows that have no labels, from its scores alone.

    `reference_scores` are probabilities on labelled data that the model was not fitted to, `scores` those
    on the rows in question: (rows,) of the second of two classes, or (rows, classes). `reference_labels`
    are 0 and 1, or the numbers of the columns, or what `classes` names in that order. Rows with a missing
    score or label are left out. Returns `roc_auc`, `accuracy`, `f1`, `precision` and `recall`, each a dict
    of `value`, `sampling_error` (a standard error) and `lower` and `upper`, the interval of 95 %, in which
    the performance that labels would show on these rows is to be expected; None where it has no meaning, as
    the precision where nothing is predicted.

    Conventions: the model says the second class from a score of 0.5 on, or the class of the largest score.
    Scores that are not probabilities (`calibration`) are calibrated by isotonic regression, one class
    against the rest, and made to add up to 1. Each row then counts as so much right and so much wrong: the
    expected confusion matrix. Of two classes, precision, recall and F1 are those of the second; of several,
    all but the accuracy are the unweighted mean of one class against the rest (macro average), where a
    class that is never predicted has a precision of 0. The sampling error adds up, by the delta method, what
    the labels of these rows would vary by, and how unsure a reference of this length leaves the
    probabilities.

    The estimate holds while the probability of a label, given the score, is what it was in the reference.
    It follows data that get harder, and is blind where the meaning of the data changes (concept drift).

    Source: NannyML's method (J. Bialek, W. Kuberski, N. Perrakis, A. Bifet, Estimating model performance
    under covariate shift without labels, 2024), with sampling errors of our own. Raises `DataError` in one
    sentence for what cannot be used.

    >>> rng = np.random.default_rng(0)
    >>> known = rng.uniform(size=5000)
    >>> labels = rng.uniform(size=5000) < known
    >>> found = estimate(known, labels, rng.uniform(0.3, 0.7, size=1000))
    >>> {name: round(one["value"], 1) for name, one in found.items()}
    {'roc_auc': 0.6, 'accuracy': 0.6, 'f1': 0.6, 'precision': 0.6, 'recall': 0.6}
    """
    known, codes, chosen = reference_of(reference_scores, reference_labels, classes)
    calibrators = [fit(*of_class(known, codes, place)) for place in places(known)]
    return estimated(calibrators, score_array("scores", scores, len(chosen) if known.ndim == 2 else 1))


def estimated(calibrators: Sequence[Calibrator], scores: Floats) -> Figures:
    """The same with calibrators at hand: one, or one for each column of `scores`."""
    table = scores if scores.ndim == 2 else scores[:, None]
    table = table[~np.isnan(table).any(axis=1)]
    if not len(table):
        raise DataError("there is no row with a score; give at least one")
    found = _binary(calibrators[0], table[:, 0]) if len(calibrators) == 1 else _several(calibrators, table)
    return {name: found[name] for name in METRICS}


def _binary(calibrator: Calibrator, scores: Floats) -> Figures:
    chance = calibrator.probabilities(scores)
    says = scores >= THRESHOLD
    metrics = one_against_rest(chance, says, scores)
    right = np.where(says, 1.0, -1.0) / len(scores)
    metrics["accuracy"] = float(np.where(says, chance, 1 - chance).mean()), right
    bins = [calibrator.bins(scores)]
    return {
        name: _figure(value, slope[:, None], chance[:, None], [calibrator], bins)
        for name, (value, slope) in metrics.items()
    }


def _several(calibrators: Sequence[Calibrator], table: Floats) -> Figures:
    chance = np.stack([one.probabilities(table[:, k]) for k, one in enumerate(calibrators)], axis=1)
    total = chance.sum(axis=1, keepdims=True)
    chance = np.where(total > 0, chance / np.where(total > 0, total, 1.0), 1 / chance.shape[1])
    says = table.argmax(axis=1)
    bins = [one.bins(table[:, k]) for k, one in enumerate(calibrators)]
    by_class = [one_against_rest(chance[:, k], says == k, table[:, k]) for k in range(chance.shape[1])]
    found = {
        name: _macro(by_class, name, chance, calibrators, bins) for name in METRICS if name != "accuracy"
    }
    rows = np.arange(len(table))
    slope = np.zeros_like(chance)
    slope[rows, says] = 1 / len(table)
    return {**found, "accuracy": _figure(float(chance[rows, says].mean()), slope, chance, calibrators, bins)}


def _macro(
    by_class: list[dict[str, Gradient]],
    name: str,
    chance: Floats,
    calibrators: Sequence[Calibrator],
    bins: list[Codes],
) -> dict[str, float | None]:
    """The mean of one metric over the classes."""
    values = [found[name][0] for found in by_class]
    if name == "precision":
        values = [0.0 if value is None else value for value in values]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return figure(None)
    slope = np.stack([found[name][1] for found in by_class], axis=1) / len(values)
    return _figure(sum(known) / len(known), slope, chance, calibrators, bins)


def one_against_rest(chance: Floats, says: Any, scores: Floats) -> dict[str, Gradient]:
    """ROC AUC, F1, precision and recall of one class, with their derivatives by each row's probability.

    `chance` is the probability of the class, `says` whether it is predicted, `scores` what the AUC ranks by.

    >>> found = one_against_rest(np.array([0.9, 0.2]), np.array([True, False]), np.array([0.9, 0.2]))
    >>> round(found["precision"][0], 2), round(found["recall"][0], 2)
    (0.9, 0.82)
    """
    says = np.asarray(says, dtype=np.float64)
    hits, predicted, positive = float((chance * says).sum()), float(says.sum()), float(chance.sum())
    found: dict[str, Gradient] = {"roc_auc": _auc(chance, scores)}
    found["precision"] = _ratio(hits, predicted, says)
    found["recall"] = _ratio(hits, positive, says, 1.0)
    found["f1"] = _ratio(2 * hits, predicted + positive, 2 * says, 1.0)
    return found


def _ratio(above: float, below: float, slope: Floats, slope_below: float = 0.0) -> Gradient:
    """A ratio and its derivative, from the derivatives of what is above and below the line."""
    if below <= 0:
        return None, np.zeros_like(slope)
    return above / below, (slope - above / below * slope_below) / below


def _auc(chance: Floats, scores: Floats) -> Gradient:
    """The expected area under the ROC curve, of pairs of different rows; equal scores count half."""
    rest = 1 - chance
    _, group = np.unique(scores, return_inverse=True)
    here, there = np.bincount(group, weights=chance), np.bincount(group, weights=rest)
    below = (np.cumsum(there) - there / 2)[group] - rest / 2  # negatives below, without the row itself
    above = (here.sum() - np.cumsum(here) + here / 2)[group] - chance / 2
    positive, negative = float(chance.sum()), float(rest.sum())
    pairs = positive * negative - float((chance * rest).sum())
    if pairs <= 1e-9 * len(scores):
        return None, np.zeros_like(chance)
    value = float((chance * below).sum()) / pairs
    by_pairs = (negative - rest) - (positive - chance)
    return min(max(value, 0.0), 1.0), (below - above - value * by_pairs) / pairs


def _figure(
    value: float | None,
    slope: Floats,
    chance: Floats,
    calibrators: Sequence[Calibrator],
    bins: Sequence[Codes],
) -> dict[str, float | None]:
    """A metric with its sampling error; `slope` and `chance` are (rows, classes)."""
    by_labels = (chance * slope**2).sum(axis=1) - (chance * slope).sum(axis=1) ** 2
    variance = max(float(by_labels.sum()), 0.0)
    for place, calibrator in enumerate(calibrators):
        weight = np.bincount(bins[place], weights=slope[:, place], minlength=len(calibrator.variance))
        variance += float((weight**2 * np.array(calibrator.variance)).sum())
    return figure(value, math.sqrt(variance))
