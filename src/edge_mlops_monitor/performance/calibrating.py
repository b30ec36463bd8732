"""Whether scores are probabilities, and how to turn them into such: reliability, isotonic regression."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.performance.samples import (
    MISSING,
    Codes,
    Floats,
    check_lengths,
    coded,
    label_list,
    score_array,
)

BINS = 20
ROWS_A_BIN = 50  # at least, where there are enough rows
LEAST_ROWS = 20
MOST_KNOTS = 500
FOLDS = 2


class Calibrator(msgspec.Struct, frozen=True):
    """Turns the score of one class into a probability.

    `xs` and `ys` are the knots between which it is interpolated; without any the scores are probabilities
    already. `edges` part the scores into bins of the reference, `variance` is how unsure the share of the
    class is in each of them.
    """

    xs: list[float]
    ys: list[float]
    edges: list[float]
    variance: list[float]

    def probabilities(self, scores: Floats) -> Floats:
        """The probability that belongs to each score."""
        return np.interp(scores, self.xs, self.ys) if self.xs else scores

    def bins(self, scores: Floats) -> Codes:
        """The bin of the reference that each score falls into."""
        return np.searchsorted(np.array(self.edges), scores, side="right")


def fit(scores: Floats, truth: Floats) -> Calibrator:
    """The calibrator of one class; `truth` is 1 where the label is that class.

    Scores that agree with the labels in every bin as well as chance allows are left as they are: the
    statistic of Hosmer and Lemeshow (1980) on data that the model was not fitted to is about chi-square
    with as many degrees of freedom as bins, and the limit is its 95 % quantile. Others are calibrated by
    isotonic regression (Zadrozny and Elkan, 2002).

    >>> fit(np.array([0.5, 0.5] * 50), np.array([0.0, 1.0] * 50)).xs
    []
    """
    edges = _edges(scores)
    code = np.searchsorted(edges, scores, side="right")
    count = np.bincount(code, minlength=len(edges) + 1)
    positive = np.bincount(code, weights=truth, minlength=len(edges) + 1)
    share = (positive + 1) / (count + 2)
    statistic, limit = _reliability(scores, code, positive, len(edges) + 1)
    xs, ys = ([], []) if statistic <= limit else isotonic(scores, truth)
    variance = share * (1 - share) / np.maximum(count, 1)
    return Calibrator(xs, ys, edges.tolist(), variance.tolist())


def _edges(scores: Floats) -> Floats:
    bins = min(BINS, max(1, len(scores) // ROWS_A_BIN))
    return np.unique(np.quantile(scores, np.arange(1, bins) / bins))


def _reliability(scores: Floats, code: Codes, positive: Any, bins: int) -> tuple[float, float]:
    """The statistic of Hosmer and Lemeshow, and the 95 % quantile of chi-square (Wilson and Hilferty)."""
    expected = np.bincount(code, weights=scores, minlength=bins)
    variance = np.bincount(code, weights=scores * (1 - scores), minlength=bins)
    statistic = float(((positive - expected) ** 2 / (variance + 0.25)).sum())
    return statistic, bins * (1 - 2 / (9 * bins) + 1.6449 * math.sqrt(2 / (9 * bins))) ** 3


def isotonic(scores: Floats, truth: Floats) -> tuple[list[float], list[float]]:
    """Isotonic regression by pooling adjacent violators: mean score and mean label of each pool.

    >>> isotonic(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 1.0, 0.0, 1.0]))
    ([0.1, 0.25, 0.4], [0.0, 0.5, 1.0])
    """
    pools: list[tuple[float, float, float]] = []  # rows, sum of scores, sum of labels
    for rows, score, label in zip(*_grouped(scores, truth), strict=True):
        while pools and pools[-1][2] * rows >= label * pools[-1][0]:
            before = pools.pop()
            rows, score, label = rows + before[0], score + before[1], label + before[2]
        pools.append((rows, score, label))
    return [score / rows for rows, score, _ in pools], [label / rows for rows, _, label in pools]


def _grouped(scores: Floats, truth: Floats) -> tuple[list[float], list[float], list[float]]:
    """Rows, sum of scores and sum of labels of equal scores, or of equally many where these are too many."""
    distinct, group = np.unique(scores, return_inverse=True)
    if len(distinct) > MOST_KNOTS:
        inner = np.quantile(scores, np.arange(1, MOST_KNOTS) / MOST_KNOTS)
        group = np.unique(np.searchsorted(inner, scores, side="left"), return_inverse=True)[1]
    rows = np.bincount(group).astype(np.float64)
    return (
        rows.tolist(),
        np.bincount(group, weights=scores).tolist(),
        np.bincount(group, weights=truth).tolist(),
    )


def reference_of(scores: Any, labels: Any, classes: Sequence[Any] | None) -> tuple[Floats, Codes, list[Any]]:
    """Scores (rows, or rows and classes), coded labels and the classes, of rows where both are known."""
    found = score_array("reference scores", scores)
    names = label_list("reference labels", labels)
    check_lengths("reference scores", found, "reference labels", names)
    count = found.shape[1] if found.ndim == 2 else 2
    chosen = list(range(count)) if classes is None else list(classes)
    if len(chosen) != count:
        raise DataError(f"classes= names {len(chosen)} classes where the scores have {count}; name each")
    codes = coded("reference labels", names, chosen)
    lacks = np.isnan(found)
    whole = (codes != MISSING) & ~(lacks.any(axis=1) if found.ndim == 2 else lacks)
    found, codes = found[whole], codes[whole]
    if len(codes) < LEAST_ROWS:
        raise DataError(
            f"the reference has {len(codes)} rows with score and label and {LEAST_ROWS} are needed; give more"
        )
    if len(np.unique(codes)) < 2:
        raise DataError(
            f"every reference label is {chosen[codes[0]]!r}; give a reference that has the others"
        )
    return found, codes, chosen


def of_class(scores: Floats, codes: Codes, place: int) -> tuple[Floats, Floats]:
    """Score and truth of one class."""
    return (scores[:, place] if scores.ndim == 2 else scores), (codes == place).astype(np.float64)


def places(scores: Floats) -> list[int]:
    """The classes whose scores are calibrated: each, or of two the second."""
    return list(range(scores.shape[1])) if scores.ndim == 2 else [1]


def calibration(scores: Any, labels: Any, *, classes: Sequence[Any] | None = None) -> dict[str, Any]:
    """Measure how far scores are from probabilities, before and after calibration.

    Arguments as in `estimate`. Returns `error`, the expected calibration error: the mean over all rows of
    the distance between mean score and share of labels in up to 20 bins of equally many rows (Naeini,
    Cooper and Hauskrecht, 2015); `error_calibrated`, the same after calibration, each half of the rows
    calibrated by the other; `is_calibrated`, whether the scores can stay as they are; `rows`. Of several
    classes the errors are the means of one against the rest. Chance alone makes an error of about
    `0.4 / sqrt(rows in a bin)`, so small references look worse than they are.

    >>> rng = np.random.default_rng(1)
    >>> truth = rng.uniform(size=4000)
    >>> labels = rng.uniform(size=4000) < truth
    >>> calibration(truth, labels)["is_calibrated"]
    True
    >>> found = calibration(truth**2, labels)
    >>> found["is_calibrated"], found["error"] > 0.15, found["error_calibrated"] < 0.04
    (False, True, True)
    """
    found, codes, _ = reference_of(scores, labels, classes)
    pairs = [of_class(found, codes, place) for place in places(found)]
    return {
        "error": float(np.mean([expected_error(score, truth) for score, truth in pairs])),
        "error_calibrated": float(np.mean([_crossed_error(score, truth) for score, truth in pairs])),
        "is_calibrated": not any(fit(score, truth).xs for score, truth in pairs),
        "rows": len(codes),
    }


def expected_error(scores: Floats, truth: Floats) -> float:
    """The expected calibration error in bins of equally many rows.

    >>> expected_error(np.array([0.25] * 4), np.array([0.0, 0.0, 0.0, 1.0]))
    0.0
    """
    edges = _edges(scores)
    code = np.searchsorted(edges, scores, side="right")
    gaps = np.bincount(code, weights=scores - truth, minlength=len(edges) + 1)
    return float(np.abs(gaps).sum() / len(scores))


def _crossed_error(scores: Floats, truth: Floats) -> float:
    calibrated = np.empty_like(scores)
    fold = np.arange(len(scores)) % FOLDS
    for one in range(FOLDS):
        calibrator = fit(scores[fold != one], truth[fold != one])
        calibrated[fold == one] = calibrator.probabilities(scores[fold == one])
    return expected_error(calibrated, truth)
