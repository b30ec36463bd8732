"""What a reference of errors holds so that performance can be estimated where no label comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.performance import cbpe, dle
from edge_mlops_monitor.performance.calibrating import LEAST_ROWS, Calibrator, fit
from edge_mlops_monitor.performance.pairing import CLASSES, NUMBERS, Target
from edge_mlops_monitor.performance.samples import Figures, Floats

CBPE, DLE = "cbpe", "dle"
MOST_FEATURES = 50  # that the size of errors is learned from
Columns = Mapping[str, Any]


class Estimator(msgspec.Struct, frozen=True, kw_only=True):
    """CBPE from the scores in `columns`, or DLE from the features in `columns`."""

    method: str
    columns: list[str]
    calibrators: list[Calibrator] = []
    model: dle.ErrorModel | None = None

    def rows(self, columns: Columns, count: int) -> Floats:
        """What is kept of each row of a stream: its scores, or the errors that the models expect."""
        table = np.stack([numeric(columns.get(name), count) for name in self.columns], axis=1)
        if self.model is not None:
            return np.asarray(self.model.of_rows(table).reshape(-1, count).T)
        return table[~np.isnan(table).any(axis=1) & ((table >= 0) & (table <= 1)).all(axis=1)]

    def figures(self, kept: Floats) -> Figures:
        """The estimated performance on rows that were kept; empty where there are none."""
        if not len(kept):
            return {}
        if self.model is not None:
            return dle.estimated(kept.T.reshape(2, -1, len(kept)), self.model.spread)
        return cbpe.estimated(self.calibrators, kept[:, 0] if len(self.columns) == 1 else kept)


def made_from(target: Target, columns: Columns, labels: Sequence[Any], count: int) -> Estimator | None:
    """The estimator of one comparison from reference columns and labels; None where there is none to make.

    Scores are found for labels 0 and 1 in the output itself, for classes in the outputs whose names end
    in the names of the classes: `outputs.proba_ok`, `outputs.proba.ok`, `outputs.value[0]`.
    """
    try:
        if target.kind == NUMBERS:
            return _of_numbers(target, columns, labels, count)
        return _of_scores(target, columns, labels, count)
    except DataError:  # too few rows, one class only: errors are watched all the same
        return None


def _of_numbers(target: Target, columns: Columns, labels: Sequence[Any], count: int) -> Estimator | None:
    names = [name for name in (*columns, target.output) if _is_numeric(columns.get(name))]
    names = [*dict.fromkeys(names)][: MOST_FEATURES - 1]
    names = [*dict.fromkeys((*names, target.output))]
    table = np.stack([numeric(columns[name], count) for name in names], axis=1)
    truth = np.array([np.nan if label is None else label for label in labels], dtype=np.float64)
    model = dle.fit(table, numeric(columns[target.output], count) - truth)
    return Estimator(method=DLE, columns=names, model=model)


def _of_scores(target: Target, columns: Columns, labels: Sequence[Any], count: int) -> Estimator | None:
    classes: list[Any] = [0.0, 1.0]
    names = [target.output]
    if target.kind == CLASSES:
        classes = sorted({label for label in labels if label is not None}, key=str)
        names = [_score_of(label, columns, target.output) for label in classes]
        if len(classes) < 2 or "" in names:
            return None
    table = np.stack([numeric(columns[name], count) for name in names], axis=1)
    code = np.array([-1 if label is None else classes.index(label) for label in labels])
    known = (code >= 0) & ~np.isnan(table).any(axis=1) & ((table >= 0) & (table <= 1)).all(axis=1)
    table, code = table[known], code[known]
    if len(code) < LEAST_ROWS or len(np.unique(code)) < 2:
        return None
    places = [1] if len(names) == 1 else range(len(names))
    fitted = [fit(table[:, i], (code == place).astype(float)) for i, place in enumerate(places)]
    return Estimator(method=CBPE, columns=names, calibrators=fitted)


def _score_of(label: Any, columns: Columns, said: str) -> str:
    """The output whose name ends in the name of a class; empty where there is none."""
    text = label if isinstance(label, str) else f"{label:g}"
    for name in columns:
        ends = name.endswith((f".{text}", f"_{text}", f"[{text}]"))
        if name.startswith("outputs.") and name != said and ends and _is_numeric(columns[name]):
            return name
    return ""


def _is_numeric(column: Any) -> bool:
    if isinstance(column, np.ndarray):
        return column.dtype.kind in "fiub"
    return column is not None and not any(isinstance(value, str) for value in column)


def numeric(column: Any, count: int) -> Floats:
    """A column as floats, NaN for what is missing or no number."""
    if column is None:
        return np.full(count, np.nan)
    if isinstance(column, np.ndarray):
        return column.astype(np.float64)
    return np.array([np.nan if v is None or isinstance(v, str) else v for v in column], dtype=np.float64)
