"""Since when a feature has changed, and by how much: the likeliest start among the last blocks.

For each start the rows since then are held against the null before it, under the same bets as the
evidence. The start of largest likelihood is the maximum-likelihood change point (Hinkley, Biometrika 57,
1970). Weighted by what each block may spend, the same ratios add up to the evidence that arose within the
last blocks: where that is not about all there is, the change is older, and the cumulative sum of the
likeliest bet tells when it began (Page, Biometrika 41, 1954).
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.evidence import PRIORS, Evidence

Floats = NDArray[np.float64]

ENOUGH = -1.0  # log of the share of the evidence that must come from the last blocks


class Onset(msgspec.Struct, frozen=True, kw_only=True):
    """A change: its first row and time, the rows since (at most the last ones), the null before it.

    `counts` are in independent rows, as the `null`'s shares are; `moments` rows, sum and sum of squares
    of the standardised values. `recent` is False where the change is older than what was kept. `context`
    is the one in which most of the rows are.
    """

    row: int
    ts: float
    counts: Floats
    moments: Floats
    null: Floats
    recent: bool
    context: str = ""

    def than(self, null: Floats) -> Onset:
        """The same rows held against another null."""
        return msgspec.structs.replace(self, null=null)

    @property
    def size(self) -> float:
        """Cohen's w of the change, corrected for chance."""
        total = max(float(self.counts.sum()), 1e-9)
        squared = float(((self.counts / total - self.null) ** 2 / self.null).sum())
        return math.sqrt(max(squared - (len(self.null) - 1) / total, 0.0))


def onset(evidence: Evidence, feature: int, last_row: int) -> Onset:
    """The likeliest change of a feature up to row `last_row`, the last of a block."""
    starts = evidence.history.since(evidence.cells_of(feature), feature, 0, last_row)
    since = starts.counts / evidence.tau[feature]
    nulls = _nulls(evidence, feature, since, starts.expected)
    ratios = _log_ratios(evidence, feature, since, nulls)
    best = int(ratios.argmax())  # of equals, the latest
    with np.errstate(divide="ignore"):
        within = float(np.logaddexp.reduce(ratios + np.log(starts.shares)))
    recent = within >= math.log(min(max(float(evidence.total[feature]), 1e-300), 1.0)) + ENOUGH
    row, ts = int(starts.rows[best]), float(starts.ts[best])
    if not recent:
        row, ts = evidence.since(feature)
        best = min(int((starts.rows > row).sum()), len(starts.rows) - 1)
    null = nulls[best]
    return Onset(
        row=row,
        ts=ts,
        counts=since[best],
        moments=starts.moments[best],
        null=null / null.sum(),
        recent=recent,
        context=evidence.labels[int(starts.expected[best].argmax())],
    )


def _nulls(evidence: Evidence, feature: int, since: Floats, expected: Floats) -> Floats:
    """The null's counts without the rows since each start, which are `expected` of each context."""
    null = evidence.null(feature, expected)
    if not evidence.references[feature].contexts:
        base = evidence.base[0, evidence.cells_of(feature)]
        return np.asarray(base + np.maximum(null - base - since, 0.0))
    whole = null.sum(axis=1, keepdims=True)
    return np.asarray(null * np.maximum(1 - since.sum(axis=1, keepdims=True) / whole, 0.1))


def log_rising(start: Floats, by: Floats, large: bool = False) -> Floats:
    """log(gamma(start + by) / gamma(start)), for start > 0 and by >= 0, to 1e-7; NumPy has no log-gamma.

    Half of the work is saved where every start is `large`: 20 at least.

    >>> round(float(log_rising(np.array([0.5]), np.array([2.0]))[0]) - math.log(0.75), 7)
    0.0
    >>> round(float(log_rising(np.array([20.0]), np.array([2.0]), large=True)[0]) - math.log(20 * 21), 7)
    0.0
    """
    end = start + by
    if large:
        return _stirling(start, end, by)
    low, high = start * (start + 7), end * (end + 7)  # the product of x, x + 1, ..., x + 7 in four factors
    low = low * (low + 6) * ((low + 10) * (low + 12))
    high = high * (high + 6) * ((high + 10) * (high + 12))
    return np.asarray(_stirling(start + 8, end + 8, by) + np.log(low / high))


def _stirling(first: Floats, last: Floats, by: Floats) -> Floats:
    """The difference of two values of Stirling's series."""
    a, b = 1 / first, 1 / last
    series = (last - 0.5) * np.log(last) - (first - 0.5) * np.log(first) - by
    return np.asarray(series + (b - a) * (1 / 12 - (a * a + a * b + b * b) / 360))


def _log_ratios(evidence: Evidence, feature: int, since: Floats, null: Floats) -> Floats:
    """Of the rows since each start: the log of the mixture of all bets over the null."""
    whole, rows = null.sum(axis=1), since.sum(axis=1)
    share = null / whole[:, None]
    under_null = log_rising(null, since).sum(axis=1) - log_rising(whole, rows)
    cells = evidence.cells_of(feature)
    tilts, log_tilts = evidence.tilts[:, cells], evidence.log_tilts[:, cells]
    by_tilt = since @ log_tilts.T - rows[:, None] * np.log(share @ tilts.T)
    by_tilt += (since * np.log(share)).sum(axis=1)[:, None]
    prior = np.array(PRIORS)
    by_count = log_rising(prior[:, None] * share[:, None, :], since[:, None, :]).sum(axis=2)
    by_count -= log_rising(prior[None], rows[:, None])
    bets = np.concatenate((by_tilt, by_count), axis=1) + evidence.log_bets[:, feature]
    return np.asarray(np.logaddexp.reduce(bets, axis=1) - under_null)
