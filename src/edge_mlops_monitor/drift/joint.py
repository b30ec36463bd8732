"""How pairs of features go together: on which side of the middle each lies, and how often on the same.

A value is far out, high or low, beyond the reference's quantiles of 27 and 73 % (Mosteller, On some useful
"inefficient" statistics, 1946: of all such cuts the most informative about a correlation). Of the rows in
which both features of a pair are far out, the share in which they are on the same side tells their
correlation, whatever the distribution of each; it is 50 % where they have nothing to do with each
other. A row in which one is missing says nothing about its pairs, and everything about the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.autocorrelation import LEAST_EFFECTIVE_ROWS, autocorrelation_times
from edge_mlops_monitor.drift.binning import numbers

Floats = NDArray[np.float64]

JOINT = "joint"  # the feature under whose name what is found about pairs is reported
MOST_FEATURES = 32  # the first so many of a stream; 496 pairs
LOW, HIGH = 0.27, 0.73
LEAST_SHARE = 0.05  # of rows on the smaller side; what varies less is left out
LEAST_OUTER = 10  # rows in which both are far out, below which a pair is left out
MOST_ROWS = 16384  # that the autocorrelation is measured on
PIECE = 4096  # rows at a time


class Pairs(msgspec.Struct, frozen=True, kw_only=True):
    """The reference of pairs of features.

    Feature `names[i]` is low up to `low[i]` and high from `high[i]` on. The lists after it have an entry for
    each pair (0, 1), (0, 2), ... (1, 2), ...: rows in which both are far out on the `same` side, on
    `opposite` sides, and how many rows are worth one independent row (`tau`; 0 where the pair is left out).
    """

    names: list[str]
    low: list[float]
    high: list[float]
    same: list[float]
    opposite: list[float]
    tau: list[float]

    @property
    def sound(self) -> bool:
        """Whether the figures fit each other."""
        features, count = len(self.names), len(self.names) * (len(self.names) - 1) // 2
        sizes = [len(self.low), len(self.high), len(self.same), len(self.opposite), len(self.tau)]
        figures = [*self.low, *self.high, *self.same, *self.opposite, *self.tau]
        return (
            2 <= features <= MOST_FEATURES
            and len(set(self.names)) == features
            and sizes == [features] * 2 + [count] * 3
            and all(map(math.isfinite, figures))
            and min(*self.same, *self.opposite, *self.tau) >= 0
            and all(low < high for low, high in zip(self.low, self.high, strict=True))
            and all(tau == 0 or tau >= 1 for tau in self.tau)
        )


def sides(values: Floats, low: Floats, high: Floats) -> NDArray[np.int8]:
    """1 where a value is high, -1 where it is low, 0 between and where it is missing (NaN).

    >>> sides(np.array([[0.0, 5.0], [2.0, np.nan]]), np.array([0.5, 0.5]), np.array([1.5, 1.5])).tolist()
    [[-1, 1], [1, 0]]
    """
    return np.subtract(values >= high, values <= low, dtype=np.int8)


def agreement(side: NDArray[Any]) -> Floats:
    """Rows with both far out, on the same and on opposite sides, for each pair.

    From (..., rows, features) to (..., 2, pairs).

    >>> agreement(np.array([[1, 1], [-1, 1], [0, 1]])).tolist()
    [[1.0], [1.0]]
    """
    two = np.empty((2, *side.shape), dtype=np.float32)  # exact: counts of a few thousand rows at most
    two[1] = side
    np.abs(two[1], out=two[0])
    products = (np.swapaxes(two, -1, -2) @ two).reshape(*two.shape[:-2], -1)
    both, product = products.take(_places(side.shape[-1]), axis=-1)
    found = np.empty((*both.shape[:-1], 2, both.shape[-1]))
    np.add(both, product, out=found[..., 0, :])
    np.subtract(both, product, out=found[..., 1, :])
    found *= 0.5
    return found


@lru_cache(maxsize=4)
def _places(features: int) -> NDArray[np.intp]:
    """Where the pairs are in a square of so many features, written row by row."""
    return np.ravel_multi_index(np.triu_indices(features, 1), (features, features))


def pairs_of(
    columns: Mapping[str, Sequence[Any] | NDArray[Any]], segment: int = 0
) -> tuple[Pairs, int, float] | None:
    """The reference of pairs from time-ordered columns of numbers, its rows, how many of them independent.

    With `segment` the rows are stretches of so many rows with gaps between them. None where fewer than two
    columns vary.
    """
    cuts = {name: found for name in columns if (found := _cuts(numbers(columns[name]))) is not None}
    names = list(cuts)[:MOST_FEATURES]
    rows = len(columns[names[0]]) if names else 0
    if len(names) < 2 or any(len(columns[name]) != rows for name in names):
        return None
    low, high = (np.array([cuts[name][side] for name in names]) for side in (0, 1))
    side = np.stack([sides(numbers(columns[n]), low[i], high[i]) for i, n in enumerate(names)], axis=1)
    counted = [agreement(side[begin : begin + PIECE]) for begin in range(0, rows, PIECE)]
    same, opposite = np.sum(counted, axis=0)
    tau, worth = _times(side[:MOST_ROWS], segment)
    worth *= rows / min(rows, MOST_ROWS)
    left_out = (same + opposite < LEAST_OUTER) | (worth < LEAST_EFFECTIVE_ROWS)
    pairs = Pairs(
        names=names,
        low=low.tolist(),
        high=high.tolist(),
        same=same.tolist(),
        opposite=opposite.tolist(),
        tau=np.where(left_out, 0.0, tau).tolist(),
    )
    most = float(min(worth.max(), rows))
    return pairs, rows, most if any(pairs.tau) else min(most, LEAST_EFFECTIVE_ROWS - 1.0)


def _cuts(values: Floats) -> tuple[float, float] | None:
    """Up to where a feature is low, and from where on it is high; None where it hardly varies."""
    ordered = np.sort(values[~np.isnan(values)])
    if not len(ordered):
        return None
    low, high = (float(ordered[round(q * (len(ordered) - 1))]) for q in (LOW, HIGH))
    if low == high:  # one value has most of the rows: it is one side, what is beyond it the other
        below, above = ordered[ordered < low], ordered[ordered > low]
        if len(below) >= len(above):
            low = float(below[-1]) if len(below) else math.nan
        else:
            high = float(above[0])
    sizes = np.count_nonzero(ordered <= low), np.count_nonzero(ordered >= high)
    return (low, high) if min(sizes) >= LEAST_SHARE * len(ordered) else None


def _times(side: NDArray[np.int8], segment: int) -> tuple[Floats, Floats]:
    """Of each pair: rows worth one independent row, and independent rows that these are worth."""
    found = []
    for feature in range(side.shape[1] - 1):
        products = (side[:, feature, None] * side[:, feature + 1 :]).astype(np.float64)
        found.append(autocorrelation_times(products - products.mean(axis=0), segment))
    tau, worth = (np.concatenate([one[which] for one in found]) for which in (0, 1))
    return tau, worth
