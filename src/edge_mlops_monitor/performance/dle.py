"""Performance of a regression without labels: direct loss estimation (DLE)."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.performance.samples import Figures, Floats, Z, check_lengths, is_nested, number_array

ROUNDS = 60
RATE = 0.3
CUTS = 32  # places at which a feature may be parted
FOLDS = 4  # models, each fitted without one part of the reference
LEAST_ROWS = 100
MOST_ROWS = 20_000
LARGEST = 1e15  # error, whose square still fits into four bytes, as it is kept on a device


class Stumps(msgspec.Struct, frozen=True):
    """A sum of steps: each adds its `above` where its feature is above its cut, else its `below`.

    A missing value counts as below.
    """

    start: float
    features: list[int]
    cuts: list[float]
    below: list[float]
    above: list[float]

    def predict(self, table: Floats) -> Floats:
        """The sum for each row of a table (rows, features); never below 0."""
        if not self.features:
            return np.full(len(table), max(self.start, 0.0))
        high = table[:, self.features] > np.array(self.cuts)
        total = self.start + np.where(high, self.above, self.below).sum(axis=1)
        return np.asarray(np.maximum(total, 0.0))


class ErrorModel(msgspec.Struct, frozen=True):
    """What tells the absolute and the squared error of a row from its features.

    `spread` is the variance of squared errors over the mean of their squared estimates.
    """

    absolute: list[Stumps]
    squared: list[Stumps]
    spread: float
    rows: int

    def of_rows(self, table: Floats) -> Floats:
        """Estimated absolute and squared error of each row, by each model: (2, models, rows)."""
        return np.array([[one.predict(table) for one in models] for models in (self.absolute, self.squared)])


def estimate_error(reference_inputs: Any, reference_errors: Any, inputs: Any) -> Figures:
    """Estimate how large the errors of a regression are on rows that have no labels, from the features.

    `reference_inputs` (rows, features) are labelled data that the model was not fitted to (the prediction
    may be one of the features, and often helps), `reference_errors` (rows,) the model's errors there,
    `inputs` the rows in question, with the same columns. Returns `mae` and `rmse` in the unit of the
    errors, each a dict of `value`, `sampling_error` (a standard error), `lower` and `upper` (95 %).

    Conventions: the model of the errors is a sum of 60 single steps (boosted stumps, rate 0.3, at 32
    quantiles of each feature) for the absolute, another for the squared error; four of each are fitted,
    each without a quarter of the reference, and their mean is the answer. The sampling error adds up what
    errors vary by around their estimate, and what the four models disagree by (delete-a-group jackknife).
    No step knows two features at once, and beyond the reference's range nothing is extrapolated; where
    data move to the edge of it the answer lags behind, towards what the reference was on average. A missing
    feature counts as small; rows without an error are left out.

    The estimate holds while the errors depend on the features as they did. It follows data that get
    harder, and is blind where the truth itself changes (concept drift).

    Source: the method's idea is NannyML's direct loss estimation; Friedman, Greedy function approximation,
    2001 (boosting). Raises `DataError` in one sentence for what cannot be used.

    >>> rng = np.random.default_rng(0)
    >>> known = rng.uniform(size=(4000, 2))
    >>> errors = rng.normal(size=4000) * (1 + 4 * (known[:, 0] > 0.5))
    >>> found = estimate_error(known, errors, rng.uniform(0.6, 1, size=(500, 2)))["mae"]
    >>> 3.5 < found["value"] < 4.5, found["sampling_error"] < 0.2  # 5 * sqrt(2 / pi) = 3.99
    (True, True)
    """
    table = _table("reference inputs", reference_inputs)
    errors = number_array("reference errors", reference_errors)
    check_lengths("reference inputs", table, "reference errors", errors)
    now = _table("inputs", inputs)
    if now.shape[1] != table.shape[1]:
        raise DataError(
            f"inputs have {now.shape[1]} features where the reference has {table.shape[1]}; give the same"
        )
    if not len(now):
        raise DataError("there is no row to estimate; give at least one")
    model = fit(table, errors)
    return estimated(model.of_rows(now), model.spread)


def _table(what: str, values: Any) -> Floats:
    several = is_nested(values)
    found = number_array(what, values, 2 if several else 1)
    return found if several else found[:, None]


def fit(table: Floats, errors: Floats) -> ErrorModel:
    """The models of the errors, from at least 100 rows that have one."""
    known = ~np.isnan(errors)
    table, size = table[known][-MOST_ROWS:], np.abs(errors[known][-MOST_ROWS:])
    if len(size) < LEAST_ROWS:
        raise DataError(
            f"the reference has {len(size)} rows with an error and {LEAST_ROWS} are needed; give more"
        )
    scale = float(size.max()) or 1.0
    if scale > LARGEST:
        raise DataError(f"errors beyond {LARGEST:g} cannot be told apart; give them in a larger unit")
    fold = np.arange(len(size)) * FOLDS // len(size)
    made = [
        [_boost(table[fold != one], target[fold != one]) for one in range(FOLDS)]
        for target in (size, size**2)
    ]
    apart = np.empty(len(size))  # estimates of the squared error by the model that has not seen the row
    for one in range(FOLDS):
        apart[fold == one] = made[1][one].predict(table[fold == one])
    middle = float((apart**2).mean())
    spread = float(((size**2 - apart) ** 2).mean()) / middle if middle > 0 else 0.0
    return ErrorModel(made[0], made[1], spread, len(size))


def estimated(errors: Floats, spread: float) -> Figures:
    """MAE and RMSE from the estimates of single rows (2, models, rows)."""
    absolute, squared = errors.mean(axis=1)
    models = errors.mean(axis=2)
    disagree = ((models - models.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) * (FOLDS - 1) / FOLDS
    rows = len(absolute)
    noise = float(np.maximum(squared - absolute**2, 0.0).sum()) / rows**2
    mean_square = float(squared.mean())
    rmse = math.sqrt(mean_square)
    noise_square = spread * float((squared**2).sum()) / rows**2
    slope = 1 / (2 * rmse) if rmse > 0 else 0.0
    return {
        "mae": _figure(float(absolute.mean()), math.sqrt(noise + float(disagree[0]))),
        "rmse": _figure(rmse, slope * math.sqrt(noise_square + float(disagree[1]))),
    }


def _figure(value: float, error: float) -> dict[str, float | None]:
    upper = value + Z * error
    return {"value": value, "sampling_error": error, "lower": max(0.0, value - Z * error), "upper": upper}


def _boost(table: Floats, target: Floats) -> Stumps:
    """Steps that lower the squared error, each fitted to what those before it leave over."""
    cuts = [_cuts(column) for column in table.T]
    codes = [np.searchsorted(cut, column, side="left") for cut, column in zip(cuts, table.T, strict=True)]
    for code, column in zip(codes, table.T, strict=True):
        code[np.isnan(column)] = 0
    counts = [np.cumsum(np.bincount(c, minlength=len(cut) + 1)) for c, cut in zip(codes, cuts, strict=True)]
    start = float(target.mean())
    left = target - start
    steps: list[tuple[int, float, float, float]] = []
    for _ in range(ROUNDS):
        best = _best_step(codes, counts, left)
        if best is None:
            break
        feature, cut, below, above = best
        left = left - np.where(codes[feature] > cut, above, below)
        steps.append((feature, float(cuts[feature][cut]), below, above))
    return Stumps(
        start=start,
        features=[step[0] for step in steps],
        cuts=[step[1] for step in steps],
        below=[step[2] for step in steps],
        above=[step[3] for step in steps],
    )


def _cuts(column: Floats) -> Floats:
    finite = column[~np.isnan(column)]
    if not len(finite):
        return np.zeros(0)
    found = np.unique(np.quantile(finite, np.arange(1, CUTS) / CUTS, method="nearest"))
    return np.asarray(found[found < finite.max()])


def _best_step(codes: list[Any], counts: list[Any], left: Floats) -> tuple[int, int, float, float] | None:
    """Feature, cut and the two values of the step that takes away most of what is left over."""
    best, found = 1e-12 * float((left**2).sum()), None
    total = float(left.sum())
    for feature, (code, below) in enumerate(zip(codes, counts, strict=True)):
        if len(below) < 2:
            continue
        sums = np.cumsum(np.bincount(code, weights=left, minlength=len(below)))[:-1]
        low, high = below[:-1], len(left) - below[:-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = np.where((low > 0) & (high > 0), sums**2 / low + (total - sums) ** 2 / high, 0.0)
        cut = int(gain.argmax())
        if gain[cut] > best:
            best = float(gain[cut])
            found = (
                feature,
                cut,
                RATE * float(sums[cut] / low[cut]),
                RATE * float((total - sums[cut]) / high[cut]),
            )
    return found
