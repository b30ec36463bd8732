"""What could have happened to a feature: the alternatives that the e-detector bets on.

A tilt multiplies the null's shares by `exp(theta * score)`: for numbers a shift by 0.25, 0.6 or 1.2
standard deviations up or down and a spread widened or narrowed, by the normal scores of the ordered
bins, so that they mean the same for every distribution; for all features values that go missing, for
categories and features of few values ones that were never seen. What no tilt fits, the memories learn.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import CategoryBins
from edge_mlops_monitor.drift.reference import FeatureReference

Floats = NDArray[np.float64]

SHIFTS = (0.25, -0.25, 0.6, -0.6, 1.2, -1.2)
SPREADS = (0.3, 0.6, -0.5, -1.5)  # about 1.3, 2.6, 0.75 and 0.55 times the standard deviation
MISSING = (0.05, 0.3)  # share of rows
UNSEEN = (0.05,)
TILTS = len(SHIFTS) + len(SPREADS) + len(MISSING) + len(UNSEEN)


def tilts(reference: FeatureReference, share: Floats) -> tuple[Floats, Floats]:
    """The logs of the tilts of one feature's cells (tilts, cells), and which of the tilts it has.

    `share` holds the null's share of each cell.
    """
    size = len(share)
    logs, used = np.zeros((TILTS, size)), np.zeros(TILTS)
    ordered = _ordered_cells(reference)
    if ordered > 1:
        location, scale = _scores(share[:ordered])
        for row, shift in enumerate(SHIFTS):
            logs[row, :ordered] = shift * location
        for row, spread in enumerate(SPREADS, len(SHIFTS)):
            logs[row, :ordered] = spread * scale
        used[: len(SHIFTS)] = 1
        used[len(SHIFTS) : len(SHIFTS) + len(SPREADS)] = ordered > 2
    row = len(SHIFTS) + len(SPREADS)
    for cell, levels in ((size - 1, MISSING), (size - 2, UNSEEN if ordered < size - 1 else ())):
        for level in levels:
            odds = share[cell] / (1 - share[cell])
            logs[row, cell] = math.log(max(level / (1 - level), 3 * odds) / odds)
            used[row] = 1
            row += 1
    return logs, used


def _ordered_cells(reference: FeatureReference) -> int:
    """How many of the first cells are in the order of the values."""
    bins = reference.bins
    if isinstance(bins, CategoryBins):
        return 0
    return bins.size - 2 if bins.few else bins.size - 1


def _scores(share: Floats) -> tuple[Floats, Floats]:
    """Normal scores of ordered bins for location and scale: mean 0, variance 1, uncorrelated."""
    share = share / share.sum()
    normal = NormalDist()
    ends = [normal.inv_cdf(min(max(p, 1e-12), 1 - 1e-12)) for p in np.cumsum(share)[:-1].tolist()]
    heights = np.array([0.0, *(normal.pdf(z) for z in ends), 0.0])
    slopes = np.array([0.0, *(z * normal.pdf(z) for z in ends), 0.0])
    location = _standard((heights[:-1] - heights[1:]) / share, share)
    scale = (slopes[:-1] - slopes[1:]) / share
    return location, _standard(scale - (share * scale * location).sum() * location, share)


def _standard(score: Floats, share: Floats) -> Floats:
    score = score - (share * score).sum()
    size = math.sqrt(float((share * score * score).sum()))
    return np.asarray(score / size if size > 1e-9 else np.zeros_like(score))
