"""A stretch of steps, cut into pieces where segments end."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.history import STEP_ROWS
from edge_mlops_monitor.drift.steps import SEGMENT_ROWS

Floats = NDArray[np.float64]

STEPS = SEGMENT_ROWS // STEP_ROWS  # of a segment


class Pieces:
    """`steps` steps, the first of which is number `place` of its segment.

    What is known at the beginning of each piece and after each of its steps has one row more than steps in
    each: `bounds` are its rows by piece, `after` the row after each step. `cuts` are the steps before which a
    segment has ended, the last perhaps at the end; `number` is the piece of each step.

    >>> pieces = Pieces(25, 18)
    >>> pieces.cuts, pieces.bounds, pieces.after.tolist()[:4]
    ([2, 22], [(0, 3), (3, 24), (24, 28)], [1, 2, 4, 5])
    """

    def __init__(self, steps: int, place: int) -> None:
        self.cuts = list(range(STEPS - place, steps + 1, STEPS))
        self.number = (np.arange(steps) + place) // STEPS
        self.after = np.arange(1, steps + 1) + self.number
        begins = [cut + piece for piece, cut in enumerate([0, *self.cuts])]
        self.later = np.array(begins[1:], dtype=np.int64)  # rows at which another piece begins
        self.rows = steps + len(begins)
        self.bounds = list(pairwise([*begins, self.rows]))
        edges = sorted({0, 1, len(self.bounds) - 1, len(self.bounds)})
        groups = (Group(self.bounds[first:end], first, place) for first, end in pairwise(edges))
        self.groups = [group for group in groups if group.steps_each]


class Group:
    """Pieces that are equally long, all but the first and the last, so that they are worked on at once.

    `places` are those of the steps in their segment.
    """

    def __init__(self, pieces: list[tuple[int, int]], first: int, place: int) -> None:
        begin, end, self._count = pieces[0][0], pieces[-1][1], len(pieces)
        self.steps_each = (end - begin) // self._count - 1
        self._rows, self._steps = slice(begin, end), slice(begin - first, end - first - self._count)
        self.places = slice(0, self.steps_each) if first else slice(place, place + self.steps_each)

    def rows(self, of: Floats) -> Floats:
        """The part of an array (rows, ...) as (pieces, rows of a piece, ...)."""
        return of[self._rows].reshape(self._count, self.steps_each + 1, *of.shape[1:])

    def steps(self, of: Floats) -> Floats:
        """The part of an array (steps, ...) as (pieces, steps of a piece, ...)."""
        return of[self._steps].reshape(self._count, self.steps_each, *of.shape[1:])


@lru_cache(maxsize=32)
def pieces_of(steps: int, place: int) -> Pieces:
    """The same, kept for stretches that are alike."""
    return Pieces(steps, place)
