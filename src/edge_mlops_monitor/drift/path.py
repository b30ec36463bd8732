"""The evidence along one segment of rows: everything before each step and after the last, at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.alternatives import TILTS
from edge_mlops_monitor.drift.history import STEP_ROWS

if TYPE_CHECKING:
    from edge_mlops_monitor.drift.evidence import Evidence
    from edge_mlops_monitor.drift.steps import Steps

Floats = NDArray[np.float64]

ALARMED = 2  # the level of a feature in alarm
AFTER_ROWS = 2000.0  # most rows that the picture of the time after a change is made of
CEILING = 20.0  # of log M, so that what is held back by the minimum effect can fall again
MOST_LOG_RATIO = 30.0  # of a step, so that a segment cannot leave the range of a float
RESTART = 2.0  # a bet's change would have begun anew while its M is less than so many times w


class Path:
    """What memories, null and evidence are before each step of a segment and after the last, all at once.

    `totals` (steps, features) is the evidence after each step; the others begin with the state before
    the first.
    """

    def __init__(self, evidence: Evidence, steps: Steps, segment: slice) -> None:
        self._evidence, state = evidence, evidence.state
        self._codes = steps.codes[segment]
        self._same, self._before = steps.same[segment], steps.before[segment]
        self._shares = steps.shares[segment]
        self._first_row = steps.first_row + segment.start * STEP_ROWS
        self._withheld = self._codes == evidence.cells
        self._alarmed = state["level"] == ALARMED
        self._any_withheld = bool(self._withheld.any())
        self._cells = np.where(self._withheld, 0, self._codes) if self._any_withheld else self._codes
        self._counts = steps.counts[segment] / evidence.tau[evidence.feature_of]
        self._rows = (STEP_ROWS - self._withheld.sum(axis=1)).astype(np.float64)
        healthy = self._counts
        if self._alarmed.any():
            healthy = healthy * ~self._alarmed[evidence.feature_of]
        self._context = int(state["context"][0])
        self._seen = _running(state["seen"][self._context], healthy)
        log_null = self._log_predictive(evidence.base[self._context] + self._seen[:-1])
        self._accumulate(self._log_bets(log_null))
        self.log_r = np.broadcast_to(state["log_r"], (len(self._codes) + 1, len(state["log_r"])))
        if self._alarmed.any():
            self._after = self._forgetting(state["after"][None], np.array([1 / AFTER_ROWS]))[:, 0]
            log_after = self._log_predictive(self._after[:-1] + 0.5)
            self._look_back((log_null - log_after).sum(axis=1) / evidence.tau)

    def _gather(self, tables: Floats) -> Floats:
        """Of tables of cells, one or more for each step, the values at the cells of its rows.

        From (steps, ..., cells) to (steps, rows, ..., features).
        """
        begins = np.arange(0, tables.size, tables.shape[-1]).reshape(len(tables), 1, *tables.shape[1:-1], 1)
        cells = self._cells if tables.ndim == 2 else self._cells[:, :, None]
        return np.asarray(tables.ravel().take(begins + cells))

    def _counted(self, logs: Floats) -> Floats:
        """Zero where a row is withheld."""
        if not self._any_withheld:
            return logs
        return np.where(self._withheld if logs.ndim == 3 else self._withheld[:, :, None], 0.0, logs)

    def _forgetting(self, first: Floats, forget_by: Floats) -> Floats:
        """Memories (memories, cells) before each step, and after the last."""
        evidence = self._evidence
        rows = self._rows / evidence.tau if self._any_withheld else self._rows[:1] / evidence.tau
        kept = np.exp(-rows[:, None, :] * forget_by[:, None])[..., evidence.feature_of]
        path = np.empty((len(self._counts) + 1, *first.shape))
        path[0] = first
        for t, (before, after, counts) in enumerate(zip(path[:-1], path[1:], self._counts, strict=True)):
            np.multiply(before, kept[t if self._any_withheld else 0], out=after)
            np.add(after, counts, out=after)
        return path

    def _log_predictive(self, counts: Floats) -> Floats:
        """Log of the Dirichlet-multinomial probability of each row, given the rows of its step before it."""
        tau = self._evidence.tau
        whole = self._evidence.sums(counts)[:, None, :]
        return self._counted(np.log((self._gather(counts) + self._same / tau) / (whole + self._before / tau)))

    def _log_bets(self, log_null: Floats) -> Floats:
        """Log ratios of each step (steps, bets, features)."""
        evidence = self._evidence
        ratios = np.empty((len(self._codes), *evidence.log_bets.shape))
        ratios[:, :TILTS] = evidence.log_odds.take(self._codes, axis=0).sum(axis=1).transpose(0, 2, 1)
        ratios[:, TILTS:] = self._log_learned()
        ratios -= log_null.sum(axis=1)[:, None, :]
        ratios /= evidence.tau
        return np.clip(ratios, -MOST_LOG_RATIO, MOST_LOG_RATIO, out=ratios)

    def _log_learned(self) -> Floats:
        """Log of the probability of each step's rows under the memories (steps, memories, features)."""
        evidence, state = self._evidence, self._evidence.state
        self._memory = self._forgetting(state["memory"], evidence.forget_by)
        whole = evidence.sums(self._memory[:-1]) + evidence.prior[:, None]
        learned = self._gather(self._memory[:-1])
        learned += state["share"].take(self._cells)[:, :, None] * evidence.prior[:, None]
        logs = self._counted(np.log(learned, out=learned))
        return np.asarray(logs.sum(axis=1) - np.log(whole) * self._rows[:, None, :])

    def _accumulate(self, ratios: Floats) -> None:
        """The Shiryaev-Roberts recursion over the steps."""
        evidence, state = self._evidence, self._evidence.state
        gate = np.where(self._alarmed, 0.0, np.exp(evidence.log_bets))
        self._sums = _running(state["log_sum"], ratios)
        grown = np.exp(self._sums)
        self._parts = _running(state["part"], self._shares[:, None, None] * gate / grown[:-1])
        self.totals = (grown[1:] * self._parts[1:]).sum(axis=1)

    def _look_back(self, ratios: Floats) -> None:
        """The same recursion, run backwards, for features in alarm: has the reference come back?"""
        state = self._evidence.state
        self.log_r = np.empty((len(ratios) + 1, len(self._alarmed)))
        self._back_rows = np.empty(self.log_r.shape, dtype=np.int64)
        self.log_r[0], self._back_rows[0] = state["log_r"], state["back_row"]
        with np.errstate(divide="ignore"):
            gates = np.log(self._shares)[:, None] + np.where(self._alarmed, 0.0, -math.inf)
        for t, gate in enumerate(gates):
            row = self._first_row + t * STEP_ROWS
            fresh = self.log_r[t] <= gate + math.log(RESTART)
            self._back_rows[t + 1] = np.where(fresh, row, self._back_rows[t])
            self.log_r[t + 1] = np.minimum(np.logaddexp(self.log_r[t], gate) + ratios[t], CEILING)

    def keep(self, end: int) -> None:
        """Make the state what it is after so many steps."""
        evidence, state = self._evidence, self._evidence.state
        state["seen"][self._context], state["memory"] = self._seen[end], self._memory[end].copy()
        state["log_sum"], state["part"] = self._sums[end].copy(), self._parts[end].copy()
        evidence.total = self.totals[end - 1].copy()
        if self._alarmed.any():
            state["after"] = self._after[end].copy()
            state["log_r"], state["back_row"] = self.log_r[end].copy(), self._back_rows[end].copy()


def _running(first: Floats, steps: Floats) -> Floats:
    """`first`, and its sums with the steps up to each; `accumulate` is slow along the first axis."""
    path = np.empty((len(steps) + 1, *first.shape))
    path[0] = first
    for t, step in enumerate(steps):
        np.add(path[t], step, out=path[t + 1])
    return path
