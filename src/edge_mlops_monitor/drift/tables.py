"""Two samples of rows made ready for a comparison of several features together.

Conventions, as NannyML has them: a column that holds text, or is named in `categorical`, is coded by the
relative frequencies of its labels in the reference (a label that is not there counts 0); a missing
number counts as the reference's mean, a missing label as its most frequent one; columns are then
standardised by the reference's mean and population standard deviation, 1 where that is 0. Rows without
any value are left out. None, NaN and infinities are missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import label, numbers
from edge_mlops_monitor.drift.comparison import Measure, empty, result_of
from edge_mlops_monitor.drift.samples import LARGEST
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.records import DriftResult

Floats: TypeAlias = NDArray[np.float64]
Columns = list[list[Any] | NDArray[Any]]

LEAST_ROWS = 20  # of a sample, below which nothing is said about its features together
FARTHEST = 1e6  # standard deviations; values beyond count as this
CONSTANT = 1e-12  # of the largest value: a standard deviation below is rounding


class TableComparison:
    """A comparison of two samples of rows; a method gives its name and `measure`."""

    name: ClassVar[str]
    least_rows: ClassVar[int] = LEAST_ROWS  # of the current sample

    def __init__(self, categorical: Sequence[int] = ()) -> None:
        if isinstance(categorical, (str, int)) or not all(isinstance(one, int) for one in categorical):
            raise DataError(f"{self.name} needs categorical as numbers of columns, for example [2, 3]")
        self.categorical = categorical

    def compare(self, reference: Any, current: Any, threshold: float | None = None) -> DriftResult:
        """Statistic, p-value and decision about two 2-D samples (rows, features).

        Where there is no answer, statistic and `is_drift` are None and `data["lacks"]` says why.
        """
        before, after = columns_of(self.name, reference), columns_of(self.name, current)
        if before and after and len(before) != len(after):
            raise DataError(
                f"{self.name}: the reference has {len(before)} features and the current sample {len(after)}; "
                "give the same columns in the same order"
            )
        coded = self._coded(before, after)
        rows = tuple(len(table) for table in coded)
        lacks = self._lacks(*coded)
        measure = lacks or self.measure(*standardised(*coded))
        return result_of(self.name, measure, threshold, rows[1])

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The method itself, on standardised rows without gaps."""
        raise NotImplementedError

    def _coded(self, before: Columns, after: Columns) -> tuple[Floats, Floats]:
        """Both samples as numbers, NaN for what is missing, without the rows that have no value."""
        wrong = [one for one in self.categorical if before and not 0 <= one < len(before)]
        if wrong:
            raise DataError(f"{self.name}: there is no column {wrong[0]}; the first of {len(before)} is 0")
        pairs = [
            coded(before[i] if before else [], after[i] if after else [], i in self.categorical)
            for i in range(max(len(before), len(after)))
        ]
        tables = [np.array([pair[side] for pair in pairs]).T for side in (0, 1)]
        if not pairs:
            tables = [np.empty((0, 0))] * 2
        first, second = (table[~np.isnan(table).all(axis=1)] for table in tables)
        return first, second

    def _lacks(self, before: Floats, after: Floats) -> Measure | None:
        """What keeps the samples from being compared."""
        if not len(before) or not len(after):
            return empty("current sample" if len(before) else "reference")
        for what, rows, least in (
            ("reference", len(before), LEAST_ROWS),
            ("current sample", len(after), self.least_rows),
        ):
            if rows < least:
                return Measure(
                    None, data={"lacks": f"the {what} has {rows} rows and at least {least} are needed"}
                )
        without = np.flatnonzero(np.isnan(before).all(axis=0)).tolist()
        if without:
            return Measure(None, data={"lacks": f"column {without[0]} has no value in the reference"})
        return None


def columns_of(method: str, table: Any) -> Columns:
    """The columns of a 2-D array, a data frame, or a list of equally long rows.

    >>> columns_of("mmd", [[1, "a"], [2, "b"]])
    [[1, 2], ['a', 'b']]
    """
    if hasattr(table, "to_numpy"):
        table = table.to_numpy()
    if isinstance(table, np.ndarray):
        if table.ndim != 2 and table.size:
            raise DataError(f"{method} compares rows of features; give a 2-D array (rows, features)")
        numeric = table.dtype.kind in "fiub"
        return [column if numeric else column.tolist() for column in table.T] if table.size else []
    if isinstance(table, (str, bytes)) or not hasattr(table, "__iter__"):
        raise DataError(f"{method} compares rows of features; give two 2-D arrays (rows, features)")
    rows = [row.tolist() if isinstance(row, np.ndarray) else row for row in table]
    wrong = [
        i for i, row in enumerate(rows) if not isinstance(row, (list, tuple)) or len(row) != len(rows[0])
    ]
    if wrong:
        raise DataError(f"{method} compares rows of features; row {wrong[0]} is not a row like the first")
    return [list(column) for column in zip(*rows, strict=True)]


def coded(
    before: list[Any] | NDArray[Any], after: list[Any] | NDArray[Any], categorical: bool
) -> tuple[Floats, Floats]:
    """One column of both samples as numbers; labels by their relative frequency in the reference.

    >>> coded(["a", "a", "b", "b", "a"], ["a", "c", None], False)[1].tolist()
    [0.6, 0.0, 0.6]
    """
    text = any(isinstance(value, str) for side in (before, after) if isinstance(side, list) for value in side)
    if not categorical and not text:
        return numbers(before), numbers(after)
    old, new = ([label(value) for value in side] for side in (before, after))
    counts = Counter(one for one in old if one is not None)
    if not counts:
        return np.full(len(old), np.nan), np.full(len(new), np.nan)
    most = max(sorted(counts), key=counts.__getitem__)
    first, second = (
        np.array([counts[most if one is None else one] / counts.total() for one in side], dtype=np.float64)
        for side in (old, new)
    )
    return first, second


def standardised(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """Gaps filled and columns standardised, by the reference.

    >>> standardised(np.array([[1.0], [3.0], [np.nan]]), np.array([[2.0]]))[1].tolist()
    [[0.0]]
    """
    scale = np.nanmax(np.abs(before), axis=0)
    scale = np.where(scale > LARGEST, scale, 1.0)
    with np.errstate(over="ignore", under="ignore"):
        before, after = before / scale, after / scale
        mean = np.nanmean(before, axis=0)
        before = np.where(np.isnan(before), mean, before)
        sd = before.std(axis=0)
        sd[sd <= CONSTANT * np.abs(before).max(axis=0)] = 1.0
        after = np.where(np.isnan(after), mean, after)
        first, second = ((table - mean) / sd for table in (before, after))
        return np.clip(first, -FARTHEST, FARTHEST), np.clip(second, -FARTHEST, FARTHEST)


def principal(rows: Floats, components: int | None, explained: float) -> tuple[Floats, Floats]:
    """The leading principal components (features, kept) of centred rows, and their variances.

    So many `components`, or as few as explain more than the share `explained` of the variance.
    """
    centred = rows - rows.mean(axis=0)
    variances, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
    variances, vectors = np.maximum(variances[::-1], 0.0), vectors[:, ::-1]
    if components is None:
        shares = np.cumsum(variances) / (variances.sum() or 1.0)
        components = int((shares <= explained).sum()) + 1
    varying = max(1, int((variances > CONSTANT * max(variances[0], 1.0)).sum()))
    kept = min(components, varying)
    return vectors[:, :kept], variances[:kept]
