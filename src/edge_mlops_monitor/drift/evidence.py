"""Evidence for a change in many features at once: the e-detector's arithmetic (docs/decisions/0003).

For each row the evidence is a ratio of two predictive probabilities of the cell that its value falls in: of
bets on what may have happened, tilts of the null (`alternatives`) and forgetting memories, made anew every
`SEGMENT_ROWS`, over the Dirichlet-multinomial one given the reference's counts + 1/2 and all healthy counts
so far (Krichevsky and Trofimov, 1981). The ratios are accumulated over steps of `STEP_ROWS` by the
Shiryaev-Roberts recursion `M = (M + w) * ratio`, where `w` is the share of the false-alarm budget that the
step may spend; an alarm is due when the `M` of all bets add up to 1 (Shin, Ramdas and Rinaldo, E-detectors,
2022). The log ratios of a feature are divided by its autocorrelation time.

Arrays end in the axis of features, or of cells, the bins of all features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.alternatives import MEMORY_STAKE, TILTS, cause_of, tilts
from edge_mlops_monitor.drift.context import LEAST_ROWS, priors
from edge_mlops_monitor.drift.dispersion import AXES, Dispersion
from edge_mlops_monitor.drift.history import STEP_ROWS, History
from edge_mlops_monitor.drift.path import AFTER_ROWS, ALARMED, Fading, Path
from edge_mlops_monitor.drift.reference import FeatureReference
from edge_mlops_monitor.drift.steps import SEGMENT_ROWS, Steps

Floats = NDArray[np.float64]

MEMORIES = (60.0, 400.0)  # rows
PRIORS = (22.0, 56.0)  # rows that the null counts in the numerator
WARNING = 0.05
CALM = 0.005  # a warning ends below this
LEAST_BACK, MOST_BACK = 100.0, 1000.0  # rows that must look like the reference before an alarm is over
BACK_LOG_RATIO = 2.0  # most that a tilt may then be likelier than the reference, in logs
RETRY_ROWS = 1000  # until a feature held back by the minimum effect is looked at again

FINE, WARNED = 0, 1  # levels below ALARMED

# What is kept between steps, and the axes of each: k contexts, b bets, m memories, f features, c cells.
STATE = {
    "seen": "kc",  # healthy counts so far, in each context
    "context": "1",  # number of the context that the bets are about
    "share": "c",  # shares of the cells that the bets are about, set anew at each segment
    "memory": "mc",  # recent counts, forgetting, over what is left of a count since the segment began
    "log_sum": "bf",  # M is exp(log_sum) * part: sum of the log ratios since the segment began,
    "part": "bf",  # and what was put in, each over the ratios before it
    "rise": "bf",  # the log ratios of whole segments since then, added up
    "since_row": "bf",  # row at which the change that a bet is on would have begun, to a segment
    "since_ts": "bf",
    "after": "c",  # of features in alarm: counts since the change, forgetting, in the same way
    "log_r": "f",  # of features in alarm: log of the evidence that the reference holds again
    "back_row": "f",  # row from which on the reference would hold again
    "level": "f",  # FINE, WARNED or ALARMED
    "retry_row": "f",  # before this row a feature held back is not looked at again
} | AXES
KINDS = dict.fromkeys(("context", "since_row", "back_row", "level", "retry_row"), np.int64)


class Evidence:
    """The evidence on several features, given their references.

    >>> from edge_mlops_monitor.drift.reference import build_feature
    >>> rng = np.random.default_rng(0)
    >>> evidence = Evidence([build_feature("a", rng.normal(size=200))])
    >>> evidence.cells
    11
    """

    total: Floats  # by feature: the evidence of all bets
    _path: Path | None  # the stretch that is worked on, until something but its steps changes the state

    def __init__(self, references: Sequence[FeatureReference]) -> None:
        sizes = np.array([reference.bins.size for reference in references], dtype=np.int64)
        self.references = list(references)
        self.starts = np.cumsum(sizes) - sizes
        self.cells = int(sizes.sum())
        self.feature_of = np.repeat(np.arange(len(references)), sizes)
        self.tau = np.array([reference.tau for reference in references])
        self.tau_of_cells = self.tau[self.feature_of]
        self.labels = sorted({name for reference in references for name in reference.contexts}) or [""]
        counts = np.array([np.concatenate([[], *_counts_in(name, references)]) for name in self.labels])
        counts /= self.tau_of_cells
        self.base = counts + self._priors()
        in_one = [not reference.contexts for reference in references]
        self._without_context = np.array(in_one, dtype=bool)[self.feature_of]
        self.fading = Fading(np.array([0.0, *(1 / rows for rows in MEMORIES)]), self.tau_of_cells)
        self.prior = np.array(PRIORS)
        self.dispersion = Dispersion(self.references, self.starts, SEGMENT_ROWS / self.tau)
        self._set_bets(counts.sum(axis=0) + 0.5 * len(self.labels))
        self.state = self._fresh()
        self.history = History(self.cells, len(references), len(self.labels))
        self.resume()

    def _priors(self) -> Floats:
        """What each cell counts before any row, in each context: half a row where nothing depends on it."""
        found = np.full((len(self.labels), self.cells), 0.5)
        for feature, reference in enumerate(self.references):
            if reference.contexts:
                known = [self.labels.index(name) for name in reference.contexts]
                found[known, self.cells_of(feature)] = priors([*reference.contexts.values()], reference.tau)
        return found

    def _set_bets(self, counts: Floats) -> None:
        """The tilts of all cells that something is staked on, and the log of the share that each bet gets."""
        log_tilts, stakes = np.zeros((TILTS, self.cells)), np.zeros((TILTS, len(self.references)))
        learned = np.zeros((len(MEMORIES), len(self.references)))
        for feature, reference in enumerate(self.references):
            cells = self.cells_of(feature)
            share = counts[cells] / counts[cells].sum()
            log_tilts[:, cells], stakes[:, feature] = tilts(reference, share)
            learned[:, feature] = 0.0 if reference.only_rises else MEMORY_STAKE  # it bets on any change
        self.staked = np.flatnonzero(stakes.any(axis=1))
        self.log_tilts = log_tilts[self.staked]
        self.tilts = np.exp(self.log_tilts)
        none = np.zeros((1, len(self.staked)))  # where a row is withheld
        self.log_tilts_at = np.concatenate(((self.log_tilts / self.tau_of_cells).T, none))
        stakes = np.concatenate((stakes[self.staked], learned))
        with np.errstate(divide="ignore"):
            self.log_bets = np.log(stakes / stakes.sum(axis=0))
        self.bets = np.exp(self.log_bets)

    def _fresh(self) -> dict[str, NDArray[Any]]:
        sizes = {"m": len(MEMORIES), "f": len(self.references), "c": self.cells}
        sizes |= {"b": len(self.bets), "k": len(self.labels), "1": 1, "3": 3, "4": 4}
        state: dict[str, NDArray[Any]] = {}
        for name, axes in STATE.items():
            state[name] = np.zeros([sizes[axis] for axis in axes], dtype=KINDS.get(name, np.float64))
        state["log_r"] -= math.inf
        state["excess"] += 1.0
        state["share"] = self.shares(self.base[0])
        return state

    def sums(self, cells: Floats) -> Floats:
        """Sums over the cells of each feature."""
        return np.asarray(np.add.reduceat(cells, self.starts, axis=-1))

    def shares(self, counts: Floats) -> Floats:
        """The share of each cell among those of its feature."""
        return np.asarray(counts / self.sums(counts)[..., self.feature_of])

    def advance(self, steps: Steps, start: int) -> tuple[int, Changes | None]:
        """Take in steps from index `start` on, up to the first at which a feature's level may change.

        At most a stretch of them. Returns the number of steps taken in so far, and what changed at the
        last of them.
        """
        path = self._path
        if path is None or path.steps is not steps or path.at != start or start == path.end:
            self._enter(int(steps.contexts[start]))
            path = self._path = Path(self, steps, steps.stretch(start))
        end, changes = self._next(path)
        path.keep(end)
        self.history.append(steps, slice(start, end))
        return end, changes

    def _enter(self, context: int) -> None:
        """Go on in another context: what depends on none is the same there."""
        state, before = self.state, int(self.state["context"][0])
        if context != before:
            same = self._without_context
            state["seen"][context, same] = state["seen"][before, same]
            state["context"][0] = context
            state["share"] = self.shares(self.base[context] + state["seen"][context])

    def _next(self, path: Path) -> tuple[int, Changes | None]:
        """The next step of a path after which the levels may change, and what changes there."""
        level, after = self.state["level"], slice(path.at - path.begin, None)
        totals = path.totals[after]
        if not level.any() and totals.max() < WARNING:
            return path.end, None
        rows = path.steps.first_row + STEP_ROWS * np.arange(path.at + 1, path.end + 1)[:, None]
        look = (rows >= self.state["retry_row"]) | (rows % SEGMENT_ROWS == 0)
        rising = look & (totals >= np.where(level == FINE, WARNING, 1.0)) & (level != ALARMED)
        falling = (totals < CALM) & (level == WARNED)
        back = path.log_r[after] >= 0 if path.log_r is not None else np.zeros_like(rising)
        at = (rising | falling | back).any(axis=1).nonzero()[0]
        if not len(at):
            return path.end, None
        changed = (np.flatnonzero(which[at[0]]).tolist() for which in (rising, falling, back))
        return path.at + int(at[0]) + 1, Changes(*changed)

    def keep(self, features: Sequence[int], references: Sequence[FeatureReference] = ()) -> Evidence:
        """The evidence on some of the features, and on new ones."""
        other = Evidence([*(self.references[feature] for feature in features), *references])
        cells = np.concatenate([np.zeros(0, dtype=np.int64)] + [np.r_[self.cells_of(f)] for f in features])
        chosen = {"c": cells, "f": np.asarray(features, dtype=np.int64)}
        _, mine, theirs = np.intersect1d(self.staked, other.staked, return_indices=True)
        learned = np.arange(-len(MEMORIES), 0)
        mine, theirs = np.concatenate((mine, learned)), np.concatenate((theirs, learned))
        for name, axes in STATE.items():
            if axes[-1] in chosen and axes[0] != "k":
                places = chosen[axes[-1]]
                kept, into = self.state[name][..., places], other.state[name][..., : len(places)]
                into[theirs if axes[0] == "b" else ...] = kept[mine] if axes[0] == "b" else kept
        self._hand_over(other, cells)
        other.history.take_over(self.history, chosen)
        other.resume()
        return other

    def _hand_over(self, other: Evidence, cells: NDArray[np.int64]) -> None:
        """Give another the healthy counts of some cells, context by context."""
        mine, now = self.labels, int(self.state["context"][0])
        for number, name in enumerate(other.labels):
            known = mine.index(name) if name in mine else now
            other.state["seen"][number, : len(cells)] = self.state["seen"][known, cells]
        other.state["context"][0] = other.labels.index(mine[now]) if mine[now] in other.labels else 0

    def cells_of(self, feature: int) -> slice:
        """Where the cells of a feature are."""
        begin = int(self.starts[feature])
        return slice(begin, begin + self.references[feature].bins.size)

    def null(self, feature: int, rows: Floats) -> Floats:
        """Counts in a feature's cells while all is well, for so many `rows` of each context."""
        cells, now = self.cells_of(feature), int(self.state["context"][0])
        counts = self.base[:, cells] + self.state["seen"][:, cells]
        if not self.references[feature].contexts:
            return np.broadcast_to(counts[now], (len(rows), counts.shape[1]))
        shares = counts / counts.sum(axis=1, keepdims=True)
        rows = np.maximum(rows, 1e-9)  # as of all contexts where there are none
        mixed = rows @ shares / rows.sum(axis=1, keepdims=True)
        return np.asarray(mixed * counts.sum())

    def since(self, feature: int) -> tuple[int, float]:
        """Row and time at which the likeliest change of a feature would have begun."""
        best = int(self.evidence_of_bets[:, feature].argmax())
        return int(self.state["since_row"][best, feature]), float(self.state["since_ts"][best, feature])

    def cause(self, feature: int) -> str:
        """What the likeliest bet on a feature is on, where that has a name of its own (see `cause_of`)."""
        best = int(self.evidence_of_bets[:, feature].argmax())
        return cause_of(int(self.staked[best])) if best < len(self.staked) else ""

    @property
    def evidence_of_bets(self) -> Floats:
        """The evidence of each bet on each feature."""
        return np.asarray(np.exp(self.state["log_sum"]) * self.state["part"])

    def is_back(self, feature: int, last_row: int, size: float, context: str) -> bool | None:
        """Whether the rows since the reference seemed to hold again fit it by themselves.

        An alarm's first picture of a change is often too large, and next to it a smaller change
        looks like none; the likelihood-ratio statistic G and the tilts do not depend on it. None while
        there are too few rows to tell a change of `size` (Cohen's w) from none, or hardly any in the
        context that the alarm came from.
        """
        cells, first = self.cells_of(feature), int(self.state["back_row"][feature])
        rows = self.history.since(cells, feature, first, last_row)
        counts = rows.counts[-1] / self.tau[feature]
        if counts.sum() < min(max(LEAST_BACK, 25 / max(size, 1e-3) ** 2), MOST_BACK / self.tau[feature]):
            return None
        if not self._fits(feature, counts, rows.expected[-1]):
            return False
        if len(self.labels) == 1:
            return True
        own = self.labels.index(context)
        rows = self.history.since(cells, feature, first, last_row, own)
        if rows.expected[-1, own] < LEAST_ROWS:
            return None
        return self._fits(feature, rows.counts[-1] / self.tau[feature], rows.expected[-1])

    def _fits(self, feature: int, counts: Floats, expected: Floats) -> bool:
        """Whether counts, from so many rows in each context, are what the reference would give."""
        null = self.null(feature, expected[None])[0]
        null, rows, seen = null / null.sum(), counts.sum(), counts > 0
        g = float((counts[seen] * np.log(counts[seen] / (null[seen] * rows))).sum())
        cells = self.cells_of(feature)
        by_tilt = (self.log_tilts[:, cells] * counts).sum(axis=1)
        by_tilt -= rows * np.log((self.tilts[:, cells] * null).sum(axis=1))
        if self.references[feature].only_rises:
            by_tilt = by_tilt[np.isfinite(self.log_bets[: len(self.staked), feature])]
            return float(by_tilt.max()) <= BACK_LOG_RATIO  # better than the reference is back too
        freedom = (len(counts) - 1) / 2
        return g <= freedom + math.sqrt(freedom) and float(by_tilt.max()) <= BACK_LOG_RATIO

    def alarm(self, feature: int, since: Floats, row: int) -> None:
        """Put a feature into alarm at a row: the counts since the change leave the healthy ones."""
        state, cells = self.state, self.cells_of(feature)
        since_segment = (row + 1) % SEGMENT_ROWS / AFTER_ROWS / self.tau[feature]
        state["after"][cells] = since * math.exp(since_segment)
        context = int(state["context"][0])
        state["seen"][context, cells] = np.maximum(state["seen"][context, cells] - since, 0.0)
        state["level"][feature] = ALARMED
        state["cut"][:, feature] = self.dispersion.totals(state["seen"][context])[:, feature]
        self._empty(feature)

    def recover(self, feature: int) -> None:
        """Take a feature out of alarm; its memories begin anew."""
        state, cells = self.state, self.cells_of(feature)
        state["level"][feature] = FINE
        state["memory"][:, cells] = 0.0
        state["after"][cells] = 0.0
        self._empty(feature)

    def is_not_back(self, feature: int) -> None:
        """Look for a feature's return to its reference from the next row on."""
        self.state["log_r"][feature] = -math.inf
        self._path = None

    def _empty(self, feature: int) -> None:
        state, self._path = self.state, None
        state["log_sum"][:, feature] = state["part"][:, feature] = 0.0
        state["log_r"][feature] = -math.inf
        self.total[feature] = 0.0

    def resume(self) -> None:
        """Compute what follows from a state that was put in place."""
        self.total = self.evidence_of_bets.sum(axis=0)
        self._path = None


class Changes:
    """Features whose evidence passed the next level, fell back to calm, or shows the reference again."""

    def __init__(self, rising: list[int], falling: list[int], back: list[int]) -> None:
        self.rising, self.falling, self.back = rising, falling, back


def _counts_in(context: str, references: Sequence[FeatureReference]) -> list[list[float]]:
    """What each reference counted in a context; nothing where it does not know it."""
    found = []
    for reference in references:
        known = reference.contexts.get(context)
        nothing = [0.0] * reference.bins.size
        found.append(known.counts if known else nothing if reference.contexts else reference.counts)
    return found
