"""Evidence that pairs of features no longer go together as in the reference (docs/decisions/0005).

For each group of rows and each pair the evidence is the ratio of two probabilities of how many of the rows
with both far out are on the same side: with the odds of that multiplied or divided by 3 and 15, over the
beta-binomial one given the reference's counts + 1/2 and all healthy counts so far. Ratios are accumulated
as in `evidence`. All counts of a pair are divided by its autocorrelation time.

The last rows are kept as sides (-1, 0, 1) of each feature, so that what is kept grows with the features
and not with their square.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.evidence import CALM, FINE, WARNED, WARNING
from edge_mlops_monitor.drift.joint import Pairs, agreement
from edge_mlops_monitor.drift.onset import log_rising
from edge_mlops_monitor.drift.path import HIGHEST

Floats = NDArray[np.float64]
Sides = NDArray[np.int8]

GROUP_ROWS = 50  # that are judged at once; pairs are many, and cost by the judgement
KEPT_GROUPS = 16
KEPT_ROWS = GROUP_ROWS * KEPT_GROUPS
ODDS = np.log([3.0, 15.0])
TILTS = np.concatenate((ODDS, -ODDS))
LEANS = np.expm1(TILTS)
ENOUGH = 0.5  # evidence of a pair by itself


class PairEvidence:
    """The evidence on all pairs of some features, given their reference.

    >>> cuts = {"low": [0.0, 0.0], "high": [1.0, 1.0]}
    >>> pairs = Pairs(names=["a", "b"], **cuts, same=[90.0], opposite=[90.0], tau=[1.0])
    >>> evidence = PairEvidence(pairs)
    >>> evidence.advance(np.ones((3, GROUP_ROWS, 2), dtype=np.int8), [1e-40] * 3, GROUP_ROWS)
    3
    >>> evidence.total > 1e-20
    True
    """

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        features = len(pairs.names)
        self.first, self.second = np.triu_indices(features, 1)
        tau = np.array(pairs.tau)
        self.used = tau > 0
        self.tau = np.where(self.used, tau, math.inf)  # counts of a pair that is left out are 0
        self.base = np.array((pairs.same, pairs.opposite)) / self.tau + 0.5
        self._large = bool((self.base >= 20).all())
        self._weight = self.used / (max(1, int(self.used.sum())) * len(TILTS))
        self.state: dict[str, NDArray[Any]] = {
            "seen": np.zeros((2, len(tau))),  # healthy counts so far, on the same and on opposite sides
            "m": np.zeros((len(TILTS), len(tau))),
            "sides": np.zeros((KEPT_ROWS, features), dtype=np.int8),  # of the last rows, in a ring
            "group_ts": np.zeros(KEPT_GROUPS),  # of the same: time of the first row of a group
            "waiting": np.zeros(1),  # what the rows of a group that is not complete may spend
            "level": np.zeros(1, dtype=np.int64),
            "retry_row": np.zeros(1, dtype=np.int64),  # before it, what was held back is not looked at again
            "held_row": np.full(1, -1, dtype=np.int64),  # since when an alarm waits for a feature's own
        }

    def save(self) -> dict[str, NDArray[Any]]:
        """The state, for keeping: sides take two bits each."""
        sides = self.state["sides"]
        return {
            **self.state,
            "sides": np.stack([np.packbits(side, axis=0) for side in (sides > 0, sides < 0)]),
        }

    def restore(self, saved: dict[str, NDArray[Any]]) -> None:
        """Go on from what `save` gave."""
        high, low = (np.unpackbits(side, axis=0, count=KEPT_ROWS).astype(np.int8) for side in saved["sides"])
        self.state = {**saved, "sides": high - low}

    @property
    def total(self) -> float:
        """The evidence of all bets on all pairs."""
        return float(self.state["m"].sum())

    def advance(self, sides: Sides, shares: list[float], end: int) -> int:
        """Take in groups of rows (groups, rows, features), up to the first at which the level may change.

        `shares` are what the pairs may spend of the budget in each group, `end` the rows there are with the
        first of them. Returns how many groups were taken in.
        """
        counts = agreement(sides) / self.tau
        seen = np.add.accumulate(np.concatenate((self.state["seen"][None], counts)), axis=0)
        ratios = self._ratios(counts, self.base + seen[:-1])
        m, taken = self.state["m"], 0
        for taken in range(1, len(sides) + 1):
            m = np.minimum((m + shares[taken - 1] * self._weight) * ratios[taken - 1], HIGHEST)
            if self._passes(float(m.sum()), end + (taken - 1) * GROUP_ROWS):
                break
        self.state["m"], self.state["seen"] = m, seen[taken].copy()
        return taken

    def _ratios(self, counts: Floats, null: Floats) -> Floats:
        """Of each group (groups, bets, pairs): the probability under each bet over that under the null."""
        three, by = (np.concatenate((two, two[:, :1] + two[:, 1:]), axis=1) for two in (null, counts))
        rising = log_rising(three, by, self._large)
        share = null[:, 0] / three[:, 2]
        plain = counts[:, 0] * np.log(share) + counts[:, 1] * np.log(1 - share)
        plain -= rising[:, 0] + rising[:, 1] - rising[:, 2]
        lean = np.log(1 + share[:, None, :] * LEANS[:, None])
        tilted = TILTS[:, None] * counts[:, 0, None, :] - by[:, 2, None, :] * lean
        return np.asarray(np.exp(tilted + plain[:, None, :]))

    def is_due(self, rows: int) -> bool:
        """Whether the level may change after so many rows."""
        return self._passes(self.total, rows)

    def _passes(self, total: float, rows: int) -> bool:
        level = int(self.state["level"][0])
        if level == WARNED and total < CALM:
            return True
        return total >= (WARNING if level == FINE else 1.0) and rows >= int(self.state["retry_row"][0])

    def remember(self, sides: Sides, ts: Floats, first_row: int) -> None:
        """Keep rows, and the times at which groups begin."""
        rows = np.arange(first_row, first_row + len(sides)) % KEPT_ROWS
        self.state["sides"][rows] = sides
        begins = slice(-first_row % GROUP_ROWS, None, GROUP_ROWS)
        self.state["group_ts"][rows[begins] // GROUP_ROWS] = ts[begins]

    def kept(self, row: int, last_row: int) -> Sides:
        """The sides of the rows from `row` to `last_row`, as far as they are kept."""
        rows = np.arange(max(row, last_row - KEPT_ROWS + 1, 0), last_row + 1)
        return np.asarray(self.state["sides"][rows % KEPT_ROWS])

    def recent(self, row: int, last_row: int) -> tuple[Floats, int]:
        """Counts (2, pairs) of the rows from `row` on, as far as they are kept; and of how many rows."""
        kept = self.kept(row, last_row)
        return agreement(kept) / self.tau, len(kept)

    def null(self, without: Floats) -> Floats:
        """The null's counts (2, pairs) where `without` are taken out again."""
        return np.asarray(self.base + np.maximum(self.state["seen"] - without, 0.0))

    def null_of(self, pair: int) -> tuple[float, float]:
        """The null's counts of one pair."""
        same, opposite = (self.base[:, pair] + self.state["seen"][:, pair]).tolist()
        return same, opposite

    def onset(self, pair: int, last_row: int) -> tuple[int, float]:
        """Row and time of the likeliest change of a pair, among the beginnings of the last groups."""
        last = last_row // GROUP_ROWS
        groups = np.arange(last, max(last - KEPT_GROUPS, -1), -1)  # newest first: of equals, the latest
        kept = self.kept(int(groups[-1]) * GROUP_ROWS, last_row)[:, [self.first[pair], self.second[pair]]]
        each = agreement(kept.reshape(len(groups), GROUP_ROWS, 2))[::-1, :, 0]
        counts = np.add.accumulate(each, axis=0) / self.tau[pair]
        seen = np.maximum(self.state["seen"][:, pair] - counts, 0.0)
        ratios = self._ratios(counts[..., None], (self.base[:, pair] + seen)[..., None])
        best = int(ratios[..., 0].sum(axis=1).argmax())
        group = int(groups[best])
        return group * GROUP_ROWS, float(self.state["group_ts"][group % KEPT_GROUPS])

    def leading(self) -> list[int]:
        """The pair with most of the evidence, and others that have enough of it by themselves."""
        evidence = self.state["m"].sum(axis=0)
        found: list[int] = np.argsort(-evidence, kind="stable").tolist()
        return [pair for pair in found if pair == found[0] or evidence[pair] >= ENOUGH]

    def size(self, pair: int, row: int, last_row: int) -> float:
        """Cohen's w of the change of a pair since `row`, corrected for chance."""
        counts = self.recent(row, last_row)[0]
        null = self.null(counts)[:, pair]
        share, rows = null[0] / null.sum(), max(float(counts[:, pair].sum()), 1e-9)
        squared = (counts[0, pair] / rows - share) ** 2 / (share * (1 - share))
        return math.sqrt(max(float(squared) - 1 / rows, 0.0))

    def changed(self, row: int, last_row: int, by: float) -> list[int]:
        """Pairs that have changed since `row` by more than so many standard deviations, farthest first."""
        counts = self.recent(row, last_row)[0]
        null = self.null(counts)
        share, rows = null[0] / null.sum(axis=0), counts.sum(axis=0)
        apart = np.abs(counts[0] - rows * share)
        sd = np.sqrt(np.maximum(rows, 1.0) * share * (1 - share))
        found: list[int] = np.argsort(-apart / sd, kind="stable").tolist()
        return [pair for pair in found if apart[pair] > by * sd[pair] + 1.0]

    def forget(self, counts: Floats, pairs: NDArray[np.bool_]) -> None:
        """Take counts out of the healthy picture of some pairs, and begin their evidence anew."""
        seen = np.maximum(self.state["seen"] - counts, 0.0)
        self.state["seen"] = np.where(pairs, seen, self.state["seen"])
        self.state["m"] = np.where(pairs, 0.0, self.state["m"])

    def drop(self, feature: int, since_row: int, last_row: int) -> None:
        """A feature has changed by itself since then: those rows tell nothing about its pairs."""
        self.forget(self.recent(since_row, last_row)[0], (self.first == feature) | (self.second == feature))
        rows = np.arange(max(since_row, last_row - KEPT_ROWS + 1, 0), last_row + 1)
        self.state["sides"][rows % KEPT_ROWS, feature] = 0
