"""The smallest shift that can be expected to be found within so many rows, by the evidence's own arithmetic.

A shift by so many standard deviations turns the reference's shares of its bins into those of a bell curve
that is cut at the same bins and shifted. Each bet of the evidence, tilts and memories, is then expected to
earn, in each independent row, its Kullback-Leibler gain over the null, where the null learns from the
changed rows as it would from healthy ones: so what a short reference cannot tell is never found. The shift
is found once the Shiryaev-Roberts sums of all bets, which start at the share of the false-alarm budget
that the rows may spend, reach 1.

The scatter of the counts about their expectation is neglected. It costs the memories and helps the sums to
pass 1 by chance; in simulation the two about cancel, and the answer is within 30 % of the shift that is
found in half of all cases (tests/test_drift_detectable.py). The change is taken to come right after the
reference; the longer all was well, the sooner it is found. Heavy tails and bounded values are not bell
curves: there a shift of their standard deviation is found sooner than is said here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.budget import MAX_GAP, SHARES
from edge_mlops_monitor.drift.evidence import MEMORIES, PRIORS, Evidence
from edge_mlops_monitor.drift.reference import FeatureReference
from edge_mlops_monitor.drift.settings import SECONDS_PER_MONTH, Settings

Floats = NDArray[np.float64]

SHIFTS = 0.04 * 1.3 ** np.arange(19)  # standard deviations that are tried: up to 4.5
LEAST_ROWS = 25
STEPS = 50  # in which the rows are taken, each longer than the one before


def share_of_a_row(settings: Settings, rows_per_hour: float | None) -> float:
    """What share of the whole budget a row may spend.

    >>> share_of_a_row(Settings(average_run_length=5000), None)
    0.0002
    """
    if settings.average_run_length is not None:
        return 1 / settings.average_run_length
    gap = min(3600 / max(rows_per_hour or 0.0, 1e-9), MAX_GAP)
    return gap * settings.false_alarms_per_month / SECONDS_PER_MONTH


def smallest_shifts(
    reference: FeatureReference,
    horizons: Sequence[int],
    share: float,
    features: int,
    minimum_effect: float = 0.0,
) -> list[float | None]:
    """The smallest shifts of a feature, in standard deviations, that are found within so many rows each.

    `share` is what a row may spend of the whole budget, which is split over so many `features`; what
    takes longer than the time of one false alarm is not found. None where the feature is no number, or no
    shift that was tried is found.

    >>> from edge_mlops_monitor.drift.reference import build_feature
    >>> reference = build_feature("a", np.random.default_rng(0).normal(size=1000))
    >>> [round(shift or 0, 1) for shift in smallest_shifts(reference, [10, 50, 200, 5000], 1e-5, 20)]
    [0, 0.8, 0.4, 0.2]
    """
    ordered = reference.bins.ordered
    if ordered < 2 or reference.lacks:
        return [None for _ in horizons]
    evidence = Evidence([reference])
    base = np.atleast_2d(evidence.base).sum(axis=0)  # over the contexts, where there are several
    null = base / base.sum()
    shifted = np.array([_shifted(null, ordered, shift) for shift in SHIFTS.tolist()])
    large = np.sqrt(((shifted - null) ** 2 / null).sum(axis=1)) >= minimum_effect  # by Cohen's w
    log_w = math.log(share * SHARES["drift"] / max(1, features))
    within = [min(rows, int(max(1 / share, LEAST_ROWS))) if rows >= LEAST_ROWS else 0 for rows in horizons]
    most = _most_evidence(evidence, base, shifted, within, log_w)
    return [_first_reached(most[rows], large) for rows in within]


def _most_evidence(
    evidence: Evidence, base: Floats, shifted: Floats, horizons: Sequence[int], log_w: float
) -> dict[int, Floats]:
    """Log of the most evidence within each horizon, for each shift."""
    steps = np.geomspace(LEAST_ROWS, max(LEAST_ROWS, *horizons), STEPS).astype(int).tolist()
    tau = float(evidence.tau[0])
    log_m = np.full((len(shifted), len(evidence.log_bets)), -math.inf)
    most = np.full(len(shifted), -math.inf)
    found = {0: most}
    for begin, end in pairwise(sorted({*steps, *horizons, 0})):
        gate = evidence.log_bets[:, 0] + log_w + math.log(end - begin)
        gain = _gain(evidence, base, shifted, (begin + end) / 2 / tau)
        log_m = np.logaddexp(log_m, gate) + (end - begin) / tau * gain
        found[end] = most = np.maximum(most, np.logaddexp.reduce(log_m, axis=1))
    return found


def _gain(evidence: Evidence, base: Floats, shifted: Floats, since: float) -> Floats:
    """What each bet is expected to earn in a row (shifts, bets), so many rows after each shift."""
    null = base + since * shifted
    null /= null.sum(axis=1, keepdims=True)
    by_tilt = shifted @ evidence.log_tilts.T - np.log(null @ evidence.tilts.T)
    by_memory = []
    for length, prior in zip(MEMORIES, PRIORS, strict=True):
        kept = length * -math.expm1(-since / length)
        learned = (kept * shifted + prior * null) / (kept + prior)
        by_memory.append((shifted * np.log(learned / null)).sum(axis=1))
    return np.column_stack((by_tilt, *by_memory))


def _shifted(share: Floats, ordered: int, shift: float) -> Floats:
    """The shares of the cells after a shift."""
    whole = share[:ordered].sum()
    normal = NormalDist()
    below = [min(max(p, 1e-12), 1 - 1e-12) for p in (np.cumsum(share[: ordered - 1]) / whole).tolist()]
    moved = [0.0, *(normal.cdf(normal.inv_cdf(p) - shift) for p in below), 1.0]
    return np.concatenate((whole * np.diff(moved), share[ordered:]))


def _first_reached(most: Floats, large: NDArray[np.bool_]) -> float | None:
    """The smallest shift at which the evidence reaches 1 (its log 0), between those that were tried."""
    reached = np.flatnonzero((most >= 0) & large)
    if not len(reached):
        return None
    first = int(reached[0])
    if first == 0 or not large[first - 1]:
        return float(SHIFTS[first])
    below, above = most[first - 1 : first + 1]
    part = -below / (above - below)
    return float(SHIFTS[first - 1] + part * (SHIFTS[first] - SHIFTS[first - 1]))
