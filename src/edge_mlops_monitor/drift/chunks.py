"""Chunk by chunk against thresholds that the reference's own chunks set: NannyML's way, to compare with it.

There is no promise on false alarms in it: of healthy chunks that are as long as the reference's ten, 6.9 %
are beyond three standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from edge_mlops_monitor.drift.binning import label
from edge_mlops_monitor.errors import DataError

OFFSETS: dict[str, Callable[[Any], Any]] = {
    "mean": np.mean,
    "median": np.median,
    "min": np.min,
    "max": np.max,
}


def thresholds(
    values: Iterable[float], lower: float | None = 3.0, upper: float | None = 3.0, offset: str = "mean"
) -> tuple[float | None, float | None]:
    """The values' `offset` less `lower`, and plus `upper`, of their standard deviations (divisor N).

    `values` are a method's results on the reference's chunks; NaN is left out, and None for `lower` or
    `upper` means no threshold on that side. Raises `DataError` where no value is left.

    >>> thresholds([0.0, 2.0], upper=None)
    (-2.0, None)
    """
    if offset not in OFFSETS:
        raise DataError(f"thresholds know no offset={offset!r}; use one of {', '.join(OFFSETS)}")
    found = np.array([value for value in values if value == value], dtype=np.float64)
    if not len(found):
        raise DataError(
            "thresholds need the values of at least one chunk; compare the reference's chunks first"
        )
    middle, sd = float(OFFSETS[offset](found)), float(found.std())
    return (
        None if lower is None else middle - lower * sd,
        None if upper is None else middle + upper * sd,
    )


def missing_rate(values: Iterable[Any]) -> float:
    """The share of rows that are missing: None, NaN, and what is not finite; NaN without any row.

    >>> missing_rate(["a", None, 3.0, math.nan])
    0.5
    """
    found = [label(value) is None for value in values]
    return sum(found) / len(found) if found else math.nan


def unseen_rate(reference: Iterable[Any], values: Iterable[Any]) -> float:
    """The share of rows with a category that the reference does not have; a missing one is not unseen.

    >>> unseen_rate(["a", "b"], ["a", "c", None, "a"])
    0.25
    """
    known = {label(value) for value in reference} | {None}
    found = [label(value) not in known for value in values]
    return sum(found) / len(found) if found else math.nan


def sampling_error(share: float, rows: int) -> float:
    """The standard error of a share that is `share` in the reference, in a chunk of so many rows.

    >>> sampling_error(0.2, 100)
    0.04
    """
    return math.sqrt(share * (1 - share) / rows)
