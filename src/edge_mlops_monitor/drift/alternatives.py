"""What could have happened to a feature: the alternatives that the e-detector bets on.

A tilt multiplies the null's shares by `exp(theta * score)`: for numbers a shift by 0.25, 0.6, 1.2 or 2
standard deviations and a spread widened or narrowed, by the normal scores of the ordered bins; for
categories each frequent label that becomes more frequent; values that go missing, and, of few values or
categories, ones that were never seen. What no tilt fits, the memories learn.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import normal_scores
from edge_mlops_monitor.drift.reference import FeatureReference

Floats = NDArray[np.float64]

SHIFTS = (0.25, -0.25, 0.6, -0.6, 1.2, -1.2, 2.0, -2.0)
SPREADS = (0.3, 0.6, -0.5, -1.5)  # about 1.3, 2.6, 0.75 and 0.55 times the standard deviation
MISSING = ((0.01, 2.0), (0.05, 4.0), (0.3, 4.0))  # share of rows; or, where more, so many times the odds
UNSEEN = ((0.02, 4.0), (0.1, 4.0))
LABEL_ODDS = 2.5  # a label's odds become so many times as large
SHAPES = len(SHIFTS) + len(SPREADS)  # bets on the values themselves; for categories on as many labels
TILTS = SHAPES + len(MISSING) + len(UNSEEN)
# What is staked where most have 1: more where rows are few or tell little, less on what learns its bets.
SHIFT_STAKES = np.array([2.5, 2.5, 1.0, 1.0, 1.0, 1.0, 7.5, 7.5])
RARE_STAKES = np.array([2.0, 2.0, 0.5, 8.0, 6.0])  # missing, unseen
MEMORY_STAKE = 0.5


def cause_of(bet: int) -> str:
    """What a bet is on, where that has a name of its own: missing, unseen_category; else empty.

    >>> cause_of(0), cause_of(TILTS - 1), cause_of(TILTS - 3)
    ('', 'unseen_category', 'missing')
    """
    place = bet - SHAPES
    if 0 <= place < len(MISSING):
        return "missing"
    return "unseen_category" if 0 <= place < len(MISSING) + len(UNSEEN) else ""


def tilts(reference: FeatureReference, share: Floats) -> tuple[Floats, Floats]:
    """The logs of the tilts of one feature's cells (tilts, cells), and what is staked on each.

    `share` holds the null's share of each cell.
    """
    size = len(share)
    logs, stakes = np.zeros((TILTS, size)), np.zeros(TILTS)
    ordered = reference.bins.ordered
    if ordered > 1:
        location, scale = normal_scores(share[:ordered])
        logs[: len(SHIFTS), :ordered] = np.outer(SHIFTS, location)
        logs[len(SHIFTS) : SHAPES, :ordered] = np.outer(SPREADS, scale)
        stakes[: len(SHIFTS)] = SHIFT_STAKES
        stakes[len(SHIFTS) : SHAPES] = ordered > 2
    elif not ordered:
        frequent = np.argsort(-share[:-2], kind="stable")[:SHAPES]
        logs[np.arange(len(frequent)), frequent] = math.log(LABEL_ODDS)
        stakes[: len(frequent)] = size > 3
    if reference.only_rises:
        stakes[:SHAPES] *= np.array((*SHIFTS, *SPREADS)) > 0
    row = SHAPES
    for cell, levels in ((size - 1, MISSING), (size - 2, UNSEEN if ordered < size - 1 else ())):
        for level, times in levels:
            odds = share[cell] / (1 - share[cell])
            logs[row, cell] = math.log(max(level / (1 - level) / odds, times))
            stakes[row] = RARE_STAKES[row - SHAPES]
            row += 1
    return logs, stakes
