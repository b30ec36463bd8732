"""Rows made ready for the evidence: which cell each is in, counted by steps of a few rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.history import STEP_ROWS

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

SEGMENT_ROWS = 100  # rows between two settings of the bets
AT_ONCE = 30_000  # cells of all steps


class Steps:
    """Equally long steps of consecutive rows.

    `codes` (steps, rows, features) holds the cell of each row among the `cells` of all features, their
    number where the row is withheld; `moments` (steps, 3, features) rows, sum and sum of squares of the
    standardised values; `shares` what a feature may spend in each step, `ts` the first timestamp
    of each, `first_row` the number of the first row, `contexts` the number of each step's context.
    """

    def __init__(
        self,
        codes: Codes,
        cells: int,
        moments: Floats,
        shares: Floats,
        ts: Floats,
        first_row: int,
        contexts: Codes,
    ) -> None:
        self.codes, self.cells, self.first_row = codes, cells, first_row
        self.moments, self.shares, self.ts, self.contexts = moments, shares, ts, contexts
        self.counts = self._count()
        self.same, self.before = _earlier(codes, cells)

    def _count(self) -> Floats:
        """Rows in each cell, by step."""
        steps = len(self.codes)
        flat = self.codes + (np.arange(steps) * (self.cells + 1))[:, None, None]
        counts = np.bincount(flat.ravel(), minlength=steps * (self.cells + 1)).reshape(steps, -1)
        return np.asarray(counts[:, :-1].astype(np.float64))

    def stretch(self, start: int) -> slice:
        """The steps from `start` on that are worked on at once: of one context, and not too many."""
        end = min(start + max(SEGMENT_ROWS // STEP_ROWS, AT_ONCE // max(self.cells, 1)), len(self.codes))
        others = self.contexts[start:end] != self.contexts[start]
        return slice(start, start + int(others.argmax()) if others.any() else end)

    def place(self, step: int) -> int:
        """The number of a step in its segment."""
        return (self.first_row // STEP_ROWS + step) % (SEGMENT_ROWS // STEP_ROWS)


def sum_second(values: Floats) -> Floats:
    """The sum over the second axis, as of the rows of each step; `sum` is slow where it is short."""
    return np.asarray(np.einsum("ij...->i...", values))


def _earlier(codes: Codes, cells: int) -> tuple[NDArray[np.uint8], Codes]:
    """For each row: how many rows before it in its step are in the same cell, and how many at all.

    The second once for all steps and features, where none of the rows is withheld.
    """
    same = np.zeros(codes.shape, dtype=np.uint8)
    for back in range(1, codes.shape[1]):
        same[:, back:] += (codes[:, back:] == codes[:, :-back]).view(np.uint8)
    if not codes.size or codes.max() < cells:
        return same, np.arange(codes.shape[1])[None, :, None]
    counted = (codes < cells).astype(np.int64)
    return same, np.add.accumulate(counted, axis=1) - counted
