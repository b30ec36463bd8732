"""Evidence for a change in many features at once: the e-detector's arithmetic.

For each block of rows with bin counts `c` the evidence is a ratio of two Dirichlet-multinomial
predictive probabilities. The numerator's parameters come from forgetting memories of recent counts
(of 100, 400 and 1600 rows), shrunk towards the null; the denominator's are the reference's counts
+ 1/2 + all healthy counts so far, which takes the reference for the finite sample that it is
(Krichevsky and Trofimov, 1981). The ratios are accumulated by the Shiryaev-Roberts recursion
`M = (M + w) * ratio`, where `w` is the share of the false-alarm budget that the block may spend; an
alarm is due at `M >= 1` (Shin, Ramdas and Rinaldo, E-detectors, 2022). All counts of a feature are
divided by its autocorrelation time.

Features lie side by side: arrays end in the axis of features, or of cells, the bins of all features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.reference import FeatureReference

Floats = NDArray[np.float64]

MEMORIES = (100.0, 400.0, 1600.0)  # rows
PRIORS = (40.0, 80.0, 160.0)  # rows that the null counts in the numerator
WARNING = math.log(0.05)
CALM = math.log(0.005)  # a warning ends below this
CEILING = 20.0  # of log M, so that what is held back by the minimum effect can fall again
BLOCK_ROWS = 25
RECENT_ROWS = 400  # that the recent mean is about
AFTER_ROWS = 2000.0  # most rows that the picture of the time after a change is made of
RETRY_ROWS = 1000  # until a feature held back by the minimum effect is looked at again

FINE, WARNED, ALARMED = 0, 1, 2

# What is kept between blocks, and the axes of each: m memories, f features, c cells.
STATE = {
    "seen": "c",  # healthy counts so far
    "memory": "mc",  # recent counts, forgetting
    "window": "mc",  # counts since the change would have begun
    "moments": "m3f",  # of the window: rows, sum and sum of squares of the standardised values
    "recent": "3f",  # the same of the last few hundred rows, forgetting
    "log_m": "mf",  # log of the evidence
    "since_row": "mf",  # row at which the change would have begun
    "since_ts": "mf",
    "after": "c",  # of features in alarm: counts since the change
    "log_r": "f",  # of features in alarm: log of the evidence that the reference holds again
    "level": "f",  # FINE, WARNED or ALARMED
    "retry_row": "f",  # before this row a feature held back is not looked at again
}
INTEGERS = {"since_row", "level", "retry_row"}


def log_rising(start: Floats, by: Floats) -> Floats:
    """log(gamma(start + by) / gamma(start)), for start > 0 and by >= 0, to 1e-7; NumPy has no log-gamma.

    >>> round(float(log_rising(np.array([0.5]), np.array([2.0]))[0]) - math.log(0.75), 7)
    0.0
    """
    end = start + by
    low, high = start * (start + 7), end * (end + 7)  # the product of x, x + 1, ..., x + 7 in four factors
    low = low * (low + 6) * ((low + 10) * (low + 12))
    high = high * (high + 6) * ((high + 10) * (high + 12))
    first, last = start + 8, end + 8
    a, b = 1 / first, 1 / last
    series = (last - 0.5) * np.log(last) - (first - 0.5) * np.log(first) - by
    return np.asarray(series + (b - a) * (1 / 12 - (a * a + a * b + b * b) / 360) + np.log(low / high))


class Evidence:
    """The evidence on several features, given their references.

    >>> from edge_mlops_monitor.drift.reference import build_feature
    >>> rng = np.random.default_rng(0)
    >>> evidence = Evidence([build_feature("a", rng.normal(size=1000))])
    >>> evidence.cells
    11
    """

    def __init__(self, references: Sequence[FeatureReference], block_rows: int = BLOCK_ROWS) -> None:
        sizes = np.array([reference.bins.size for reference in references], dtype=np.int64)
        self.references = list(references)
        self.starts = np.cumsum(sizes) - sizes
        self.cells = int(sizes.sum())
        self.feature_of = np.repeat(np.arange(len(references)), sizes)
        self.tau = np.array([reference.tau for reference in references])
        counts = np.concatenate([np.zeros(0), *(reference.counts for reference in references)])
        self.base = counts / self.tau[self.feature_of] + 0.5
        self.forget_by = 1 / np.array(MEMORIES)[:, None]
        self.prior = np.array(PRIORS)[:, None]
        self._recent_kept = math.exp(-block_rows / RECENT_ROWS)
        self.block_rows = block_rows
        self.state = self._fresh()

    def _fresh(self) -> dict[str, NDArray[Any]]:
        sizes = {"m": len(MEMORIES), "f": len(self.references), "c": self.cells, "3": 3}
        state: dict[str, NDArray[Any]] = {}
        for name, axes in STATE.items():
            kind = np.int64 if name in INTEGERS else np.float64
            state[name] = np.zeros([sizes[axis] for axis in axes], dtype=kind)
        state["log_m"] -= math.inf
        state["log_r"] -= math.inf
        return state

    def advance(self, blocks: Blocks, start: int) -> tuple[int, Changes | None]:
        """Take in `blocks` from index `start` on, up to the first at which a feature's level may change.

        Returns the number of blocks taken in so far, and what changed at the last of them.
        """
        counts = blocks.counts[start:] / self.tau[self.feature_of]
        path = _Path(self, counts)
        for t in range(len(counts)):
            self._step(blocks, start + t, counts[t], path, t)
            changes = self._changes(blocks.rows * (start + t + 1) + blocks.first_row)
            if changes is not None:
                path.keep(t + 1)
                return start + t + 1, changes
        path.keep(len(counts))
        return start + len(counts), None

    def _step(self, blocks: Blocks, block: int, counts: Floats, path: _Path, t: int) -> None:
        """The Shiryaev-Roberts recursion over one block."""
        state, log_m = self.state, self.state["log_m"]
        log_w = blocks.log_w[block]
        gate = path.gate + log_w
        fresh = log_m <= gate  # a change that began with this block is likelier than one that began before
        np.copyto(state["since_row"], blocks.first_row + block * blocks.rows, where=fresh)
        np.copyto(state["since_ts"], blocks.ts[block], where=fresh)
        kept = (~fresh).astype(np.float64)
        state["window"] *= kept[:, self.feature_of]
        state["window"] += counts
        state["moments"] *= kept[:, None, :]
        state["moments"] += blocks.moments[block]
        state["recent"] *= self._recent_kept
        state["recent"] += blocks.moments[block]
        state["log_m"] = np.minimum(np.logaddexp(log_m, gate) + path.ratios[t], CEILING)
        if path.back is not None:
            log_r = np.logaddexp(state["log_r"], log_w + math.log(len(MEMORIES)) + path.gate_back)
            state["log_r"] = log_r + path.back[t]

    def keep(self, features: Sequence[int], references: Sequence[FeatureReference] = ()) -> Evidence:
        """The evidence on some of the features, and on new ones."""
        other = Evidence([*(self.references[feature] for feature in features), *references], self.block_rows)
        cells = np.concatenate([np.zeros(0, dtype=np.int64)] + [np.r_[self.cells_of(f)] for f in features])
        for name, axes in STATE.items():
            chosen = cells if axes.endswith("c") else np.asarray(features, dtype=np.int64)
            other.state[name][..., : len(chosen)] = self.state[name][..., chosen]
        return other

    def _changes(self, row: int) -> Changes | None:
        level, total = self.state["level"], self.total()
        up = np.where(level == FINE, WARNING, 0.0)
        rising = (total >= up) & (level != ALARMED) & (row >= self.state["retry_row"])
        falling = (total < CALM) & (level == WARNED)
        back = self.state["log_r"] >= 0
        if not (rising | falling | back).any():
            return None
        return Changes(*(np.flatnonzero(which).tolist() for which in (rising, falling, back)))

    def total(self) -> Floats:
        """The log of each feature's evidence; an alarm is due at 0."""
        return np.asarray(np.logaddexp.reduce(self.state["log_m"], axis=0))

    def cells_of(self, feature: int) -> slice:
        """Where the cells of a feature are."""
        begin = int(self.starts[feature])
        return slice(begin, begin + self.references[feature].bins.size)

    def null(self, feature: int) -> Floats:
        """The shares of a feature's cells while all is well."""
        cells = self.cells_of(feature)
        counts = self.base[cells] + self.state["seen"][cells]
        return np.asarray(counts / counts.sum())

    def likeliest(self, feature: int) -> int:
        """The memory whose evidence is the strongest."""
        return int(self.state["log_m"][:, feature].argmax())

    def alarm(self, feature: int) -> None:
        """Put a feature into alarm: what came since the change leaves the picture of the healthy time."""
        state, cells, best = self.state, self.cells_of(feature), self.likeliest(feature)
        state["after"][cells] = state["window"][best, cells]
        state["seen"][cells] = np.maximum(state["seen"][cells] - state["window"][best, cells], 0.0)
        state["level"][feature] = ALARMED
        state["log_m"][:, feature] = state["log_r"][feature] = -math.inf

    def recover(self, feature: int) -> None:
        """Take a feature out of alarm; its memories begin anew."""
        state, cells = self.state, self.cells_of(feature)
        state["level"][feature] = FINE
        state["memory"][:, cells] = state["window"][:, cells] = 0.0
        state["after"][cells] = 0.0
        state["moments"][:, :, feature] = 0.0
        state["log_m"][:, feature] = state["log_r"][feature] = -math.inf


