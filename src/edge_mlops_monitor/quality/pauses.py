"""How long the rows of a stream may stay away: pauses in the rows' own times, and silence as it lasts.

Longer than usual is a pause that is ten times the longest of healthy rows, over a minute, and so long that a
tail which falls like that of the longest leaves less than the false-alarm budget allows (Hill's index, Annals
of Statistics 3, 1975).

Silence is judged by the device's own time, since rows may be handed over late, in batches, or by a clock that
was set. What passes between two looks at how many rows there are counts, if they are not so far apart that
the program or the device must have slept. The same rule tells from the longest waits for rows, while arrival
is learned, how long a silence is usual.
"""

from __future__ import annotations

import math
from bisect import insort

import msgspec
import numpy as np

from edge_mlops_monitor.quality.extremes import tail_factor

KEPT = 24  # longest pauses
LONG = 10.0  # times the longest, at least
TIMES = 2.0  # times the last one that was told, where it was shortly before
SHORTLY = 100  # rows
LEAST_GAP = 60.0  # seconds; faster than this nobody minds
NEVER = -(1 << 40)

# Between two looks that are further apart the program or the device slept, or a clock was set.
MOST_STEP = 20.0  # seconds that count as silence
MOST_WATCHED = 3600.0  # seconds that count as watched
STARTING = 600.0  # seconds in which a program that starts may not yet have a row


def limit(longest: list[float], share: float) -> float:
    """Up to how many seconds a pause is usual, from the longest ones; infinite where they are too few.

    `share` is the part of the budget that could be spent while they came.

    >>> limit([1.0] * KEPT, 0.01), limit([0.0] + [1.0] * (KEPT - 1), 0.01)
    (60.0, inf)
    >>> round(limit([20.0 + i for i in range(KEPT)], 0.01))
    991
    """
    if len(longest) < KEPT or longest[0] <= 0 or share <= 0:
        return math.inf
    return max(longest[-1] * max(LONG, tail_factor(np.array(longest), max(1.0, 1 / share))), LEAST_GAP)


class Told(msgspec.Struct):
    """The longest pause that was told shortly before, and the row of the last that was long."""

    seconds: float = 0.0
    row: int = NEVER

    def is_news(self, seconds: float, row: int) -> bool:
        """Whether a long pause before a row is to be told: not if the like of it was, shortly before."""
        return row - self.row > SHORTLY or seconds > TIMES * self.seconds

    def add(self, seconds: float, row: int) -> None:
        """A long pause before a row was told."""
        self.seconds = max(seconds, 0.0 if row - self.row > SHORTLY else self.seconds)
        self.row = row


class Waits(msgspec.Struct):
    """The longest waits for rows, in order, of the `watched` seconds; and the silence that was told.

    `row` is the one that is missed, `since` the time of the one before.
    """

    longest: list[float] = []
    watched: float = 0.0
    row: int = NEVER
    since: float = 0.0
    is_open: bool = False


class Silence:
    """For how long nothing came, by looks; `waits` is what is kept, learned in so many `seconds` at least."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.waits = Waits()
        self.quiet = -STARTING  # seconds since the last row
        self._rows = -1

    def look(self, seconds: float, rows: int, learns: bool) -> None:
        """Take in that `seconds` have passed, and that the stream now has so many rows.

        Waits are learned while arrival is, and until they are known.
        """
        self.quiet += min(seconds, MOST_STEP)
        learns |= not self.is_learned
        if learns:
            self.waits.watched += min(seconds, MOST_WATCHED)
        if rows != self._rows:
            if self.quiet > 0 and learns:
                insort(self.waits.longest, self.quiet)
                del self.waits.longest[:-KEPT]
            if self._rows >= 0:
                self.quiet = 0.0
            self._rows = rows

    @property
    def is_learned(self) -> bool:
        """Whether so many waits are known, of so long a time, that they say what is usual."""
        return len(self.waits.longest) == KEPT and self.waits.watched >= self.seconds
