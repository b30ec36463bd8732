"""Rows of one stream made ready for decisions: numbers, cells of the bins, time and budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import CategoryBins, numbers
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


def encode(
    columns: Mapping[str, Column], names: Sequence[str], references: Sequence[FeatureReference], rows: int
) -> tuple[Floats, NDArray[np.int64]]:
    """The numbers and the cells of each feature's column; a feature without a column is missing."""
    values = np.full((rows, len(names)), np.nan)
    codes = np.empty((rows, len(names)), dtype=np.int64)
    for place, (name, reference) in enumerate(zip(names, references, strict=True)):
        column = columns.get(name)
        bins = reference.bins
        if column is None:
            codes[:, place] = bins.size - 1
        elif isinstance(bins, CategoryBins):
            codes[:, place] = bins.codes(_plain(column))
        else:
            values[:, place] = found = numbers(column)
            codes[:, place] = bins.codes(found)
    return values, codes


def _plain(column: Column) -> Sequence[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else column
