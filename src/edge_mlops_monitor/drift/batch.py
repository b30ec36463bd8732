"""Rows of one stream made ready for decisions: numbers, cells of the bins, time and budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import CategoryBins, NumericBins, as_floats, only_finite
from edge_mlops_monitor.drift.reference import Column, FeatureReference

Floats = NDArray[np.float64]
WITHHELD = -1  # the cell of a row that is no evidence


class Batch:
    """Whole blocks of rows of one stream.

    `values` (rows, features) holds numbers, NaN for what is missing or a category; `codes` the cells;
    `shares` (blocks) what each block may spend of the whole budget.
    """

    def __init__(
        self, values: Floats, codes: NDArray[np.int64], ts: Floats, first_row: int, shares: Floats
    ) -> None:
        self.values, self.codes, self.ts = values, codes, ts
        self.first_row, self.shares = first_row, shares
        self.blocks = len(shares)
        self.rows = len(ts) // self.blocks  # of a block

    def last_row(self, block: int) -> int:
        """The number of the last row of a block."""
        return self.first_row + (block + 1) * self.rows - 1

    def last_ts(self, block: int) -> float:
        """The time of the last row of a block."""
        return float(self.ts[(block + 1) * self.rows - 1])


class Encoder:
    """Turns columns into the numbers and the cells of each feature."""

    def __init__(self, names: Sequence[str], references: Sequence[FeatureReference]) -> None:
        self._names = list(names)
        self._bins = [reference.bins for reference in references]
        self._tables = [
            (np.array(bins.edges), np.array(bins.cells, dtype=np.int64))
            if isinstance(bins, NumericBins)
            else None
            for bins in self._bins
        ]
        self._missing = np.array([bins.size - 1 for bins in self._bins], dtype=np.int64)

    def encode(self, columns: Mapping[str, Column], rows: int) -> tuple[Floats, NDArray[np.int64]]:
        """Numbers (NaN: missing, or a category) and cells, both (rows, features).

        A feature without a column is missing.
        """
        values = np.full((len(self._names), rows), np.nan)
        codes = np.empty((len(self._names), rows), dtype=np.int64)
        for place, (name, bins, table) in enumerate(zip(self._names, self._bins, self._tables, strict=True)):
            column = columns.get(name)
            if column is None:
                codes[place] = bins.size - 1
            elif isinstance(bins, CategoryBins):
                codes[place] = bins.codes(_plain(column))
            elif table is not None:
                values[place] = as_floats(column)
                codes[place] = table[1][table[0].searchsorted(values[place])]
        only_finite(values)
        numeric = np.array([table is not None for table in self._tables], dtype=bool)
        missing = np.isnan(values) & numeric[:, None]
        if missing.any():
            codes = np.where(missing, self._missing[:, None], codes)
        return np.ascontiguousarray(values.T), np.ascontiguousarray(codes.T)


def _plain(column: Column) -> Sequence[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else column
