"""Duplicated records: rows that equal one of the last few in everything.

All features of a row must agree with the same earlier row. The feature that healthy rows repeat least
is looked at first; how often it repeats bounds how often whole rows do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LAGS = 4  # rows back that are looked at
LEAST_FEATURES = 2  # inputs that vary; with one, a duplicate is a sensor that stands still
RARE = 0.02  # share of healthy rows that may echo, of the feature that is looked at first


def echoes(values: Floats) -> NDArray[np.bool_]:
    """Which rows of one feature equal one of the rows before (NaN equals nothing).

    >>> echoes(np.array([1.0, 2.0, 1.0, 3.0])).tolist()
    [False, False, True, False]
    """
    found = np.zeros(len(values), dtype=bool)
    for lag in range(1, min(LAGS, len(values) - 1) + 1):
        found[lag:] |= values[lag:] == values[:-lag]
    return found


class Duplicates:
    """Marks rows that are copies; `share` is how often healthy rows of each feature echo, NaN if unknown.

    `state` holds the last rows, as numbers and as cells. `screen` is the feature that is looked at first,
    -1 where there is no check.
    """

    def __init__(self, share: Floats, inputs: NDArray[np.bool_]) -> None:
        varying = np.flatnonzero((share < 0.5) & inputs)
        self._varying, self.screen = varying, -1
        if len(varying) >= LEAST_FEATURES and share[varying].min() < RARE:
            self.screen = int(varying[share[varying].argmin()])
        shape = (LAGS, len(share))
        self.state: dict[str, NDArray[Any]] = {
            "values": np.full(shape, np.nan),
            "codes": np.full(shape, -1, dtype=np.int64),
        }

    def look(self, values: Floats, codes: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Which rows are copies of one of the last few; None where none is, or there is no check."""
        if self.screen < 0:
            return None
        before, cells = self.state["values"], self.state["codes"]
        column = np.concatenate((before[:, self.screen], values[:, self.screen]))
        found = np.zeros(len(values), dtype=bool)
        for lag in range(1, LAGS + 1):
            found |= column[LAGS:] == column[LAGS - lag : -lag]
        if found.any():
            found = self._confirmed(
                np.flatnonzero(found), np.concatenate((before, values)), np.concatenate((cells, codes))
            )
        keep = slice(max(0, len(values) - LAGS), None)
        self.state["values"] = np.concatenate((before, values[keep]))[-LAGS:]
        self.state["codes"] = np.concatenate((cells, codes[keep]))[-LAGS:]
        return found if found.any() else None

    def _confirmed(
        self, rows: NDArray[np.int64], values: Floats, codes: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        found = np.zeros(len(values) - LAGS, dtype=bool)
        for row in rows.tolist():
            for lag in range(1, LAGS + 1):
                here, there = values[row + LAGS], values[row + LAGS - lag]
                same = (here == there) | (np.isnan(here) & np.isnan(there))
                alive = (here[self._varying] == there[self._varying]).sum() >= LEAST_FEATURES
                if alive and same.all() and (codes[row + LAGS] == codes[row + LAGS - lag]).all():
                    found[row] = True
                    break
        return found
