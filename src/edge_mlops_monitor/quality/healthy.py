"""What the checks of data quality must know of a healthy feature: how often each would mark its rows."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.quality.constants import Constants
from edge_mlops_monitor.quality.duplicates import echoes
from edge_mlops_monitor.quality.extremes import MARGIN, jumps, limit, limits
from edge_mlops_monitor.quality.rates import BURST_ROWS, worth_of

Floats = NDArray[np.float64]
Worth = Callable[[NDArray[np.int64]], float]

BLOCK_ROWS = 25
STEP_ROWS = 5  # rows that the device looks at together
RARE = 0.01  # share of marked rows up to which their bursts are counted, not measured
TAIL = 0.025  # of the rows at each end whose bursts stand for those of extremes
LARGE = 0.05  # share of the jumps whose bursts stand for those of spikes


class Healthy(msgspec.Struct, frozen=True, kw_only=True):
    """Of `rows` healthy rows: figures of the checks, each with how many rows are worth an independent one.

    `low` and `high` are the extremes, `least` and `most` the limits of what is in range, `jump` that of a
    jump out and back. `falls` counts falls to a constant, `echoes` rows equal to one of the last few, both
    as `Rates` counts them; `texts` likewise counts text among numbers, which is not among the `rows`.
    `text_only` says that every value was text.
    """

    rows: int
    low: float = 0.0
    high: float = 0.0
    least: float | None = None
    most: float | None = None
    extremes_burst: float = 1.0
    jump: float | None = None
    jumps_burst: float = 1.0
    falls: float = 0.0
    falls_burst: float = 1.0
    echoes: float = 0.0
    echoes_burst: float = 1.0
    text_only: bool = False
    texts: float = 0.0
    texts_burst: float = 1.0


def healthy(values: Floats, worth: Worth) -> Healthy:
    """The figures of a numeric feature from time-ordered values, NaN where missing.

    `worth` tells how many rows of a 0/1 series are worth an independent one.

    >>> found = healthy(np.array([1.0, 2.0, 9.0, 2.0, 3.0] * 50), lambda series: 1.0)
    >>> found.high, found.most > 12, found.falls > 0
    (9.0, True, True)
    """
    finite = values[~np.isnan(values)]
    if not len(finite):
        return Healthy(rows=len(values))
    low, high = float(finite.min()), float(finite.max())
    least, most = limits(finite)
    ends = np.quantile(finite, (TAIL, 1 - TAIL), method="nearest")
    sizes = jumps(values)
    large = np.quantile(sizes, 1 - LARGE, method="nearest") if len(sizes) else 0.0
    fell, again = _falls(values), echoes(values)
    return Healthy(
        rows=len(values),
        low=low,
        high=high,
        least=least if math.isfinite(least) else None,
        most=most if math.isfinite(most) else None,
        extremes_burst=burst((values < ends[0]) | (values > ends[1]), worth),
        jump=_jump(sizes, high - low),
        jumps_burst=burst(sizes > large, worth),
        falls=_counted(fell),
        falls_burst=burst(fell, worth),
        echoes=_counted(again),
        echoes_burst=burst(again, worth),
    )


def with_texts(known: Healthy | None, texts: NDArray[np.bool_], worth: Worth) -> Healthy | None:
    """The same, with the rows that held text."""
    if known is None:
        return None
    return msgspec.structs.replace(known, texts=_counted(texts), texts_burst=burst(texts, worth))


def _jump(sizes: Floats, span: float) -> float | None:
    found = max(limit(sizes), MARGIN * span)
    return found if 0 < found < math.inf else None


def _falls(values: Floats) -> NDArray[np.bool_]:
    rows = len(values) // STEP_ROWS * STEP_ROWS
    found = Constants(np.ones(1, dtype=bool)).look(values[:rows, None], 0, STEP_ROWS) if rows else None
    return np.zeros(rows, dtype=bool) if found is None else found[1][:, 0]


def _counted(marked: NDArray[np.bool_]) -> float:
    """Marked rows, as `Rates` counts them."""
    worth, began = 0.0, -BURST_ROWS
    for row in np.flatnonzero(marked).tolist():
        counted, began = worth_of(1, row, began)
        worth += counted
    return worth


def burst(marked: NDArray[np.bool_], worth: Worth) -> float:
    """How many marked rows are worth an independent one."""
    hits = int(marked.sum())
    if hits > RARE * len(marked):
        return worth(marked.astype(np.int64))
    return max(1.0, hits / max(1, len(np.unique(np.flatnonzero(marked) // BLOCK_ROWS))))
