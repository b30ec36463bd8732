"""Realised performance: what labels say about predictions, with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.performance.cbpe import one_against_rest
from edge_mlops_monitor.performance.samples import (
    MISSING,
    Codes,
    Floats,
    Z,
    check_lengths,
    coded,
    label_list,
    number_array,
    score_array,
)

Interval = dict[str, "float | None"]
NOTHING: Interval = {"value": None, "lower": None, "upper": None}


def realised_classification(
    labels: Any, predictions: Any, scores: Any = None, *, classes: Sequence[Any] | None = None
) -> dict[str, Interval]:
    """How well a classifier did, where the labels are known.

    `labels` and `predictions` hold classes (rows,), `scores` are probabilities: (rows,) of the second of two
    classes, or (rows, classes). `classes` names the classes in order; without it they are those that occur,
    sorted. Rows with a missing label or prediction are left out. Returns `accuracy`, `precision`, `recall`,
    `f1` and, with scores, `roc_auc`, each a dict of `value`, `lower` and `upper` (95 %); None where it has no
    meaning, as the recall where no label is of the class.

    Conventions: of two classes precision, recall, F1 and AUC are those of the second; of more, the
    unweighted mean of one class against the rest, over the classes that occur in labels or predictions.
    Intervals: Wilson (1927) for accuracy, precision and recall; for F1 Wilson's for TP / (TP + FP + FN), of
    which F1 is a function; for the AUC that of Newcombe (2006, method 5), which solves the variance of
    Hanley and McNeil (1982); for means over more classes the normal interval with the variance of the rows'
    influence (for the AUC: DeLong, DeLong and Clarke-Pearson, 1988). They take the rows to be independent;
    rows that follow each other closely make them too narrow.

    >>> found = realised_classification(["ok"] * 90 + ["bad"] * 10, ["ok"] * 88 + ["bad"] * 12)
    >>> {name: round(number, 3) for name, number in found["accuracy"].items()}
    {'value': 0.98, 'lower': 0.93, 'upper': 0.994}
    """
    truth, says = label_list("labels", labels), label_list("predictions", predictions)
    check_lengths("labels", truth, "predictions", says)
    chosen = _classes(truth, says) if classes is None else list(classes)
    known, said = coded("labels", truth, chosen), coded("predictions", says, chosen)
    table = None if scores is None else _scores(scores, chosen)
    if table is not None:
        check_lengths("labels", truth, "scores", table)
    whole = (known != MISSING) & (said != MISSING)
    if table is not None:
        whole &= ~np.isnan(table).any(axis=1)
        table = table[whole]
    known, said = known[whole], said[whole]
    if not len(known):
        raise DataError("no row has both label and prediction; give at least one")
    found = {"accuracy": wilson(int((known == said).sum()), len(known))}
    if len(chosen) <= 2:
        return found | _binary(known == len(chosen) - 1, said == len(chosen) - 1, table)
    return found | _macro(known, said, table, len(chosen))


def _classes(truth: list[Any], says: list[Any]) -> list[Any]:
    found = {value for value in (*truth, *says) if value is not None}
    if found <= {0, 1}:
        return [0, 1]
    try:
        return sorted(found)
    except TypeError:
        raise DataError("labels and predictions are of different kinds; give both in the same form") from None


def _scores(scores: Any, classes: list[Any]) -> Floats:
    found = score_array("scores", scores)
    columns = found.shape[1] if found.ndim == 2 else 2
    if columns != len(classes):
        raise DataError(
            f"the scores are of {columns} classes and the labels of {len(classes)}; name all with classes="
        )
    return found if found.ndim == 2 else found[:, None]


def _binary(known: Any, said: Any, table: Floats | None) -> dict[str, Interval]:
    hits, positive, predicted = int((known & said).sum()), int(known.sum()), int(said.sum())
    jaccard = wilson(hits, positive + predicted - hits)
    found = {
        "precision": wilson(hits, predicted),
        "recall": wilson(hits, positive),
        "f1": {name: None if share is None else 2 * share / (1 + share) for name, share in jaccard.items()},
    }
    if table is not None:
        value = one_against_rest(known.astype(np.float64), said, table[:, -1])["roc_auc"][0]
        found["roc_auc"] = hanley_mcneil(value, positive, len(known) - positive)
    return found


def _macro(known: Codes, said: Codes, table: Floats | None, classes: int) -> dict[str, Interval]:
    names = ("precision", "recall", "f1", *(("roc_auc",) if table is not None else ()))
    values: dict[str, list[float | None]] = {name: [] for name in names}
    slopes = dict.fromkeys(names, np.zeros(len(known)))  # added up, since there may be thousands of classes
    for place in range(classes):
        truth, says = (known == place).astype(np.float64), (said == place).astype(np.float64)
        if not truth.any() and not says.any():
            continue
        hits = truth * says
        parts = [_share(hits, says), _share(hits, truth), _share(2 * hits, says + truth)]
        if table is not None:
            parts.append(_influence_of_auc(truth, says, table[:, place]))
        for name, (value, slope) in zip(names, parts, strict=True):
            values[name].append(value)
            slopes[name] = slopes[name] + slope
    return {name: _mean(values[name], slopes[name]) for name in names}


def _share(above: Floats, below: Floats) -> tuple[float | None, Floats]:
    """The ratio of two sums, 0 where the lower is 0, and each row's influence on it."""
    total = float(below.sum())
    value = float(above.sum()) / total if total else 0.0
    return value, (above - value * below) / max(total, 1.0)


