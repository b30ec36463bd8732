"""References from recorded data, for each source apart."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np

from edge_mlops_monitor.dataset import Dataset, Selection
from edge_mlops_monitor.drift import reference as references
from edge_mlops_monitor.drift.context import HOUR_OF_DAY, is_context
from edge_mlops_monitor.drift.reference import FeatureReference
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.layout import Chunk, Column

MAX_REFERENCE_ROWS = 1_000_000  # more are not needed, and would not fit in a small device's memory


def build_reference(
    path: str | os.PathLike[str],
    selection: Selection | None = None,
    *,
    keep_values: bool = False,
    context: str = "",
    progress: Callable[[float], object] | None = None,
) -> list[FeatureReference]:
    """References from recorded data, for each source apart; at most the first million rows are used.

    `context` is what the features depend on: `hour_of_day`, which needs a column of times, or a column.
    Raises `DataError` where the data have no such column.
    """
    dataset = Dataset(path, selection)
    parts: dict[str | None, dict[str, list[Column]]] = defaultdict(dict)
    lengths: dict[str | None, int] = defaultdict(int)
    times: dict[str | None, list[float]] = defaultdict(list)
    for chunk in dataset:
        _check_context(dataset, chunk, context)
        for source, part, rows, ts in chunk.by_source():
            _append(parts[source], part, lengths[source], len(rows))
            if context == HOUR_OF_DAY:
                times[source].extend(ts)
            lengths[source] += len(rows)
        if progress is not None:
            progress(dataset.read_bytes / dataset.total_bytes)
        if chunk.first_row + chunk.rows >= MAX_REFERENCE_ROWS:
            break
    categorical = (selection or Selection()).categorical
    return [
        reference
        for source, found in parts.items()
        for reference in references.build(
            {name: _joined(columns) for name, columns in found.items()},
            categorical=categorical,
            keep_values=keep_values,
            source=source,
            context=context,
            ts=times.get(source),
        )
    ]


def _check_context(dataset: Dataset, chunk: Chunk, context: str) -> None:
    if context == HOUR_OF_DAY and chunk.ts is None:
        raise DataError(f"{dataset.path}: no column is named as the time, which hours need; give --timestamp")
    if context not in ("", HOUR_OF_DAY) and not any(is_context(context, name) for name in chunk.columns):
        raise DataError(
            f"{dataset.path}: has no column '{context}' to hold the others against; "
            "name one of its inputs, or hour_of_day"
        )


def _append(parts: dict[str, list[Column]], part: Mapping[str, Column], before: int, rows: int) -> None:
    for name, values in part.items():
        parts.setdefault(name, [np.full(before, np.nan)]).append(values)
    for name, columns in parts.items():
        if name not in part:
            columns.append(np.full(rows, np.nan))


def _joined(columns: list[Column]) -> Column:
    """One column of several parts; a list where one of them holds text."""
    arrays = [column for column in columns if isinstance(column, np.ndarray)]
    if len(arrays) == len(columns):
        return np.concatenate(arrays)
    return [
        value for column in columns for value in (column if isinstance(column, list) else column.tolist())
    ]
