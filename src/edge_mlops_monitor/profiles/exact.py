"""Sums of floats without any rounding, so that the order in which they are added does not matter.

A sum is an integer times a power of two. Rows are summed by limbs: each number is cut into integers of 21
bits on a common grid; products of two limbs, summed over 2048 rows, have at most 53 bits, so that NumPy
adds and multiplies them exactly (the idea of ReproBLAS: Ahrens, Demmel and Nguyen, Algorithms for
efficient reproducible floating point summation, 2020).
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LIMB = 21
MOST_ROWS = 2048  # of which the products of two limbs are summed exactly: 21 + 21 + 11 = 53 bits
MOST_LIMBS = 6  # columns whose numbers are further apart are summed one by one


class Exact(NamedTuple):
    """The number `mantissa * 2 ** exponent`; the mantissa is odd, or both are 0.

    >>> Exact.of(3, 0).plus(Exact.of(1, -1))
    Exact(mantissa=7, exponent=-1)
    """

    mantissa: int = 0
    exponent: int = 0

    @classmethod
    def of(cls, mantissa: int, exponent: int) -> Exact:
        """The number, in the one form that it has."""
        if not mantissa:
            return cls()
        zeros = (mantissa & -mantissa).bit_length() - 1
        return cls(mantissa >> zeros, exponent + zeros)

    @classmethod
    def read(cls, text: str) -> Exact:
        """What `str()` wrote: hexadecimal mantissa, `p`, decimal exponent.

        >>> Exact.read("-7p-1")
        Exact(mantissa=-7, exponent=-1)
        """
        mantissa, _, exponent = text.partition("p")
        return cls.of(int(mantissa, 16), int(exponent))

    def __str__(self) -> str:
        return f"{self.mantissa:x}p{self.exponent}"

    def plus(self, other: Exact) -> Exact:
        """The sum."""
        if not other.mantissa:
            return self
        if not self.mantissa:
            return other
        low = min(self.exponent, other.exponent)
        mantissa = (self.mantissa << self.exponent - low) + (other.mantissa << other.exponent - low)
        return Exact.of(mantissa, low)


def mean_of(total: Exact, count: int) -> float:
    """The mean of `count` numbers with this sum, correctly rounded.

    >>> mean_of(Exact.of(3, 0), 2)
    1.5
    """
    return _ratio(total.mantissa, count, total.exponent)


def sd_of(total: Exact, squares: Exact, count: int) -> float:
    """The standard deviation (divisor `count`) of numbers with this sum and sum of squares.

    >>> sd_of(Exact.of(1, 1), Exact.of(1, 2), 2)
    1.0
    """
    spread = Exact.of(squares.mantissa * count, squares.exponent).plus(
        Exact.of(-(total.mantissa**2), 2 * total.exponent)
    )
    mantissa, exponent = spread
    if exponent % 2:
        mantissa, exponent = mantissa * 2, exponent - 1
    digits = max(0, 128 - mantissa.bit_length()) // 2  # enough for the root of the integer to be exact
    return _ratio(math.isqrt(mantissa << 2 * digits), count, exponent // 2 - digits)


def _ratio(numerator: int, denominator: int, exponent: int) -> float:
    if exponent >= 0:
        return (numerator << exponent) / denominator
    return numerator / (denominator << -exponent)


def moments_of(values: Floats) -> list[tuple[Exact, Exact]]:
    """Sum and sum of squares of each row of `values` (features, at most 2048 finite numbers).

    >>> moments_of(np.array([[1.0, 2.0], [0.5, 0.0]]))[0]
    (Exact(mantissa=3, exponent=0), Exact(mantissa=5, exponent=0))
    """
    if not values.size:
        return [(Exact(), Exact())] * len(values)
    given, sizes = values, np.abs(values)
    largest = sizes.max(axis=1)
    smallest = sizes.min(axis=1)
    if not smallest.all():
        smallest = np.where(sizes == 0, largest[:, None], sizes).min(axis=1)
    top = np.frexp(largest)[1].astype(np.int64)
    limbs = -(-(top - np.frexp(smallest)[1] + 53) // LIMB)
    slow = (limbs > MOST_LIMBS) | (np.abs(top) > 900)
    if slow.any():
        values, top = np.where(slow[:, None], 0.0, values), np.where(slow, 0, top)
    found = _by_limbs(values, top, int(limbs[~slow].max(initial=1)))
    for feature in np.flatnonzero(slow).tolist():
        found[feature] = _one_by_one(given[feature].tolist())
    return found


def _by_limbs(values: Floats, top: NDArray[np.int64], count: int) -> list[tuple[Exact, Exact]]:
    rest = values * np.ldexp(1.0, -top)[:, None]
    limbs = np.empty((count, *values.shape))
    for limb in limbs:
        rest *= float(1 << LIMB)
        np.rint(rest, out=limb)
        rest -= limb
    sums = limbs.sum(axis=2).T.astype(np.int64).tolist()
    squares = np.zeros((2 * count - 1, len(values)), dtype=np.int64)
    for i, j in combinations_with_replacement(range(count), 2):
        products = np.matmul(limbs[i, :, None, :], limbs[j, :, :, None]).ravel().astype(np.int64)
        squares[i + j] += products if i == j else 2 * products
    return [
        (Exact.of(_joined(linear), e - LIMB * count), Exact.of(_joined(square), 2 * (e - LIMB * count)))
        for linear, square, e in zip(sums, squares.T.tolist(), top.tolist(), strict=True)
    ]


def _joined(limbs: list[int]) -> int:
    whole = 0
    for limb in limbs:
        whole = (whole << LIMB) + limb
    return whole


def _one_by_one(values: list[float]) -> tuple[Exact, Exact]:
    total = squares = Exact()
    for value in values:
        numerator, denominator = value.as_integer_ratio()
        exponent = 1 - denominator.bit_length()
        total = total.plus(Exact.of(numerator, exponent))
        squares = squares.plus(Exact.of(numerator * numerator, 2 * exponent))
    return total, squares
