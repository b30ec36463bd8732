"""Fewer digits for the rows that a reference by the hour is learned from: about a byte a number.

The first numbers of a context become the ends of cells, each as a short number below the next; what comes
later is rounded up to the end of its cell. A bin that ends where a cell does holds the rows that it held
before, so that nothing is counted wrongly, but for a few of the least numbers where other rows took the
place of those below them. The last bits of a number tell it from those in its cell and block that were
different, or that it is the end itself: so are zero and what is often the same, such as a sensor at its rail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FIRST = 32  # numbers that cells are made of
OFTEN = 8  # of so many of them one that is the same, and 4 at least, keep all digits of a cell's end
MARKS = 31  # the last bits: up to 9 different others in a block, and which of two blocks in a row it is
ITSELF = 15  # of these bits: the number is the end


def ends_of(numbers: Floats, rails: Sequence[float] = ()) -> Floats:
    """The ends of cells, made of some of the numbers: the least, the largest, and even ranks between.

    `rails` (see below) keep all their digits.

    >>> ends_of(np.array([0.1, 0.3, 0.31, 2.0])).tolist()
    [0.15625, 0.3046875, 1.0, 2.0]
    """
    ranks = np.linspace(0, len(numbers) - 1, FIRST).round().astype(np.int64)
    ordered, most = np.sort(numbers), int(max(len(numbers) / OFTEN, 4))
    often = ordered[most - 1 :][ordered[most - 1 :] == ordered[: len(ordered) - most + 1]]
    stay = [*_fewer_digits(often).tolist(), *rails, 0.0]
    chosen = np.append(ordered[ranks], ordered[_among(ordered, stay)])
    return _short(np.unique(chosen), stay)


def rails_of(numbers: Floats) -> list[float]:
    """The least and the largest number, those of them that come more than once.

    >>> rails_of(np.array([0.0, 0.0, 1.0]))
    [0.0]
    """
    numbers = np.sort(_fewer_digits(numbers))
    return [float(ends[0]) for ends in (numbers[:2], numbers[:-3:-1]) if len(ends) > 1 and ends[0] == ends[1]]


def rounded(values: Floats, blocks: NDArray[np.int64], ends: Floats, rails: Sequence[float] = ()) -> Floats:
    """Finite numbers rounded up to these ends, or new ones beyond; `blocks` says which block each is of.

    >>> found = rounded(np.array([0.2, 0.22, 0.2, 0.8]), np.zeros(4, dtype=int), np.array([0.125, 0.25]))
    >>> clean(found).tolist(), bool(found[0] == found[2]), bool(found[0] == found[1])
    ([0.25, 0.25, 0.25, 0.8125], True, False)
    """
    least, largest = ends[0] - 2 * _last_digit(float(ends[0])), ends[-1]
    if len(below := values[values <= least]):
        ends = np.append(_short(np.unique(np.append(below, least)), rails)[:-1], ends)
    if len(above := values[values > largest]):
        ends = np.append(ends, _short(np.unique(np.append(above, largest)), rails)[1:])
    found = ends[np.searchsorted(ends, values)]
    places = np.where(_fewer_digits(values) == found, ITSELF, _places(values, found, blocks))
    return (found.view(np.int64) | places).view(np.float64)


def _short(low: Floats, stay: Sequence[float]) -> Floats:
    """For each of different numbers in order a short one below the next; zero and some others stay.

    The first is odd in its last digit and less than two of these above its number: what is further below is
    known to be of another cell.
    """
    high = np.append(low[1:], low[-1] + (low[-1] - low[-2:][0]) / 8)
    with np.errstate(all="ignore"):
        step = np.exp2(np.floor(np.log2(high - low)))
        short, shorter = (np.ceil(low / width) * width for width in (step, 2 * step))
        odd = (np.ceil(low[0] * 4 / step[0]) // 2 * 2 + 1) * step[0] / 4
    found = np.where(shorter < high, shorter, np.where((low <= short) & (short < high), short, low))
    found[0] = odd if low[0] <= odd < high[0] else low[0]
    return _fewer_digits(np.where((low == 0) | _among(low, stay), low, found))


def _among(numbers: Floats, some: Sequence[float]) -> NDArray[np.bool_]:
    """Which numbers are some that are given without the last bits."""
    if not some:
        return np.zeros(len(numbers), dtype=bool)
    return np.asarray((_fewer_digits(numbers)[:, None] == np.array(some)).any(axis=1))


def _fewer_digits(numbers: Floats) -> Floats:
    """Numbers without the last bits, rounded up where there are that many digits."""
    words = numbers.view(np.int64) + np.where(numbers > 0, MARKS, 0)
    return (words & ~MARKS).view(np.float64) + 0.0  # no -0.0


def _last_digit(value: float) -> float:
    """What the last binary digit of a number stands for that is not 0.

    >>> _last_digit(6.0), _last_digit(-0.375)
    (2.0, 0.125)
    """
    digits = int(abs(value) / math.ulp(value))
    return (digits & -digits) * math.ulp(value)


def clean(values: Floats) -> Floats:
    """The ends alone, without what tells numbers of a cell apart."""
    return (values.view(np.int64) & ~MARKS).view(np.float64)


def is_itself(values: Floats) -> NDArray[np.bool_]:
    """Which of rounded numbers are the end of their cell."""
    return np.asarray(values.view(np.int64) & MARKS == ITSELF)


def nearest(values: Floats, contexts: NDArray[np.int64], block: int) -> Floats:
    """Numbers that follow each other in blocks of so many rows, in the middle of their cells.

    What was equal in a block is equal, and what was not is not.
    """
    found = clean(values)
    for context in np.unique(contexts):
        rows = np.flatnonzero((contexts == context) & np.isfinite(values))
        ends, at = np.unique(found[rows], return_inverse=True)
        found[rows] = (np.append(ends[:1], ends[:-1]) / 2 + ends / 2)[at]
    odd = np.arange(len(values)) // block % 2 * (MARKS // 2 + 1)
    places = values.view(np.int64) & MARKS
    marks = np.where(clean(values) == 0, 0, odd) | places
    about = (clean(found).view(np.int64) | marks).view(np.float64)
    return np.where(is_itself(values), clean(values), about)


def _places(values: Floats, ends: Floats, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers the different values in each cell of each block, the largest with 0."""
    order = np.lexsort((-values, ends, blocks))
    values, ends, blocks = values[order], ends[order], blocks[order]
    begins = np.ones(len(values), dtype=bool)
    begins[1:] = (ends[1:] != ends[:-1]) | (blocks[1:] != blocks[:-1])
    number = np.cumsum(begins | np.append(True, values[1:] != values[:-1]))
    found = np.empty(len(values), dtype=np.int64)
    found[order] = number - np.maximum.accumulate(np.where(begins, number, 0))
    return found
