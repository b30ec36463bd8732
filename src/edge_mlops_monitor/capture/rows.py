"""Many predictions at once, as rows: what `log_predictions` accepts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from math import prod
from typing import Any

from edge_mlops_monitor.features import MAX_ELEMENTS


def to_rows(table: Any) -> list[Any]:
    """The rows of a table whose axis 0 is the prediction.

    Takes a NumPy array (1-D: scalars, 2-D: lists), a pandas or polars frame, an Arrow table or record batch,
    a dict of columns, or any sequence. Raises ValueError for anything else, and where columns differ in
    length.

    >>> to_rows({"a": [1, 2], "b": ["x", "y"]})
    [{'a': 1, 'b': 'x'}, {'a': 2, 'b': 'y'}]
    """
    if table is None:
        return []
    if hasattr(table, "to_pylist"):  # Arrow
        return list(table.to_pylist())
    if hasattr(table, "to_dicts"):  # polars
        return list(table.to_dicts())
    if hasattr(table, "iterrows"):  # pandas
        return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    if isinstance(table, Mapping):
        return _from_columns(table)
    if hasattr(table, "tolist") and hasattr(table, "shape"):  # NumPy, pandas.Series; torch
        return list(table) if prod(table.shape[1:]) > MAX_ELEMENTS else _listed(table)
    if isinstance(table, (str, bytes, bytearray, memoryview)) or not hasattr(table, "__len__"):
        raise ValueError(f"{type(table).__name__} is no table")  # an iterator would be used up by reading it
    return list(islice(table, len(table)))


def spread(value: Any, total: int) -> list[Any]:
    """One value for each row: the values of a sequence, or the same scalar each time.

    >>> spread(0.5, 2), spread([1, 2], 2)
    ([0.5, 0.5], [1, 2])
    """
    if value is None or isinstance(value, (str, int, float)) or not hasattr(value, "__len__"):
        return [value] * total
    if getattr(getattr(value, "dtype", None), "kind", "") == "M":  # as numbers their unit would be lost
        return list(value)
    return to_rows(value)


def _listed(array: Any) -> list[Any]:
    values = array.tolist()
    return values if isinstance(values, list) else [values]


def _from_columns(table: Mapping[Any, Any]) -> list[dict[str, Any]]:
    names = [str(name) for name in table]
    columns = [to_rows(column) for column in table.values()]
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(f"{name}: {len(column)}" for name, column in zip(names, columns, strict=True))
        raise ValueError(f"columns differ in length ({lengths})")
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
