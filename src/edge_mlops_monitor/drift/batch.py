"""Rows of one stream made ready for decisions: numbers, cells of the bins, time and budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import CategoryBins, NumericBins, matrix
from edge_mlops_monitor.drift.context import cells_between, labels_of
from edge_mlops_monitor.drift.reference import Column, FeatureReference

Floats = NDArray[np.float64]
WITHHELD = -1  # the cell of a row that is no evidence
TOGETHER = 64  # features that are put into cells at once; more would not fit in the processor's cache


class Batch:
    """Whole blocks of rows of one stream.

    `values` (rows, features) holds numbers, NaN for what is missing or a category; `codes` the cells;
    `shares` (blocks) what each block may spend of the whole budget; `contexts` (blocks) the context that
    its rows are held against, where features depend on one.
    """

    def __init__(
        self,
        values: Floats,
        codes: NDArray[np.int64],
        ts: Floats,
        first_row: int,
        shares: Floats,
        contexts: Sequence[str] | None = None,
    ) -> None:
        self.values, self.codes, self.ts = values, codes, ts
        self.first_row, self.shares, self.contexts = first_row, shares, contexts
        self.blocks = len(shares)
        self.rows = len(ts) // self.blocks  # of a block

    def part(self, begin: int, end: int) -> Batch:
        """Some of the blocks; what is changed there is changed here."""
        rows = slice(begin * self.rows, end * self.rows)
        return Batch(
            self.values[rows],
            self.codes[rows],
            self.ts[rows],
            self.first_row + rows.start,
            self.shares[begin:end],
            None if self.contexts is None else self.contexts[begin:end],
        )

    def last_row(self, block: int) -> int:
        """The number of the last row of a block."""
        return self.first_row + (block + 1) * self.rows - 1

    def last_ts(self, block: int) -> float:
        """The time of the last row of a block."""
        return float(self.ts[(block + 1) * self.rows - 1])


class Cells:
    """The cells of the numbers of many features at once.

    A number is compared with all ends of its feature's bins, which is faster than a search, since it does not
    branch: how many it does not exceed tells the cell. NaN is not even below an end that is infinite.
    """

    def __init__(self, bins: Sequence[NumericBins | CategoryBins]) -> None:
        edges = [one.edges if isinstance(one, NumericBins) else [] for one in bins]
        most = 1 + max(map(len, edges), default=0)
        self._edges = np.full((most, len(bins), 1), np.inf)
        self._cells = np.empty((len(bins), most + 1), dtype=np.int64)
        self._first = np.arange(0, self._cells.size, most + 1)[:, None]
        self._counted = np.uint8 if most < 256 else np.int64
        for place, one in enumerate(bins):
            self._cells[place] = one.size - 1  # missing
            if isinstance(one, NumericBins):
                self._edges[: len(one.edges), place, 0] = one.edges
                self._cells[place, most - len(one.edges) :] = one.cells[::-1]

    def of(self, values: Floats) -> NDArray[np.int64]:
        """The cells of finite numbers (features, rows); NaN, which a category has, is missing."""
        codes = np.empty(values.shape, dtype=np.int64)
        for begin in range(0, len(values), TOGETHER):
            part = slice(begin, begin + TOGETHER)
            within = values[part] <= self._edges[:, part]
            ends = np.add.reduce(within.view(np.uint8), axis=0, dtype=self._counted)
            codes[part] = self._cells.take(ends + self._first[part])
        return codes


class Encoder:
    """Turns columns into the numbers and the cells of each feature."""

    def __init__(self, names: Sequence[str], references: Sequence[FeatureReference]) -> None:
        self._names = list(names)
        self._bins = [reference.bins for reference in references]
        self._numeric = [isinstance(bins, NumericBins) for bins in self._bins]
        self._categories = [(i, bins) for i, bins in enumerate(self._bins) if isinstance(bins, CategoryBins)]
        self._missing = np.array([bins.size - 1 for bins in self._bins], dtype=np.int64)
        self._cells = Cells(self._bins)
        self._contexts = [reference.contexts for reference in references]
        self.context = next((reference.context for reference in references if reference.context), "")

    def encode(self, columns: Mapping[str, Column], rows: int) -> tuple[Floats, NDArray[np.int64]]:
        """Numbers (NaN: missing, or a category) and cells, both (rows, features).

        A feature without a column is missing.
        """
        found = [columns.get(name) for name in self._names]
        numbers = [one if numeric else None for one, numeric in zip(found, self._numeric, strict=True)]
        values = matrix(numbers, rows)
        codes = self._cells.of(values)
        for place, bins in self._categories:
            if (column := found[place]) is not None:
                codes[place] = bins.codes(_plain(column))
        return np.ascontiguousarray(values.T), np.ascontiguousarray(codes.T)

    def hold_to_contexts(
        self, columns: Mapping[str, Column], batch_ts: Floats, rows: int, values: Floats, codes: Any
    ) -> list[str] | None:
        """Put the cells of each row's own context in place, and say which context each block of rows is in.

        A block is in the context of its first row; rows in another, or in one that the reference does not
        know well, are withheld. None where no feature depends on a context.
        """
        if not self.context:
            return None
        labels = np.array(labels_of(self.context, columns, batch_ts))
        of_blocks = labels[::rows]
        held = np.repeat(of_blocks, rows)
        for feature, contexts in enumerate(self._contexts):
            if contexts:
                codes[labels != held, feature] = WITHHELD
                self._hold(feature, held, values[:, feature], codes[:, feature])
        return list(of_blocks.tolist())

    def _hold(self, feature: int, labels: NDArray[Any], values: Floats, codes: NDArray[np.int64]) -> None:
        for name in np.unique(labels).tolist():
            chosen = (labels == name) & (codes != WITHHELD)
            context = self._contexts[feature].get(name)
            if context is None:
                codes[chosen] = WITHHELD
            elif context.edges:
                missing = int(self._missing[feature])
                codes[chosen] = cells_between(np.array(context.edges), values[chosen], missing)


def _plain(column: Column) -> Sequence[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else column
