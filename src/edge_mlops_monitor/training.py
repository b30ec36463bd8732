"""References from recorded data, for each source apart."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, repeat
from typing import Any

import msgspec
import numpy as np

from edge_mlops_monitor.dataset import Dataset, Selection
from edge_mlops_monitor.drift import reference as references
from edge_mlops_monitor.drift.context import HOUR_OF_DAY, is_context
from edge_mlops_monitor.drift.reference import FeatureReference
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.labelled import Labelled, recorded
from edge_mlops_monitor.layout import Chunk, Column
from edge_mlops_monitor.performance.estimator import made_from
from edge_mlops_monitor.performance.pairing import SETTLED_BY, Target, settle

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
    Where `selection` names the actual, the model's errors are a reference too, with what estimates them.
    """
    dataset = Dataset(path, selection)
    parts: dict[str | None, dict[str, list[Column]]] = defaultdict(dict)
    lengths: dict[str | None, int] = defaultdict(int)
    times: dict[str | None, list[float]] = defaultdict(list)
    labels: dict[str | None, list[Any]] = defaultdict(list)
    for chunk in dataset:
        _check_context(dataset, chunk, context)
        for source, part, rows, ts in chunk.by_source():
            _append(parts[source], part, lengths[source], len(rows))
            if context == HOUR_OF_DAY:
                times[source].extend(ts)
            if chunk.actuals is not None:
                labels[source] += [chunk.actuals[row] for row in rows.tolist()]
            lengths[source] += len(rows)
        if progress is not None:
            progress(dataset.read_bytes / dataset.total_bytes)
        if chunk.first_row + chunk.rows >= MAX_REFERENCE_ROWS:
            break
    categorical = (selection or Selection()).categorical
    built: list[FeatureReference] = []
    for source, found in parts.items():
        columns = {name: _joined(pieces) for name, pieces in found.items()}
        built += references.build(
            columns,
            categorical=categorical,
            keep_values=keep_values,
            source=source,
            context=context,
            ts=times.get(source),
        )
        built += _errors(columns, labels[source], source) if labels else []
    return built


def _errors(columns: Mapping[str, Column], labels: list[Any], source: str | None) -> list[FeatureReference]:
    """References of a model's errors, each with what estimates them where that can be had."""
    first = islice(_rows(columns, labels), SETTLED_BY)
    built = []
    for target in settle([(one.outputs, one.actual) for one in first]):
        errors, truths = _judged(target, columns, labels)
        reference = references.build_feature(target.feature, errors, source=source)
        estimator = made_from(target, columns, truths, len(labels))
        kept = None if estimator is None else msgspec.to_builtins(estimator)
        built.append(msgspec.structs.replace(reference, estimator=kept))
    return built


def _rows(columns: Mapping[str, Column], labels: list[Any]) -> Iterator[Labelled]:
    return recorded(columns, labels, repeat(0.0, len(labels)), range(len(labels)))


def _judged(
    target: Target, columns: Mapping[str, Column], labels: list[Any]
) -> tuple[list[float], list[Any]]:
    """The errors of the labelled rows, and the truth of every row, None where it is not known."""
    errors: list[float] = []
    truths: list[Any] = [None] * len(labels)
    for one in _rows(columns, labels):
        pair = target.pair(one.outputs, one.actual)
        if pair is not None:
            errors.append(target.error(*pair))
            truths[int(one.id)] = pair[0]
    return errors, truths


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
