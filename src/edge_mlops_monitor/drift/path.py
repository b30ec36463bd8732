"""The evidence along a stretch of rows: everything before each step and after the last, at once."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.dispersion import AXES
from edge_mlops_monitor.drift.history import STEP_ROWS
from edge_mlops_monitor.drift.pieces import STEPS, pieces_of
from edge_mlops_monitor.drift.steps import sum_second

if TYPE_CHECKING:
    from edge_mlops_monitor.drift.evidence import Evidence
    from edge_mlops_monitor.drift.steps import Steps

Floats = NDArray[np.float64]

ALARMED = 2  # the level of a feature in alarm
AFTER_ROWS = 2000.0  # most rows that the picture of the time after a change is made of
CEILING = 20.0  # of log M, so that what is held back by the minimum effect can fall again
HIGHEST = math.exp(CEILING)
MOST_LOG_RATIO = 30.0  # of a step, so that a segment cannot leave the range of a float
RESTART = 2.0  # a return would have begun anew while its evidence is less than so many times w
ALL_ROWS = np.full((1, 1), float(STEP_ROWS))  # of a step
NARROW = 64  # columns up to which NumPy's own accumulation is faster than a loop over the rows


class Fading:
    """By how much memories (memories, cells) fade from step to step, as seen from a segment's beginning.

    `decay[j]` is what is left after `j` steps, `growth[j]` what a count in step `j` weighs in return. Rows
    that are withheld let memories fade too.
    """

    def __init__(self, forget_by: Floats, tau: Floats) -> None:
        each = STEP_ROWS * forget_by[:, None] / tau
        steps = np.arange(STEPS)[:, None, None]
        self.decay, self.growth = np.exp(-each * steps), np.exp(each * (steps + 1))
        self.over_segment = np.exp(-each * STEPS)


class Path:
    """What memories, null and evidence are before each step of a stretch and after the last, all at once.

    `totals` (steps, features) is the evidence after each step, `log_r` (steps, features) that the reference
    holds again, None where no feature is in alarm. The stretch is cut where a segment ends; there the bets
    are set anew about the null as it is then known, and the evidence so far goes on as `part`. `at` is the
    step up to which the state of the evidence is that of the path.
    """

    def __init__(self, evidence: Evidence, steps: Steps, stretch: slice) -> None:
        self.steps, self.begin, self.at, self.end = steps, stretch.start, stretch.start, stretch.stop
        self._evidence, state = evidence, evidence.state
        self._codes = steps.codes[stretch]
        self._same = steps.same[stretch]
        self._before = steps.before[stretch] if len(steps.before) > 1 else steps.before
        self._shares = steps.shares[stretch]
        self._alarmed = state["level"] == ALARMED
        self._any_alarmed = bool(self._alarmed.any())
        self._cells, self._rows = self._codes, ALL_ROWS
        self._any_withheld = bool(self._codes.max() == evidence.cells)
        if self._any_withheld:
            self._withheld = self._codes == evidence.cells
            self._cells = np.where(self._withheld, 0, self._codes)
            self._rows = (STEP_ROWS - self._withheld.sum(axis=1)).astype(np.float64)
        self._pieces = pieces_of(stretch.stop - stretch.start, steps.place(stretch.start))
        self._context = int(state["context"][0])
        counts = (steps.counts[stretch] / evidence.tau_of_cells)[:, None]
        memory = self._remember(counts)
        seen = self._memory[self._pieces.later, 0]
        share = evidence.shares(evidence.base[self._context] + seen)
        self._share = np.concatenate((state["share"][None], share))
        self._disperse(seen)
        at_rows, whole = self._gather(memory), evidence.sums(memory)
        log_null = self._log_predictive(at_rows[:, :, 0], whole[:, :1])
        self._accumulate(self._log_bets(log_null, at_rows[:, :, 1:], whole[:, 1:]))
        self.log_r: Floats | None = None
        if self._any_alarmed:
            fading = Fading(np.array([1 / AFTER_ROWS]), evidence.tau_of_cells)
            after, self._after = self._forgetting(state["after"][None], fading, counts)
            after += 0.5
            log_after = self._log_predictive(self._gather(after)[:, :, 0], evidence.sums(after))
            ratios = sum_second(log_null - log_after) / evidence.tau
            self._look_back(ratios if self._excess is None else ratios / self._excess)

    def _remember(self, counts: Floats) -> Floats:
        """The null's counts and the memories (steps, 1 + memories, cells) before each step.

        All healthy counts so far are a memory that forgets nothing. `_memory` holds for each piece what is
        at its beginning and after each of its steps.
        """
        evidence, state = self._evidence, self._evidence.state
        if self._any_alarmed:
            counts = np.repeat(counts, 1 + len(state["memory"]), axis=1)
            counts[:, 0] *= ~self._alarmed[evidence.feature_of]
        first = np.concatenate((state["seen"][self._context, None], state["memory"]))
        before, self._memory = self._forgetting(first, evidence.fading, counts)
        null = before[:, 0]
        null += evidence.base[self._context]
        return before

    def _disperse(self, seen: Floats) -> None:
        """By how much rows scatter beyond the null of each piece; not looked at where contexts take turns."""
        evidence, state = self._evidence, self._evidence.state
        self._dispersed = kept = {name: state[name][None] for name in AXES}
        if len(seen) and len(evidence.labels) == 1:
            self._dispersed = evidence.dispersion.along(kept, seen, self._share[1:])
        excess = self._dispersed["excess"]
        self._excess: Floats | None = None
        if excess.max() > 1:
            self._excess = excess[np.minimum(self._pieces.number, len(excess) - 1)]

    def _gather(self, tables: Floats) -> Floats:
        """Of tables of cells, some for each step, the values at the cells of its rows.

        From (steps, tables, cells) to (steps, rows, tables, features).
        """
        begins = np.arange(0, tables.size, tables.shape[-1]).reshape(len(tables), 1, -1, 1)
        return np.asarray(tables.ravel().take(begins + self._cells[:, :, None]))

    def _counted(self, logs: Floats) -> Floats:
        """Zero where a row is withheld."""
        if not self._any_withheld:
            return logs
        return np.where(self._withheld if logs.ndim == 3 else self._withheld[:, :, None], 0.0, logs)

    def _forgetting(self, first: Floats, fading: Fading, counts: Floats) -> tuple[Floats, Floats]:
        """Memories (steps, memories, cells) before each step, and what is kept of them, begun in each piece.

        What is kept is a memory over what would be left of it since its segment began, so that only sums
        are taken from step to step.
        """
        pieces = self._pieces
        kept, before = np.empty((pieces.rows, *first.shape)), np.empty((len(counts), *first.shape))
        kept[0] = first
        for group in pieces.groups:
            np.multiply(group.steps(counts), fading.growth[group.places], out=group.rows(kept)[:, 1:])
        for begin, end in pieces.bounds:
            if begin:
                np.multiply(kept[begin - 1], fading.over_segment, out=kept[begin])
            _run(kept[begin:end])
        for group in pieces.groups:
            np.multiply(group.rows(kept)[:, :-1], fading.decay[group.places], out=group.steps(before))
        return before, kept

    def _log_predictive(self, counts: Floats, whole: Floats) -> Floats:
        """Log of the Dirichlet-multinomial probability of each row, given the rows of its step before it.

        `counts` (steps, rows, features) are those before the step in the cell of the row, `whole` in all.
        """
        tau = self._evidence.tau
        return self._counted(np.log((counts + self._same / tau) / (whole + self._before / tau)))

    def _log_bets(self, log_null: Floats, memory: Floats, whole: Floats) -> Floats:
        """Log ratios of each step (steps, bets, features)."""
        evidence, rows, number = self._evidence, self._rows[:, None, :], self._pieces.number
        share = self._share.ravel().take((number * evidence.cells)[:, None, None] + self._cells)
        below = sum_second(log_null)
        used = self._share[: int(number[-1]) + 1, None, :]
        norms = np.log(evidence.sums(used * evidence.tilts)) / evidence.tau
        plain = (sum_second(self._counted(np.log(share))) - below) / evidence.tau
        ratios = np.empty((len(self._codes), *evidence.log_bets.shape))
        tilts = sum_second(evidence.log_tilts_at.take(self._codes, axis=0)).transpose(0, 2, 1)
        count = tilts.shape[1]
        np.add(tilts, plain[:, None, :] - rows * norms[number], out=ratios[:, :count])
        learned = self._log_learned(share, memory, whole)
        np.divide(learned - below[:, None, :], evidence.tau, out=ratios[:, count:])
        if self._excess is not None:
            ratios /= self._excess[:, None, :]
        np.maximum(ratios, -MOST_LOG_RATIO, out=ratios)
        return np.minimum(ratios, MOST_LOG_RATIO, out=ratios)

    def _log_learned(self, share: Floats, memory: Floats, whole: Floats) -> Floats:
        """Log of the probability of each step's rows under the memories (steps, memories, features)."""
        prior = self._evidence.prior[:, None]
        logs = self._counted(np.log(memory + share[:, :, None] * prior))
        return np.asarray(sum_second(logs) - np.log(whole + prior) * self._rows[:, None, :])

    def _accumulate(self, ratios: Floats) -> None:
        """The Shiryaev-Roberts recursion over the steps, begun anew in each piece.

        `_sums` and `_parts` hold for each piece what is at its beginning and after each of its steps.
        """
        evidence, state = self._evidence, self._evidence.state
        gate = np.where(self._alarmed, 0.0, evidence.bets) if self._any_alarmed else evidence.bets
        sums = self._sums = np.zeros((self._pieces.rows, *gate.shape))
        sums[0] = state["log_sum"]
        for group in self._pieces.groups:
            group.rows(sums)[:, 1:] = group.steps(ratios)
            _run_each(group.rows(sums))
        grown = np.exp(sums)
        parts = self._parts = np.empty(grown.shape)
        parts[0] = state["part"]
        for group in self._pieces.groups:
            shares = group.steps(self._shares)[:, :, None, None]
            np.divide(shares * gate, group.rows(grown)[:, :-1], out=group.rows(parts)[:, 1:])
        for begin, end in self._pieces.bounds:
            if begin:
                np.minimum(grown[begin - 1] * parts[begin - 1], HIGHEST, out=parts[begin])
            _run(parts[begin:end])
        grown *= parts
        self.totals = sum_second(grown)[self._pieces.after]

    def _look_back(self, ratios: Floats) -> None:
        """The same recursion, run backwards, for features in alarm: has the reference come back?"""
        state = self._evidence.state
        path = self.log_r = np.empty((len(ratios), len(self._alarmed)))
        self._back_rows = np.empty(path.shape, dtype=np.int64)
        log_r, back_row = state["log_r"], state["back_row"]
        with np.errstate(divide="ignore"):
            gates = np.log(self._shares)[:, None] + np.where(self._alarmed, 0.0, -math.inf)
        for t, gate in enumerate(gates):
            row = self.steps.first_row + (self.begin + t) * STEP_ROWS
            fresh = log_r <= gate + math.log(RESTART)
            back_row = self._back_rows[t] = np.where(fresh, row, back_row)
            log_r = path[t] = np.minimum(np.logaddexp(log_r, gate) + ratios[t], CEILING)

    def keep(self, end: int) -> None:
        """Make the state what it is after step `end` - 1 of the steps."""
        evidence, state, after = self._evidence, self._evidence.state, end - self.begin
        cuts = self._pieces.cuts
        piece = bisect_right(cuts, after)
        state["seen"][self._context] = self._memory[after + piece, 0]
        state["memory"] = self._memory[after + piece, 1:].copy()
        state["share"] = self._share[piece].copy()
        state |= {name: along[min(piece, len(along) - 1)].copy() for name, along in self._dispersed.items()}
        state["log_sum"] = self._sums[after + piece].copy()
        state["part"] = self._parts[after + piece].copy()
        evidence.total = self.totals[after - 1].copy()
        if self.log_r is not None:
            state["after"] = self._after[after + piece, 0].copy()
            state["log_r"] = self.log_r[after - 1].copy()
            state["back_row"] = self._back_rows[after - 1].copy()
        self._restart(bisect_right(cuts, self.at - self.begin), piece)
        self.at = end

    def _restart(self, first: int, piece: int) -> None:
        """Page's cumulative sums at the ends of some pieces; one that is not above 0 begins anew."""
        if first == piece:
            return
        steps, state, ends = self.steps, self._evidence.state, self._pieces.later[first:piece] - 1
        rises = self._sums[ends]
        if self._any_alarmed:
            rises[..., self._alarmed] = -math.inf
        rise = state["rise"]
        for row in rises:
            np.maximum(np.add(rise, row, out=row), 0.0, out=row)
            rise = row
        state["rise"], anew = rise.copy(), rises == 0
        last = len(ends) - 1 - anew[::-1].argmax(axis=0)
        at = self.begin - 1 + np.array(self._pieces.cuts)[first:piece][last]
        began = anew.any(axis=0)
        np.copyto(state["since_row"], steps.first_row + at * STEP_ROWS, where=began)
        np.copyto(state["since_ts"], steps.ts[at], where=began)


def _run(rows: Floats) -> Floats:
    """The sums of the rows up to each, in their place."""
    if rows[:1].size <= NARROW:
        return np.add.accumulate(rows, axis=0, out=rows)
    add, (before, *others) = np.add, rows
    for row in others:
        before = add(before, row, row)
    return rows


def _run_each(pieces: Floats) -> None:
    """The same in each of some pieces (pieces, rows, ...)."""
    if len(pieces) == 1:
        _run(pieces[0])
        return
    for place in range(1, pieces.shape[1]):
        np.add(pieces[:, place - 1], pieces[:, place], out=pieces[:, place])
