"""Type: text where the reference has numbers, numbers where it has text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def texts(column: Sequence[Any] | NDArray[Any], rows: Iterable[int]) -> list[int]:
    """Those of the rows that hold text.

    >>> texts([1.0, None, "n/a"], [1, 2])
    [2]
    """
    if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
        return []
    return [row for row in rows if isinstance(column[row], (str, bytes))]


def no_texts(column: Sequence[Any] | NDArray[Any], rows: Iterable[int]) -> list[int]:
    """Those of the rows that hold anything but text."""
    return [row for row in rows if not isinstance(column[row], str)]
