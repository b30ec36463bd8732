"""Evidence for a change in many features at once: the e-detector's arithmetic.

For each block of rows with bin counts `c` the evidence is a ratio of two predictive probabilities. The
denominator is the Dirichlet-multinomial probability of `c` given the reference's counts + 1/2 and all
healthy counts so far, which takes the reference for the finite sample that it is (Krichevsky and
Trofimov, 1981). The numerators are bets on what may have happened: fixed tilts of the null
(`alternatives`), and forgetting memories of the last 50, 200 and 800 rows, shrunk towards the null.
Any bet made before the block is seen is allowed. The ratios are accumulated by the Shiryaev-Roberts
recursion `M = (M + w) * ratio`, where `w` is the share of the false-alarm budget that the block may
spend; an alarm is due when the `M` of all bets add up to 1 (Shin, Ramdas and Rinaldo, E-detectors,
2022). All counts of a feature are divided by its autocorrelation time.

Features lie side by side: arrays end in the axis of features, or of cells, the bins of all features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.alternatives import TILTS, tilts
from edge_mlops_monitor.drift.reference import FeatureReference

Floats = NDArray[np.float64]

MEMORIES = (50.0, 200.0, 800.0)  # rows
PRIORS = (20.0, 40.0, 80.0)  # rows that the null counts in the numerator
WARNING = 0.05
CALM = 0.005  # a warning ends below this
CEILING = 20.0  # of log M, so that what is held back by the minimum effect can fall again
BLOCK_ROWS = 25
RECENT_ROWS = 400  # that the recent mean is about
AFTER_ROWS = 2000.0  # most rows that the picture of the time after a change is made of
RESTART = 0.7  # a bet's change would have begun anew while its log M is less than this above log w
RING = 64  # blocks that are kept to tell what came since a change
LEAST_BACK, MOST_BACK = 100.0, 1000.0  # rows that must look like the reference before an alarm is over
BACK_LOG_RATIO = 2.0  # most that a tilt may then be likelier than the reference, in logs
RETRY_ROWS = 1000  # until a feature held back by the minimum effect is looked at again
LOOK_ROWS = 100  # the same, for a change within the last blocks

FINE, WARNED, ALARMED = 0, 1, 2

# What is kept between blocks, and the axes of each:
# b bets, m memories, r blocks in the ring, f features, c cells.
STATE = {
    "seen": "c",  # healthy counts so far
    "memory": "mc",  # recent counts, forgetting
    "log_m": "bf",  # log of the evidence of each bet
    "since_row": "bf",  # row at which the change that a bet is on would have begun
    "since_ts": "bf",
    "counts": "rc",  # counts of the last blocks, in a ring
    "block_ts": "r",  # of the same: time of the first row
    "log_w": "r",  # and log of what a feature could spend
    "moments": "r3f",  # of the same: rows, sum and sum of squares of the standardised values
    "recent": "3f",  # the same of the last few hundred rows, forgetting
    "after": "c",  # of features in alarm: counts since the change
    "log_r": "f",  # of features in alarm: log of the evidence that the reference holds again
    "back_row": "f",  # row from which on the reference would hold again
    "level": "f",  # FINE, WARNED or ALARMED
    "retry_row": "f",  # before this row a feature held back is not looked at again
}
KINDS = {
    "since_row": np.int64,
    "back_row": np.int64,
    "level": np.int64,
    "retry_row": np.int64,
    "counts": np.uint8,
}


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

    total: Floats  # by feature: the evidence of all bets

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
        self._set_bets()
        self.state = self._fresh()
        self.resume()

    def _set_bets(self) -> None:
        """The tilts of all cells, and the log of the share of the budget that each bet gets."""
        self.log_tilts = np.zeros((TILTS, self.cells))
        used = np.ones((TILTS + len(MEMORIES), len(self.references)))
        for feature, reference in enumerate(self.references):
            cells = self.cells_of(feature)
            share = self.base[cells] / self.base[cells].sum()
            self.log_tilts[:, cells], used[:TILTS, feature] = tilts(reference, share)
        self.tilts = np.exp(self.log_tilts)
        with np.errstate(divide="ignore"):
            self.log_bets = np.log(used / used.sum(axis=0))

    def _fresh(self) -> dict[str, NDArray[Any]]:
        sizes = {"m": len(MEMORIES), "f": len(self.references), "c": self.cells, "3": 3}
        sizes |= {"b": TILTS + len(MEMORIES), "r": RING}
        state: dict[str, NDArray[Any]] = {}
        for name, axes in STATE.items():
            state[name] = np.zeros([sizes[axis] for axis in axes], dtype=KINDS.get(name, np.float64))
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
            self._step(blocks, start + t, path, t)
            changes = self._changes(blocks.rows * (start + t + 1) + blocks.first_row)
            if changes is not None:
                break
        else:
            changes, t = None, len(counts) - 1
        path.keep(t + 1)
        self._remember(blocks, start, start + t + 1)
        return start + t + 1, changes

    def _step(self, blocks: Blocks, block: int, path: _Path, t: int) -> None:
        """The Shiryaev-Roberts recursion over one block."""
        state, log_w = self.state, blocks.log_w[block]
        row = blocks.first_row + block * blocks.rows
        gate = path.gate + log_w
        fresh = state["log_m"] <= gate + RESTART
        np.copyto(state["since_row"], row, where=fresh)
        np.copyto(state["since_ts"], blocks.ts[block], where=fresh)
        state["log_m"] = np.minimum(np.logaddexp(state["log_m"], gate) + path.ratios[t], CEILING)
        self.total = np.exp(state["log_m"]).sum(axis=0)
        if path.back is not None:
            gate = log_w + path.gate_back
            np.copyto(state["back_row"], row, where=state["log_r"] <= gate + RESTART)
            state["log_r"] = np.minimum(np.logaddexp(state["log_r"], gate) + path.back[t], CEILING)

    def _remember(self, blocks: Blocks, start: int, end: int) -> None:
        """Put the last of these blocks into the ring, and all into the recent mean."""
        state = self.state
        for block in range(start, end):
            state["recent"] *= self._recent_kept
            state["recent"] += blocks.moments[block]
        last = slice(max(start, end - RING), end)
        places = (blocks.first_row // blocks.rows + np.arange(last.start, end)) % RING
        state["counts"][places], state["moments"][places] = blocks.counts[last], blocks.moments[last]
        state["block_ts"][places], state["log_w"][places] = blocks.ts[last], blocks.log_w[last]

    def keep(self, features: Sequence[int], references: Sequence[FeatureReference] = ()) -> Evidence:
        """The evidence on some of the features, and on new ones."""
        other = Evidence([*(self.references[feature] for feature in features), *references], self.block_rows)
        cells = np.concatenate([np.zeros(0, dtype=np.int64)] + [np.r_[self.cells_of(f)] for f in features])
        for name, axes in STATE.items():
            if axes == "r":
                other.state[name][:] = self.state[name]
                continue
            chosen = cells if axes.endswith("c") else np.asarray(features, dtype=np.int64)
            other.state[name][..., : len(chosen)] = self.state[name][..., chosen]
        other.resume()
        return other

    def _changes(self, row: int) -> Changes | None:
        level, total = self.state["level"], self.total
        if not level.any() and total.max() < WARNING:
            return None
        up = np.where(level == FINE, WARNING, 1.0)
        look = (row >= self.state["retry_row"]) | (row % LOOK_ROWS == 0)
        rising = look & (total >= up) & (level != ALARMED)
        falling = (total < CALM) & (level == WARNED)
        back = self.state["log_r"] >= 0
        if not (rising | falling | back).any():
            return None
        return Changes(*(np.flatnonzero(which).tolist() for which in (rising, falling, back)))

    def cells_of(self, feature: int) -> slice:
        """Where the cells of a feature are."""
        begin = int(self.starts[feature])
        return slice(begin, begin + self.references[feature].bins.size)

    def null(self, feature: int) -> Floats:
        """The shares of a feature's cells while all is well."""
        cells = self.cells_of(feature)
        counts = self.base[cells] + self.state["seen"][cells]
        return np.asarray(counts / counts.sum())

    def since(self, feature: int) -> tuple[int, float]:
        """Row and time at which the likeliest change of a feature would have begun."""
        best = int(self.state["log_m"][:, feature].argmax())
        return int(self.state["since_row"][best, feature]), float(self.state["since_ts"][best, feature])

    def is_back(self, feature: int, last_row: int, size: float) -> bool | None:
        """Whether the rows since the reference seemed to hold again fit it by themselves.

        An alarm's first picture of a change is often too large, and next to it a smaller change
        looks like none; the likelihood-ratio statistic G and the tilts do not depend on it. None while
        there are too few rows to tell a change of `size` (Cohen's w) from none.
        """
        counts = self._counts_from(feature, int(self.state["back_row"][feature]), last_row)
        if counts.sum() < min(max(LEAST_BACK, 25 / max(size, 1e-3) ** 2), MOST_BACK / self.tau[feature]):
            return None
        null, rows, seen = self.null(feature), counts.sum(), counts > 0
        g = float((counts[seen] * np.log(counts[seen] / (null[seen] * rows))).sum())
        tilts = self.log_tilts[:, self.cells_of(feature)]
        by_tilt = (tilts * counts).sum(axis=1) - rows * np.log((np.exp(tilts) * null).sum(axis=1))
        freedom = (len(counts) - 1) / 2
        return g <= freedom + math.sqrt(freedom) and float(by_tilt.max()) <= BACK_LOG_RATIO

    def _counts_from(self, feature: int, row: int, last_row: int) -> Floats:
        last = last_row // self.block_rows
        first = max(row // self.block_rows, last - RING + 1, 0)
        places = np.arange(min(first, last), last + 1) % RING
        counts = self.state["counts"][places, self.cells_of(feature)].sum(axis=0, dtype=np.float64)
        return np.asarray(counts / self.tau[feature])

    def alarm(self, feature: int, since: Floats) -> None:
        """Put a feature into alarm: the counts since the change leave the picture of the healthy time."""
        state, cells = self.state, self.cells_of(feature)
        state["after"][cells] = since
        state["seen"][cells] = np.maximum(state["seen"][cells] - since, 0.0)
        state["level"][feature] = ALARMED
        self._empty(feature)

    def recover(self, feature: int) -> None:
        """Take a feature out of alarm; its memories begin anew."""
        state, cells = self.state, self.cells_of(feature)
        state["level"][feature] = FINE
        state["memory"][:, cells] = 0.0
        state["after"][cells] = 0.0
        self._empty(feature)

    def _empty(self, feature: int) -> None:
        self.state["log_m"][:, feature] = self.state["log_r"][feature] = -math.inf
        self.total[feature] = 0.0

    def resume(self) -> None:
        """Compute what follows from a state that was put in place."""
        self.total = np.exp(self.state["log_m"]).sum(axis=0)


class Changes:
    """Features whose evidence passed the next level, fell back to calm, or shows the reference again."""

    def __init__(self, rising: list[int], falling: list[int], back: list[int]) -> None:
        self.rising, self.falling, self.back = rising, falling, back


class Blocks:
    """Equally long blocks of consecutive rows, counted.

    `counts` (blocks, cells), `moments` (blocks, 3, features), `log_w` the log of the weight that a
    feature may spend in each block, `ts` the first timestamp of each, `first_row` the
    number of the first row.
    """

    def __init__(
        self,
        counts: Floats,
        moments: Floats,
        log_w: Floats,
        ts: Floats,
        first_row: int,
        rows: int = BLOCK_ROWS,
    ) -> None:
        self.counts, self.moments, self.log_w, self.ts = counts, moments, log_w, ts
        self.first_row, self.rows = first_row, rows


class _Path:
    """What memories and null are at each block, and the log ratios that follow, all computed at once."""

    def __init__(self, evidence: Evidence, counts: Floats) -> None:
        self._evidence = evidence
        state, feature_of = evidence.state, evidence.feature_of
        alarmed = state["level"] == ALARMED
        self.gate = np.where(alarmed, -math.inf, evidence.log_bets)
        self.gate_back = np.where(alarmed, 0.0, -math.inf)
        self._rows = np.add.reduceat(counts, evidence.starts, axis=1)
        healthy = counts * ~alarmed[feature_of] if alarmed.any() else counts
        self._seen = np.add.accumulate(np.concatenate((state["seen"][None], healthy)), axis=0)
        self._memory = self._forgetting("memory", counts, evidence.forget_by)
        self._after = self._forgetting("after", counts, np.array([1 / AFTER_ROWS])) if alarmed.any() else None
        self.ratios, self.back = self._log_ratios(counts)

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

    def _log_ratios(self, counts: Floats) -> tuple[Floats, Floats | None]:
        """Of each block, for each bet against the null, and for the null against what came after."""
        evidence, rows = self._evidence, self._rows
        null = evidence.base + self._seen[:-1]
        whole = self._sums(null)
        share = null / whole[:, evidence.feature_of]
        under_null = self._sums(log_rising(null, counts)) - log_rising(whole, rows)
        surprise = self._sums(counts * np.log(share)) - under_null
        by_tilt = self._sums(counts[:, None, :] * evidence.log_tilts)
        by_tilt -= rows[:, None, :] * np.log(self._sums(share[:, None, :] * evidence.tilts))
        learned = self._memory[:-1] + evidence.prior * share[:, None, :]
        by_memory = self._sums(counts[:, None, :] * np.log(learned / share[:, None, :]))
        by_memory -= rows[:, None, :] * np.log(self._sums(learned))
        ratios = np.concatenate((by_tilt, by_memory), axis=1) + surprise[:, None, :]
        if self._after is None:
            return ratios, None
        after = self._after[:-1] + 0.5
        return ratios, under_null - (
            self._sums(log_rising(after, counts)) - log_rising(self._sums(after), rows)
        )

    def _sums(self, cells: Floats) -> Floats:
        """Sums over the cells of each feature."""
        return np.asarray(np.add.reduceat(cells, self._evidence.starts, axis=-1))

    def keep(self, blocks: int) -> None:
        """Make the state what it is after so many blocks."""
        state = self._evidence.state
        state["seen"], state["memory"] = self._seen[blocks].copy(), self._memory[blocks].copy()
        if self._after is not None:
            state["after"] = self._after[blocks].copy()
