"""Since when a feature has changed, and by how much: the likeliest start among the last blocks.

For each start the rows since then are held against the null before it, under the same bets as the
evidence: the tilts, and a Dirichlet-multinomial about the null in place of the memories. The start of
largest likelihood is the maximum-likelihood change point (Hinkley, Biometrika 57, 1970). Weighted by
what each block may spend, the same ratios add up to the evidence that arose within the last blocks:
where that is not about all the evidence there is, the change is older, and its restart tells.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.evidence import PRIORS, RING, Evidence, log_rising

Floats = NDArray[np.float64]

ENOUGH = -1.0  # log of the share of the evidence that must come from the last blocks


class Onset(msgspec.Struct, frozen=True, kw_only=True):
    """A change: its first row and time, the rows since (at most the last ones), the null before it.

    `counts` are in independent rows, as the `null`'s shares are; `moments` rows, sum and sum of squares
    of the standardised values. `recent` is False where the change is older than what was kept.
    """

    row: int
    ts: float
    counts: Floats
    moments: Floats
    null: Floats
    recent: bool

    @property
    def size(self) -> float:
        """Cohen's w of the change, corrected for chance."""
        total = max(float(self.counts.sum()), 1e-9)
        squared = float(((self.counts / total - self.null) ** 2 / self.null).sum())
        return math.sqrt(max(squared - (len(self.null) - 1) / total, 0.0))


def onset(evidence: Evidence, feature: int, last_row: int) -> Onset:
    """The likeliest change of a feature up to row `last_row`, the last of a block."""
    state, rows = evidence.state, evidence.block_rows
    last = last_row // rows
    earliest = int(state["since_row"][:, feature].min()) // rows  # before it, no bet has anything to say
    blocks = np.arange(last, max(earliest, last - RING + 1, 0) - 1, -1)  # newest first: of equals, the latest
    places = blocks % RING
    counts = state["counts"][places, evidence.cells_of(feature)].astype(np.float64) / evidence.tau[feature]
    since = np.add.accumulate(counts, axis=0)
    ratios = _log_ratios(evidence, feature, since)
    best = int(ratios.argmax())
    within = float(np.logaddexp.reduce(ratios + state["log_w"][places]))
    recent = within >= math.log(min(max(float(evidence.total[feature]), 1e-300), 1.0)) + ENOUGH
    row, ts = int(blocks[best]) * rows, float(state["block_ts"][places[best]])
    if not recent:
        row, ts = evidence.since(feature)
        best = min(max(last - row // rows, 0), len(blocks) - 1)
    null = _nulls(evidence, feature, since[best : best + 1])[0]
    return Onset(
        row=row,
        ts=ts,
        counts=since[best],
        moments=state["moments"][places[: best + 1], :, feature].sum(axis=0),
        null=null / null.sum(),
        recent=recent,
    )


def _nulls(evidence: Evidence, feature: int, since: Floats) -> Floats:
    """The null's counts without the rows since each start."""
    cells = evidence.cells_of(feature)
    return np.asarray(evidence.base[cells] + np.maximum(evidence.state["seen"][cells] - since, 0.0))


def _log_ratios(evidence: Evidence, feature: int, since: Floats) -> Floats:
    """Of the rows since each start: the log of the mixture of all bets over the null."""
    null = _nulls(evidence, feature, since)
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
