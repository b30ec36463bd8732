"""Scores, labels and numbers made ready for a calculation; what cannot be used is one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.features import is_missing

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

Z = 1.959963984540054  # standard normal quantile of a two-sided 95 % interval
MISSING = -1  # the code of a label that is not known
Figures = dict[str, dict[str, "float | None"]]


def number_array(what: str, values: Any, dimensions: int = 1) -> Floats:
    """The values as floats, NaN where one is missing (None, NaN, infinite).

    >>> number_array("errors", [1, None, float("inf")]).tolist()
    [1.0, nan, nan]
    """
    rows = values if hasattr(values, "__array__") else list(_sequence(what, values))
    try:
        if np.iscomplexobj(rows):
            raise TypeError
        with np.errstate(over="ignore"):  # of what is longer than a float
            found = np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise DataError(
            f"{what} must be numbers in rows of equal length; convert texts to numbers first"
        ) from None
    if found.ndim != dimensions:
        raise DataError(f"{what} have {found.ndim} dimensions where {dimensions} belong; reshape the array")
    return np.where(np.isfinite(found), found, np.nan)


def _sequence(what: str, values: Any) -> Any:
    if isinstance(values, (str, bytes, dict)) or not hasattr(values, "__iter__"):
        raise DataError(f"{what} must be a list or an array with one entry for each prediction")
    return values


def score_array(what: str, values: Any, classes: int | None = None) -> Floats:
    """Scores from 0 to 1: (rows,), or (rows, classes); the number of columns is checked where it is given."""
    several = is_nested(values)
    found = number_array(what, values, 2 if several else 1)
    if ((found < 0) | (found > 1)).any():
        raise DataError(f"{what} are probabilities from 0 to 1; give what predict_proba answers")
    columns = found.shape[1] if several else 1
    if several and columns < 2:
        raise DataError(f"{what} have {columns} column; give one for each class, or one dimension")
    if classes is not None and columns != classes:
        raise DataError(
            f"{what} have {columns} columns and the reference has {classes}; give the same classes"
        )
    return found


def is_nested(values: Any) -> bool:
    """Whether each row holds several values: a table, or a list of lists."""
    if hasattr(values, "ndim"):
        return bool(values.ndim == 2)
    first = values[0] if isinstance(values, Sequence) and values else None
    return isinstance(first, (list, tuple, np.ndarray))


def label_list(what: str, values: Any) -> list[Any]:
    """The labels as plain values, None where one is missing."""
    rows = list(_sequence(what, values.tolist() if hasattr(values, "tolist") else values))
    for value in rows:
        if isinstance(value, (list, tuple, dict, set)):
            raise DataError(f"{what} must be one label for each prediction, not {type(value).__name__}s")
    return [None if is_missing(value) else value for value in rows]


def coded(what: str, labels: Sequence[Any], classes: Sequence[Any]) -> Codes:
    """The place of each label among `classes`, MISSING where it is not known.

    >>> coded("labels", ["ok", None, "defect"], ["defect", "ok"]).tolist()
    [1, -1, 0]
    """
    places = {label: place for place, label in enumerate(classes)}
    strange = next((label for label in labels if label is not None and label not in places), None)
    if strange is not None:
        raise DataError(
            f"{what} hold {strange!r}, which is none of {list(classes)!r}; name all with classes="
        )
    return np.array([MISSING if label is None else places[label] for label in labels], dtype=np.int64)


def check_lengths(first: str, one: Any, second: str, other: Any) -> None:
    """Both hold as many rows."""
    if len(one) != len(other):
        raise DataError(f"there are {len(one)} {first} and {len(other)} {second}; give as many of both")


def figure(value: float | None, error: float | None = None) -> dict[str, float | None]:
    """A share with its sampling error and the interval of 95 %, within 0 and 1; None where there is no value.

    >>> figure(0.9, 0.1)["upper"]
    1.0
    """
    if value is None or error is None or not math.isfinite(value + error):
        return {"value": None, "sampling_error": None, "lower": None, "upper": None}
    lower, upper = max(0.0, value - Z * error), min(1.0, value + Z * error)
    return {"value": float(value), "sampling_error": float(error), "lower": lower, "upper": upper}
