"""The evidence along a stretch of rows: everything before each step and after the last, at once."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.dispersion import AXES
from edge_mlops_monitor.drift.history import STEP_ROWS
from edge_mlops_monitor.drift.steps import SEGMENT_ROWS

if TYPE_CHECKING:
    from edge_mlops_monitor.drift.evidence import Evidence
    from edge_mlops_monitor.drift.steps import Steps

Floats = NDArray[np.float64]

ALARMED = 2  # the level of a feature in alarm
AFTER_ROWS = 2000.0  # most rows that the picture of the time after a change is made of
CEILING = 20.0  # of log M, so that what is held back by the minimum effect can fall again
MOST_LOG_RATIO = 30.0  # of a step, so that a segment cannot leave the range of a float
RESTART = 2.0  # a return would have begun anew while its evidence is less than so many times w
STEPS = SEGMENT_ROWS // STEP_ROWS
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
        self._cells, self._rows = self._codes, np.full((1, 1), float(STEP_ROWS))
        self._any_withheld = bool(self._codes.max() == evidence.cells)
        if self._any_withheld:
            self._withheld = self._codes == evidence.cells
            self._cells = np.where(self._withheld, 0, self._codes)
            self._rows = (STEP_ROWS - self._withheld.sum(axis=1)).astype(np.float64)
        self._cut(steps.cuts(stretch))
        self._counts = steps.counts[stretch] / evidence.tau_of_cells
        healthy = self._counts
        if self._any_alarmed:
            healthy = healthy * ~self._alarmed[evidence.feature_of]
        self._context = int(state["context"][0])
        self._seen = _running(state["seen"][self._context], healthy)
        null = evidence.base[self._context] + self._seen
        self._share = np.concatenate((state["share"][None], evidence.shares(null[self._cuts])))
        self._disperse()
        log_null = self._log_predictive(null[:-1])
        self._accumulate(self._log_bets(log_null))
        self.log_r: Floats | None = None
        if self._any_alarmed:
            fading = Fading(np.array([1 / AFTER_ROWS]), evidence.tau_of_cells)
            after, self._after = self._forgetting(state["after"][None], fading)
            log_after = self._log_predictive(after[:, 0] + 0.5)
            ratios = (log_null - log_after).sum(axis=1) / evidence.tau
            self._look_back(ratios if self._excess is None else ratios / self._excess)

    def _disperse(self) -> None:
        """By how much rows scatter beyond the null of each piece; not looked at where contexts take turns."""
        evidence, state = self._evidence, self._evidence.state
        self._dispersed = kept = {name: state[name][None] for name in AXES}
        if len(self._cuts) and len(evidence.labels) == 1:
            seen = self._seen[self._cuts]
            self._dispersed = evidence.dispersion.along(kept, seen, self._share[1:])
        excess = self._dispersed["excess"]
        self._excess: Floats | None = None
        if excess.max() > 1:
            self._excess = excess[np.minimum(self._piece, len(excess) - 1)]

    def _cut(self, cuts: NDArray[np.int64]) -> None:
        """Say in which piece each step is, and where each piece lies, with one row more than steps."""
        self._cuts = cuts
        self._piece = np.searchsorted(cuts, np.arange(len(self._codes)), side="right")
        starts = [0, *(cut + piece for piece, cut in enumerate(cuts.tolist(), 1))]
        self._begins = list(zip(starts, [*starts[1:], len(self._codes) + len(starts)], strict=True))

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

    def _forgetting(self, first: Floats, fading: Fading) -> tuple[Floats, Floats]:
        """Memories (steps, memories, cells) before each step, and what is kept of them, begun in each piece.

        What is kept is a memory over what would be left of it since its segment began, so that only sums
        are taken from step to step.
        """
        place = (self.steps.first_row // STEP_ROWS + self.begin) % STEPS
        kept = np.empty((len(self._counts) + len(self._begins), *first.shape))
        kept[0] = first
        before = np.empty((len(self._counts), *first.shape))
        for piece, (begin, end) in enumerate(self._begins):
            steps, places = slice(begin - piece, end - 1 - piece), slice(place, place + end - begin - 1)
            if begin:
                kept[begin] = kept[begin - 1] * fading.over_segment
            np.multiply(self._counts[steps, None], fading.growth[places], out=kept[begin + 1 : end])
            _run(kept[begin:end])
            np.multiply(kept[begin : end - 1], fading.decay[places], out=before[steps])
            place = 0
        return before, kept

    def _log_predictive(self, counts: Floats) -> Floats:
        """Log of the Dirichlet-multinomial probability of each row, given the rows of its step before it."""
        tau = self._evidence.tau
        whole = self._evidence.sums(counts)[:, None, :]
        return self._counted(np.log((self._gather(counts) + self._same / tau) / (whole + self._before / tau)))

    def _log_bets(self, log_null: Floats) -> Floats:
        """Log ratios of each step (steps, bets, features)."""
        evidence, rows = self._evidence, self._rows[:, None, :]
        share = self._share.ravel().take((self._piece * evidence.cells)[:, None, None] + self._cells)
        below = log_null.sum(axis=1)
        used = self._share[: int(self._piece[-1]) + 1, None, :]
        norms = np.log(evidence.sums(used * evidence.tilts)) / evidence.tau
        plain = (self._counted(np.log(share)).sum(axis=1) - below) / evidence.tau
        ratios = np.empty((len(self._codes), *evidence.log_bets.shape))
        tilts = evidence.log_tilts_at.take(self._codes, axis=0).sum(axis=1).transpose(0, 2, 1)
        count = tilts.shape[1]
        np.subtract(tilts, rows * norms[self._piece], out=ratios[:, :count])
        ratios[:, :count] += plain[:, None, :]
        np.divide(self._log_learned(share) - below[:, None, :], evidence.tau, out=ratios[:, count:])
        if self._excess is not None:
            ratios /= self._excess[:, None, :]
        return np.clip(ratios, -MOST_LOG_RATIO, MOST_LOG_RATIO, out=ratios)

    def _log_learned(self, share: Floats) -> Floats:
        """Log of the probability of each step's rows under the memories (steps, memories, features)."""
        evidence = self._evidence
        memory, self._memory = self._forgetting(evidence.state["memory"], evidence.fading)
        whole = evidence.sums(memory) + evidence.prior[:, None]
        learned = self._gather(memory)
        learned += share[:, :, None] * evidence.prior[:, None]
        logs = self._counted(np.log(learned, out=learned))
        return np.asarray(logs.sum(axis=1) - np.log(whole) * self._rows[:, None, :])

    def _accumulate(self, ratios: Floats) -> None:
        """The Shiryaev-Roberts recursion over the steps, begun anew in each piece.

        `_sums` and `_parts` hold for each piece what is at its beginning and after each of its steps.
        """
        evidence, state = self._evidence, self._evidence.state
        gate = np.where(self._alarmed, 0.0, evidence.bets) if self._any_alarmed else evidence.bets
        sums = self._sums = np.zeros((len(ratios) + len(self._begins), *gate.shape))
        sums[0] = state["log_sum"]
        for piece, (begin, end) in enumerate(self._begins):
            sums[begin + 1 : end] = ratios[begin - piece : end - 1 - piece]
        _run_each(sums, self._begins)
        grown = np.exp(sums)
        parts = self._parts = np.empty(grown.shape)
        parts[0] = state["part"]
        for piece, (begin, end) in enumerate(self._begins):
            if begin:
                parts[begin] = np.minimum(grown[begin - 1] * parts[begin - 1], math.exp(CEILING))
            shares = self._shares[begin - piece : end - 1 - piece, None, None]
            np.divide(shares * gate, grown[begin : end - 1], out=parts[begin + 1 : end])
            _run(parts[begin:end])
        grown *= parts
        self.totals = grown.sum(axis=1)[np.arange(1, len(ratios) + 1) + self._piece]

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
        cuts = self._cuts.tolist()
        piece = bisect_right(cuts, after)
        state["seen"][self._context], state["share"] = self._seen[after], self._share[piece].copy()
        state |= {name: along[min(piece, len(along) - 1)].copy() for name, along in self._dispersed.items()}
        state["memory"] = self._memory[after + piece].copy()
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
        steps, state, last = self.steps, self._evidence.state, self._cuts[first:piece] - 1
        rises = self._sums[last + np.arange(first + 1, piece + 1)]
        if self._any_alarmed:
            rises[..., self._alarmed] = -math.inf
        rise = state["rise"]
        for row in rises:
            np.maximum(np.add(rise, row, out=row), 0.0, out=row)
            rise = row
        state["rise"], anew = rise.copy(), rises == 0
        at = last[len(last) - 1 - anew[::-1].argmax(axis=0)]
        began = anew.any(axis=0)
        np.copyto(state["since_row"], steps.first_row + (self.begin + at) * STEP_ROWS, where=began)
        np.copyto(state["since_ts"], steps.ts[self.begin + at], where=began)


def _running(first: Floats, steps: Floats) -> Floats:
    """`first`, and its sums with the steps up to each."""
    return _run(np.concatenate((first[None], steps)))


def _run(rows: Floats) -> Floats:
    """The sums of the rows up to each, in their place."""
    if rows[:1].size <= NARROW:
        return np.add.accumulate(rows, axis=0, out=rows)
    for before, row in pairwise(rows):
        np.add(before, row, out=row)
    return rows


def _run_each(rows: Floats, pieces: list[tuple[int, int]]) -> None:
    """The same in each piece; those between the first and the last are alike, and done at once."""
    alike = pieces[1:-1]
    if alike:
        whole = rows[alike[0][0] : alike[-1][1]].reshape(len(alike), -1, *rows.shape[1:])
        for place in range(1, whole.shape[1]):
            np.add(whole[:, place - 1], whole[:, place], out=whole[:, place])
    for begin, end in (pieces[0], *pieces[1:][-1:]):
        _run(rows[begin:end])