class Changes:
    """Features whose evidence passed the next level, fell back to calm, or shows the reference again."""

    def __init__(self, rising: list[int], falling: list[int], back: list[int]) -> None:
        self.rising, self.falling, self.back = rising, falling, back


class Blocks:
    """Equally long blocks of consecutive rows, counted.

    `counts` (blocks, cells), `moments` (blocks, 3, features), `log_w` the log of the weight that a
    feature and memory may spend in each block, `ts` the first timestamp of each, `first_row` the
    number of the first row.
    """

    def __init__(
        self, counts: Floats, moments: Floats, log_w: Floats, ts: Floats, first_row: int, rows: int = BLOCK_ROWS
    ) -> None:
        self.counts, self.moments, self.log_w, self.ts = counts, moments, log_w, ts
        self.first_row, self.rows = first_row, rows


class _Path:
    """What memories and null are at each block, and the log ratios that follow, all computed at once."""

    def __init__(self, evidence: Evidence, counts: Floats) -> None:
        self._evidence = evidence
        state, feature_of = evidence.state, evidence.feature_of
        alarmed = state["level"] == ALARMED
        self.gate = np.where(alarmed, -math.inf, 0.0)
        self.gate_back = np.where(alarmed, 0.0, -math.inf)
        self._rows = np.add.reduceat(counts, evidence.starts, axis=1)
        healthy = counts * ~alarmed[feature_of] if alarmed.any() else counts
        self._seen = np.add.accumulate(np.concatenate((state["seen"][None], healthy)), axis=0)
        self._memory = self._forgetting("memory", counts, evidence.forget_by)
        self._after = self._forgetting("after", counts, np.array([1 / AFTER_ROWS])) if alarmed.any() else None
        logs = self._predictive(counts)
        memories = len(MEMORIES)
        self.ratios = logs[:, :memories] - logs[:, memories : memories + 1]
        self.back = logs[:, memories] - logs[:, -1] if self._after is not None else None

    def _forgetting(self, name: str, counts: Floats, forget_by: Floats) -> Floats:
        """The memory before each block, and after the last."""
        current = self._evidence.state[name]
        path = np.empty((len(counts) + 1, *current.shape))
        kept = np.exp(-self._rows[:, None, :] * forget_by)[..., self._evidence.feature_of]
        if current.ndim == 1:
            kept = kept[:, 0]
        path[0] = current
        for t in range(len(counts)):
            np.multiply(path[t], kept[t], out=path[t + 1])
            path[t + 1] += counts[t]
        return path

    def _predictive(self, counts: Floats) -> Floats:
        """Log probability of each block under each memory, under the null, and under what came after."""
        evidence = self._evidence
        null = evidence.base + self._seen[:-1]
        totals = np.add.reduceat(null, evidence.starts, axis=1)
        share = null / totals[:, evidence.feature_of]
        parts = [self._memory[:-1] + evidence.prior * share[:, None, :], null[:, None, :]]
        if self._after is not None:
            parts.append(self._after[:-1, None, :] + 0.5)
        start = np.concatenate(parts, axis=1)
        cells = np.add.reduceat(log_rising(start, counts[:, None, :]), evidence.starts, axis=2)
        whole = log_rising(np.add.reduceat(start, evidence.starts, axis=2), self._rows[:, None, :])
        return np.asarray(cells - whole)

    def keep(self, blocks: int) -> None:
        """Make the state what it is after so many blocks."""
        state = self._evidence.state
        state["seen"], state["memory"] = self._seen[blocks].copy(), self._memory[blocks].copy()
        if self._after is not None:
            state["after"] = self._after[blocks].copy()
