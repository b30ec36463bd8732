"""An open alarm about a pair of features, and when it is over."""

from __future__ import annotations

import math

import msgspec

from edge_mlops_monitor.drift.evidence import BACK_LOG_RATIO, LEAST_BACK
from edge_mlops_monitor.drift.pairs import GROUP_ROWS, KEPT_ROWS, TILTS
from edge_mlops_monitor.drift.path import AFTER_ROWS, CEILING

Counts = tuple[float, float]  # independent rows on the same and on opposite sides

RESTART = 0.7  # the time after the change would have ended anew while log M is less than this above log w
MOST_BACK = KEPT_ROWS - GROUP_ROWS  # rows of which so many at most must look like the reference
LEAST_OUTER = 20.0  # rows with both far out that must look like the reference


class Back(msgspec.Struct):
    """An alarm about a pair, and the evidence that the reference holds again.

    As `evidence` has it for a feature: the recursion is run backwards, with the counts since the change
    (`after`) in place of the bets, and the rows since it passed 1 must fit the reference by themselves.
    """

    pair: int
    event: str
    since: float
    effect: float
    size: float
    after: Counts
    log_r: float = -math.inf
    back_row: int = 0

    def step(self, counts: Counts, null: Counts, log_w: float, row: int) -> bool:
        """Take in the group that begins at `row`; whether the reference seems to hold again."""
        if self.log_r <= log_w + RESTART:
            self.back_row = row
        after = (self.after[0] + 0.5, self.after[1] + 0.5)
        ratio = log_probability(counts, null) - log_probability(counts, after)
        high, low = max(self.log_r, log_w), min(self.log_r, log_w)
        if high > -math.inf:
            self.log_r = min(high + math.log1p(math.exp(low - high)) + ratio, CEILING)
        kept = math.exp(-sum(counts) / AFTER_ROWS)
        self.after = (self.after[0] * kept + counts[0], self.after[1] * kept + counts[1])
        return self.log_r >= 0

    def fits(self, counts: Counts, null: Counts, rows: int, tau: float) -> bool | None:
        """Whether the rows since then fit the reference by themselves; None while they are too few."""
        outer = sum(counts)
        enough = min(max(LEAST_BACK, 25 / max(self.size, 1e-3) ** 2), MOST_BACK / tau)
        if rows / tau < enough or outer < min(LEAST_OUTER, MOST_BACK / tau / 10):
            return None
        share = null[0] / sum(null)
        expected = (share, 1 - share)
        g = sum(n * math.log(n / (p * outer)) for n, p in zip(counts, expected, strict=True) if n > 0)
        tilted = (t * counts[0] - outer * math.log1p(share * math.expm1(t)) for t in TILTS.tolist())
        return g <= 0.5 + math.sqrt(0.5) and max(tilted) <= BACK_LOG_RATIO


def log_probability(counts: Counts, prior: Counts) -> float:
    """The log of the beta-binomial probability of one order of so many rows on either side.

    >>> round(math.exp(log_probability((1.0, 1.0), (1.0, 1.0))), 6)
    0.166667
    """
    ends = (prior[0] + counts[0], prior[1] + counts[1])
    return (
        sum(map(math.lgamma, ends))
        - math.lgamma(sum(ends))
        - (sum(map(math.lgamma, prior)) - math.lgamma(sum(prior)))
    )