def _influence_of_auc(truth: Floats, says: Floats, scores: Floats) -> tuple[float | None, Floats]:
    value = one_against_rest(truth, says, scores)["roc_auc"][0]
    if value is None:
        return None, np.zeros_like(truth)
    ordered = [np.sort(scores[truth == side]) for side in (0, 1)]
    place = [
        (np.searchsorted(one, scores, "left") + np.searchsorted(one, scores, "right")) / (2 * len(one))
        for one in ordered
    ]
    positive = float(truth.sum())
    return value, np.where(
        truth == 1, (place[0] - value) / positive, (1 - place[1] - value) / (len(truth) - positive)
    )


def _mean(found: list[float | None], slopes: Floats) -> Interval:
    """The mean over the classes, with the normal interval; `slopes` are the rows' influences, added up."""
    values, rows = [value for value in found if value is not None], len(slopes)
    if len(values) < len(found) or not values:
        return dict(NOTHING)
    influence = slopes / len(found)
    error = math.sqrt(float((influence**2).sum()) * rows / max(rows - 1, 1))
    value = sum(values) / len(values)
    return {"value": value, "lower": max(0.0, value - Z * error), "upper": min(1.0, value + Z * error)}


def wilson(hits: int, rows: int) -> Interval:
    """A share with Wilson's interval of 95 %.

    >>> {name: round(share, 4) for name, share in wilson(8, 10).items()}
    {'value': 0.8, 'lower': 0.4902, 'upper': 0.9433}
    """
    if rows <= 0:
        return dict(NOTHING)
    share = hits / rows
    middle = share + Z * Z / (2 * rows)
    half = Z * math.sqrt(share * (1 - share) / rows + Z * Z / (4 * rows * rows))
    whole = 1 + Z * Z / rows
    return {
        "value": share,
        "lower": 0.0 if hits == 0 else (middle - half) / whole,
        "upper": 1.0 if hits == rows else (middle + half) / whole,
    }


def hanley_mcneil(area: float | None, positive: int, negative: int) -> Interval:
    """An AUC with the interval of 95 % that solves the variance of Hanley and McNeil (Newcombe's method 5).

    >>> {name: round(share, 3) for name, share in hanley_mcneil(1.0, 10, 10).items()}
    {'value': 1.0, 'lower': 0.8, 'upper': 1.0}
    """
    if area is None or not positive or not negative:
        return dict(NOTHING)
    ends = [_solved(area, positive, negative, end) for end in (0.0, 1.0)]
    return {"value": area, "lower": ends[0], "upper": ends[1]}


def _solved(area: float, positive: int, negative: int, end: float) -> float:
    """The area farthest towards `end` that the observed one does not contradict, by bisection."""
    near, far = area, end
    for _ in range(60):
        middle = (near + far) / 2
        more = (positive + negative) / 2 - 1
        pairs = 1 + more * (1 - middle) / (2 - middle) + more * middle / (1 + middle)
        error = math.sqrt(middle * (1 - middle) * pairs / (positive * negative))
        near, far = (middle, far) if abs(middle - area) <= Z * error else (near, middle)
    return near


def realised_regression(labels: Any, predictions: Any) -> dict[str, Interval]:
    """How large the errors of a regression were, where the labels are known.

    Rows with a missing label or prediction are left out. Returns `mae`, `rmse` and `bias` (the mean of
    prediction less label), each a dict of `value`, `lower` and `upper` (95 %) in the unit of the labels;
    of one row there is no interval.

    Conventions: Student's t for the mean absolute error and the bias; for the RMSE the root of that for the
    mean squared error, of which a lower end below 0 is 0. Rows are taken to be independent.

    >>> found = realised_regression([1.0, 2.0, 3.0, 4.0], [1.5, 2.5, 2.5, 4.5])
    >>> found["mae"]["value"], found["bias"]["value"]
    (0.5, 0.25)
    """
    truth, says = number_array("labels", labels), number_array("predictions", predictions)
    check_lengths("labels", truth, "predictions", says)
    with np.errstate(over="ignore", invalid="ignore"):
        errors = says - truth
    errors = errors[np.isfinite(errors)]
    if not len(errors):
        raise DataError("no row has both label and prediction as numbers; give at least one")
    scale = float(np.abs(errors).max()) or 1.0
    with np.errstate(under="ignore"):
        errors = errors / scale
        squared = student(errors**2, least=0.0)
    return {
        "mae": _scaled(student(np.abs(errors), least=0.0), scale),
        "rmse": _scaled({name: None if x is None else math.sqrt(x) for name, x in squared.items()}, scale),
        "bias": _scaled(student(errors), scale),
    }


def _scaled(interval: Interval, scale: float) -> Interval:
    return {name: None if value is None else value * scale for name, value in interval.items()}


def student(values: Floats, least: float = -math.inf) -> Interval:
    """A mean with Student's interval of 95 %, cut at `least`.

    >>> {name: round(value, 3) for name, value in student(np.array([1.0, 2.0, 3.0])).items()}
    {'value': 2.0, 'lower': -0.484, 'upper': 4.484}
    """
    mean = float(values.mean())
    if len(values) < 2:
        return {"value": mean, "lower": None, "upper": None}
    half = t_quantile(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return {"value": mean, "lower": max(least, mean - half), "upper": mean + half}


SMALL_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


def t_quantile(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t, to four digits (Cornish and Fisher).

    >>> [round(t_quantile(freedom), 3) for freedom in (1, 5, 30)]
    [12.706, 2.571, 2.042]
    """
    if freedom <= len(SMALL_T):
        return SMALL_T[freedom - 1]
    first = (Z**3 + Z) / 4
    second = (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96
    third = (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384
    return Z + first / freedom + second / freedom**2 + third / freedom**3
