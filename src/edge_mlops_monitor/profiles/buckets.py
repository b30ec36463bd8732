"""A quantile sketch: counts of numbers in buckets of one width, a power of two, on a grid through zero.

The width is the smallest at which at most `MOST` buckets hold anything; where there are more, neighbours are
joined two by two. It depends on the numbers alone, not on their order or on how they were split up, so
that merging is exactly associative and commutative. Empty buckets cost nothing, so an outlier takes one
bucket and leaves the others narrow. (Uniform collapse is from Epicoco and others, UDDSketch, 2020; there
the buckets are logarithmic, which suits times and sizes, but not a sensor that reads 1000 +- 0.1.)

What is promised: a quantile is within half a width of the value that has this rank. Where all but `m` of the
numbers lie in an interval of length L, the width is below `2 L / (MOST - 2 - m)`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

MOST = 192
FINEST = -1000  # numbers closer than 2 ** -1000, or than that share of the largest, are one


class Buckets:
    """Counts of numbers; bucket `i` holds those in `[indices[i], indices[i] + 1) * 2 ** exponent`.

    Indices are whole numbers kept as floats, since they may have 1000 bits; those are exact.

    >>> buckets = Buckets()
    >>> buckets.take(np.array([1.0, 1.0, 1.0, 3.0]))
    >>> buckets.quantile(0.5), buckets.count
    (1.0, 4)
    """

    def __init__(self, exponent: int = FINEST, indices: Any = (), counts: Any = ()) -> None:
        self.exponent = exponent
        self.indices: Floats = np.array(indices, dtype=np.float64)
        self.counts: Counts = np.array(counts, dtype=np.int64)

    @classmethod
    def read(cls, width: float | None, edges: list[float], counts: list[int]) -> Buckets:
        """From the width and the lower edges, as a profile holds them."""
        if width is None or not edges:
            return cls()
        exponent = math.frexp(width)[1] - 1
        return cls(exponent, grid(np.array(edges), exponent), counts)

    @property
    def width(self) -> float | None:
        """The width of a bucket; None where there is none."""
        return math.ldexp(1.0, self.exponent) if len(self.indices) else None

    @property
    def edges(self) -> Floats:
        """The lower edge of each bucket."""
        with np.errstate(over="ignore"):
            edges = np.ldexp(self.indices, self.exponent) + 0.0  # no negative zero
        return np.asarray(np.maximum(edges, -sys.float_info.max))

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return int(self.counts.sum())

    def take(self, ordered: Floats) -> None:
        """Take in ascending finite numbers."""
        fill([self], ordered[None, :], np.array([len(ordered)]))

    def add(self, other: Buckets) -> None:
        """Take in what another one holds."""
        if len(other.indices):
            self.widen(max(self.exponent, other.exponent))
            self.put(*_united(_halved(other.indices, self.exponent - other.exponent), other.counts))

    def put(self, indices: Floats, counts: Counts) -> None:
        """Take in counts at distinct ascending indices of this width; widens the buckets as far as needed."""
        places = self.indices.searchsorted(indices)
        if len(self.indices) and places[-1] < len(self.indices) and (self.indices[places] == indices).all():
            self.counts[places] += counts
            return
        self.indices, self.counts = _united(
            np.concatenate((self.indices, indices)), np.concatenate((self.counts, counts))
        )
        if len(self.indices) > MOST:
            self.widen(self.exponent + _halvings(self.indices))

    def widen(self, exponent: int) -> None:
        """Join neighbours until the width is `2 ** exponent`."""
        if exponent > self.exponent and len(self.indices):
            self.indices, self.counts = _united(_halved(self.indices, exponent - self.exponent), self.counts)
        self.exponent = exponent

    def quantile(self, share: float) -> float:
        """The middle of the bucket of the value with this rank: the smallest that `share` do not exceed."""
        rank = max(1, math.ceil(share * self.count))
        place = int(np.searchsorted(np.cumsum(self.counts), rank))
        return float(self.edges[place]) + math.ldexp(0.5, self.exponent)


def fill(sketches: Sequence[Buckets], ordered: Floats, numbers: Counts) -> None:
    """Take the first `numbers[i]` values of line i, finite and ascending, into the sketch i."""
    used = [i for i, number in enumerate(numbers.tolist()) if number]
    if len(used) < len(sketches):
        sketches, ordered, numbers = [sketches[i] for i in used], ordered[used], numbers[used]
    lines, length = ordered.shape
    if not lines:
        return
    ends = ordered[np.arange(lines), numbers - 1]
    for sketch, exponent in zip(sketches, _finest(ordered[:, 0], ends), strict=True):
        sketch.widen(max(sketch.exponent, exponent))
    indices = grid(ordered, np.array([sketch.exponent for sketch in sketches])[:, None])
    begins = np.ones(indices.shape, dtype=bool)
    np.not_equal(indices[:, 1:], indices[:, :-1], out=begins[:, 1:])
    if numbers.min() < length:
        begins &= np.arange(length) < numbers[:, None]
    starts = np.flatnonzero(begins)
    runs = np.cumsum(begins.sum(axis=1))
    counts = np.diff(starts, append=lines * length)
    counts[runs - 1] -= length - numbers
    found, begin = indices.ravel()[starts], 0
    for sketch, end in zip(sketches, runs.tolist(), strict=True):
        sketch.put(found[begin:end], counts[begin:end])
        begin = end


def _finest(least: Floats, most: Floats) -> list[int]:
    """The exponent of the narrowest buckets for numbers between these, line by line."""
    top = np.frexp(np.maximum(np.abs(least), np.abs(most)))[1]
    found: list[int] = np.maximum(top + FINEST, FINEST).tolist()
    return found


def grid(values: Floats, exponent: Any) -> Floats:
    """The index of the bucket of each number; `exponent` is one for all, or for each line."""
    with np.errstate(under="ignore"):
        indices = values * np.ldexp(1.0, -exponent)
    np.floor(indices, out=indices)
    if np.max(exponent) > 0:  # a number just below zero may have been rounded to it
        indices[(indices == 0) & (values < 0)] = -1.0
    return np.asarray(indices)


def _halved(indices: Floats, times: int) -> Floats:
    return np.floor(indices * math.ldexp(1.0, -times)) if times else indices


def _halvings(indices: Floats) -> int:
    """How often neighbours must be joined until at most `MOST` remain."""
    low, high = 0, 1
    while _distinct(_halved(indices, high)) > MOST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _distinct(_halved(indices, middle)) > MOST else (low, middle)
    return high


def _distinct(ordered: Floats) -> int:
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + 1


def _united(indices: Floats, counts: Counts) -> tuple[Floats, Counts]:
    """The distinct indices in order, each with the sum of its counts."""
    order = np.argsort(indices, kind="stable")
    indices, counts = indices[order], counts[order]
    starts = np.flatnonzero(np.concatenate(([True], indices[1:] != indices[:-1])))
    return indices[starts], np.add.reduceat(counts, starts)
