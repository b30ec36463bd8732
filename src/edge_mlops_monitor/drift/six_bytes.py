"""Numbers in six bytes: exact where they are short, else rounded up after the tenth digit.

Short are what 36 binary digits hold, such as whole numbers below 6e10 and whatever was a 32-bit float, and
decimals of up to ten digits. What is rounded up stays on its side of an end of a bin, since the ends are set
at such values too, and a bin holds what is not above its end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]  # the first six bytes of a float; the last bit says that it is a decimal

WIDTH = 6
BELOW = np.uint64(0x1FFFF)  # what a word does not hold of a float, and the last bit
DROPPED = np.uint64(16)
ONE = np.uint64(1)
NOTHING = np.uint64(0x7FF8_0000_0000)  # a missing value; the words after it are marks
MOST_MARKS = 255


def words(numbers: Floats) -> tuple[Words, NDArray[np.bool_]]:
    """The word of each number, and whether the number was rounded.

    >>> found, rounded = words(np.array([0.5, 0.1, 1 / 3]))
    >>> rounded.tolist()
    [False, False, True]
    >>> floats(found).tolist()
    [0.5, 0.1, 0.33333333333575865]
    """
    bits = np.array(numbers, dtype=np.float64).view(np.uint64)
    rest = bits & BELOW
    long = np.flatnonzero(rest)
    decimal = np.zeros(len(bits), dtype=bool)
    decimal[long] = _as_decimals((bits - rest)[long].view(np.float64)) == numbers[long]
    rounded = (rest > 0) & ~decimal & ~np.isnan(numbers)
    up = bits - rest + np.where(rounded & (numbers > 0), BELOW + ONE, np.uint64(0))
    up = np.where(np.isfinite(numbers) & ~np.isfinite(up.view(np.float64)), bits - rest, up)
    found = (up >> DROPPED) + decimal
    return np.where(np.isnan(numbers), NOTHING, found), rounded


def floats(found: Words) -> Floats:
    """The numbers of words; NaN for what is missing and for marks."""
    decimal = (found & ONE).astype(bool) & (mark_of(found) == 0)
    numbers = ((found & ~ONE) << DROPPED).view(np.float64).copy()
    numbers[decimal] = _as_decimals(numbers[decimal])
    return np.asarray(numbers)


def marked(marks: NDArray[np.integer]) -> Words:
    """The words of marks, numbers from 1 to `MOST_MARKS`; 0 is missing."""
    return np.asarray(NOTHING + (marks.astype(np.uint64) << ONE))


def mark_of(found: Words) -> NDArray[np.uint8]:
    """The mark that a word is; 0 where it is none.

    >>> mark_of(np.concatenate((marked(np.array([7, 0])), words(np.array([-1.0]))[0]))).tolist()
    [7, 0, 0]
    """
    above = found - NOTHING
    return np.asarray(np.where(above <= 2 * MOST_MARKS, above >> ONE, 0).astype(np.uint8))


def packed(found: Words) -> bytes:
    """Words as six bytes each."""
    return found.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :WIDTH].tobytes()


def unpacked(kept: bytes) -> Words:
    """Words from six bytes each."""
    whole = np.zeros((len(kept) // WIDTH, 8), dtype=np.uint8)
    whole[:, :WIDTH] = np.frombuffer(kept, dtype=np.uint8).reshape(-1, WIDTH)
    return np.asarray(whole.view("<u8").ravel().astype(np.uint64))


def _as_decimals(numbers: Floats) -> Floats:
    """The decimals of ten digits next to some numbers."""
    return np.array([float(f"{number:.10g}") for number in numbers.tolist()])
