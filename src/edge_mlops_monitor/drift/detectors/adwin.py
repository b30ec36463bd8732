"""ADWIN: a window that grows while the stream is stable and is cut where its mean has changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.streaming import FINE, FIRED, StreamDetector, check_above, check_share

Floats = NDArray[np.float64]

CHECKS_AT_ONCE = 64


class ADWIN(StreamDetector):
    """Adaptive windowing: fires when two parts of the window have different means.

    The window is kept as buckets of 1, 2, 4, ... values, at most `max_buckets` of a size. Every `clock`
    values, once there are more than `grace_period`, each boundary between buckets with at least
    `min_window_length` values on both sides is tested at confidence `delta`: the means must differ by more
    than `sqrt(2 v d / m) + 2 d / (3 m)`, with the window's variance v, `d = ln(2 ln(n) / delta)` and m the
    harmonic mean of both sides' lengths. The second term is that of values with a range of about 1: bring
    the stream to that scale. After it has fired it begins with an empty window. There is no warning level.
    Sees changes of the mean.

    Source: Bifet and Gavalda, Learning from time-changing data with adaptive windowing, 2007.

    >>> rng = np.random.default_rng(1)
    >>> stream = np.concatenate((rng.normal(size=1000), rng.normal(1, 1, size=1000)))
    >>> [1000 <= index < 1100 for index in ADWIN().update_many(stream)]
    [True]
    """

    name: ClassVar[str] = "adwin"

    def __init__(
        self,
        delta: float = 0.002,
        clock: int = 32,
        max_buckets: int = 5,
        min_window_length: int = 5,
        grace_period: int = 10,
    ) -> None:
        check_share(self.name, delta=delta)
        check_above(self.name, 0, clock=clock, min_window_length=min_window_length)
        check_above(self.name, 1, max_buckets=max_buckets)
        self.delta = delta
        self.clock = clock
        self.max_buckets = max_buckets
        self.min_window_length = min_window_length
        self.grace_period = grace_period
        self._reset()

    def _reset(self) -> None:
        self._level = FINE
        self._rows = 0  # of all values but the pending ones
        self._pending: list[float] = []  # since the last multiple of `clock`
        self._origin = 0.0  # what values are measured from, so that squares lose no digits
        self._start = 0  # how many values were cut off
        self._places = [0]  # of the boundaries between buckets, oldest first
        self._sums = [0.0]  # of all values before each boundary
        self._squares = [0.0]

    @property
    def width(self) -> int:
        """The number of values in the window."""
        return self._rows - self._start + len(self._pending)

    @property
    def total(self) -> float:
        """The sum of the window."""
        inside = self._sums[-1] - self._sums[0]
        return self._origin * (self._rows - self._start) + inside + math.fsum(self._pending)

    @property
    def estimation(self) -> float:
        """The mean of the window."""
        return self.total / self.width if self.width else 0.0

    def _scan(self, values: Sequence[float], start: int) -> int:
        if not self._rows and not self._pending:
            self._origin = values[start]
        waiting = len(self._pending)
        block = self.clock * CHECKS_AT_ONCE
        at = start
        while waiting + len(values) - at >= self.clock:
            whole = min(block, (waiting + len(values) - at) // self.clock * self.clock)
            fresh = [*self._pending, *values[at : at + whole - waiting]]
            self._pending = []
            taken = self._take(np.array(fresh) - self._origin)
            at += taken - waiting
            waiting = 0
            if self._level == FIRED:
                return at - start
        self._pending += values[at:]
        return len(values) - start

    def _take(self, values: Floats) -> int:
        """Whole multiples of `clock`, up to the first that fires; how many values were taken."""
        known = np.array(self._places)
        sums = np.concatenate((self._sums[:-1], np.append(self._sums[-1], values).cumsum()))
        squares = np.concatenate((self._squares[:-1], np.append(self._squares[-1], values * values).cumsum()))
        ends = np.arange(self._rows + self.clock, self._rows + len(values) + 1, self.clock)
        places = boundaries(ends, self.max_buckets)
        index = np.where(
            places > self._rows, len(known) - 1 + places - self._rows, known.searchsorted(places)
        )
        spread = squares[len(known) - 1 + ends - self._rows], sums[len(known) - 1 + ends - self._rows]
        cut = self._falls_apart(places, sums[index], ends, *spread) & (ends > self.grace_period)
        last = int(cut.argmax()) if cut.any() else len(ends) - 1
        inside = places[last] >= 0
        taken = int(ends[last]) - self._rows
        self._rows += taken
        self._places = places[last][inside].tolist()
        self._sums, self._squares = sums[index[last][inside]].tolist(), squares[index[last][inside]].tolist()
        if cut.any():
            self._level = FIRED
            self._shrink()
        return taken

    def _falls_apart(
        self, places: NDArray[Any], sums: Floats, ends: NDArray[Any], squares: Floats, totals: Floats
    ) -> NDArray[Any]:
        """For each window, whether any boundary has different means on both sides.

        `places` and `sums` (windows, boundaries) count from the window's start; a place below 0 is none.
        """
        width = ends[:, None].astype(np.float64)
        depth = np.log(2 * np.log(np.maximum(width, 2)) / self.delta)
        spread = np.maximum(0.0, squares[:, None] - totals[:, None] ** 2 / width) / width
        least = self.min_window_length
        inside = (places >= least) & (width - places >= least)
        before = np.where(inside, places, least)
        after = np.where(inside, width - places, least)
        apart = np.abs(sums / before - (totals[:, None] - sums) / after)
        inverse = 1 / (before - least + 1) + 1 / (after - least + 1)
        limit = np.sqrt(2 * inverse * spread * depth) + 2 / 3 * depth * inverse
        return np.asarray((inside & (apart > limit)).any(axis=1))

    def _shrink(self) -> None:
        """Drop the oldest buckets until the window holds together."""
        places, sums, squares = np.array(self._places), np.array(self._sums), np.array(self._squares)
        first = 1
        while first < len(places) - 1 and self._falls_apart(
            (places[None, first:] - places[first]),
            sums[None, first:] - sums[first],
            np.array([self._rows - places[first]]),
            squares[-1:] - squares[first],
            sums[-1:] - sums[first],
        ):
            first += 1
        self._start = int(places[first])
        self._places, self._sums = self._places[first:], self._sums[first:]
        self._squares = self._squares[first:]


def boundaries(rows: NDArray[Any], most: int) -> NDArray[Any]:
    """Where the buckets begin and end after so many values, ascending; -1 fills up.

    Buckets of one size are merged in pairs, oldest first, whenever there are more than `most` of them.

    >>> boundaries(np.array([6, 3]), 5).tolist()[0][-6:]
    [-1, 2, 3, 4, 5, 6]
    """
    levels = np.arange(int(rows.max()).bit_length() + 1)
    sizes = 2**levels
    came = np.maximum(0, rows[:, None] - (most - 1) * (sizes - 1)) >> levels  # buckets, over all time
    held = came[:, :-1] - 2 * came[:, 1:]
    held = held[:, : int(held.any(axis=0).sum())]
    sizes = sizes[: held.shape[1]]
    newer = (held * sizes).cumsum(axis=1) - held * sizes
    number = np.arange(1, most + 1)
    back = newer[:, :, None] + number * sizes[:, None]  # how far behind the newest value
    found = np.where(number <= held[:, :, None], rows[:, None, None] - back, -1)
    flat = found.reshape(len(rows), -1)[:, ::-1]
    return np.concatenate((flat, rows[:, None]), axis=1)
