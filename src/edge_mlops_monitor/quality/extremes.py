"""Range and spikes: values far beyond all that the reference had, in a row or one by one.

A row is marked for its range where it and the row before are beyond a limit; one such value alone is a
spike, and so is a jump out and back beyond the limit of jumps. A limit is where a tail that goes on
falling as the outermost values of the reference do, at a lower confidence limit of Hill's index (Annals
of Statistics 3, 1975), leaves a thirtieth of what lies beyond the largest of them. With heavy tails that
is far out: there an extreme value says little.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Marked = NDArray[np.bool_]

BEYOND = 30.0  # how much rarer a value beyond the limit is than one beyond the largest of the reference
MARGIN = 0.5  # of the distance between the reference's extremes, at least
CERTAINTY = 1.645  # one-sided 95 %
LEAST_INDEX = 0.5


def limit(sizes: Floats) -> float:
    """The limit of sizes (0 and up), from those of a reference.

    >>> sizes = np.abs(np.random.default_rng(0).normal(size=1000))
    >>> 6 < limit(sizes) < 12
    True
    >>> limit(np.abs(np.random.default_rng(0).standard_cauchy(1000))) > 10_000
    True
    """
    largest = float(sizes.max()) if len(sizes) else 0.0
    count = int(math.sqrt(len(sizes)))
    if largest <= 0 or count < 2 or largest == math.inf:
        return largest
    outermost = np.sort(sizes)[-count - 1 :] / largest
    if outermost[0] <= 0:
        return largest * BEYOND
    with np.errstate(over="ignore"):
        return float(np.float64(largest) * tail_factor(outermost, BEYOND))


def tail_factor(outermost: Floats, beyond: float) -> float:
    """How many times as far out as the largest a value is `beyond` times rarer, from the ordered outermost.

    >>> round(tail_factor(np.array([1.0, 1.1, 1.2, 1.3, 1.4]), 30.0), 1)
    66.6
    """
    over = float(np.log(outermost[1:] / outermost[0]).mean())
    index = (1 - CERTAINTY / math.sqrt(len(outermost) - 1)) / max(over, 1e-3)
    return float(beyond ** (1 / max(index, LEAST_INDEX)))


def limits(finite: Floats) -> tuple[float, float]:
    """The least and the largest value that is in range; infinite for a constant."""
    low, high, middle = float(finite.min()), float(finite.max()), float(np.median(finite))
    if not low < high:
        return -math.inf, math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        margin = float(MARGIN * (np.float64(high) - low))
        top = middle + limit(finite[finite > middle] - middle)
        bottom = middle - limit(middle - finite[finite < middle])
    return min(bottom, low - margin), max(top, high + margin)


def jumps(values: Floats) -> Floats:
    """How far each row but the first and last jumps out and back, 0 where it goes on in one direction.

    >>> jumps(np.array([0.0, 5.0, 1.0, 1.0, 2.0, 9.0])).tolist()
    [4.0, 0.0, 0.0, 0.0]
    """
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.diff(values, axis=0)
        size = np.minimum(np.abs(steps[:-1]), np.abs(steps[1:]))
        back = np.sign(steps[:-1]) * np.sign(steps[1:]) < 0
    return np.where(back & ~np.isnan(size), size, 0.0)


class Extremes:
    """Marks what is out of range, and spikes, of several features; `state` holds the last two rows."""

    def __init__(self, low: Floats, high: Floats, jump: Floats) -> None:
        self.low, self.high, self.jump = low, high, jump
        self.state: dict[str, NDArray[Any]] = {"last": np.full((2, len(low)), np.nan)}

    def look(self, values: Floats) -> tuple[Marked, Marked, Marked] | None:
        """Of rows (rows, features): what is out of range, range marks, spikes; None where nothing is.

        A spike is marked at the row after it, by which it is known.
        """
        whole = np.concatenate((self.state["last"], values))
        self.state["last"] = whole[-2:].copy()
        out = (whole > self.high) | (whole < self.low)
        with np.errstate(over="ignore", invalid="ignore"):
            big = np.abs(whole[1:] - whole[:-1]) > self.jump
        if not (np.count_nonzero(out) or np.count_nonzero(big)):
            return None
        spikes = (jumps(whole) > self.jump) | (out[1:-1] & ~out[:-2] & ~out[2:])
        return out[2:], out[2:] & out[1:-1], spikes
