"""Stuck-at: a sensor that repeats one value for longer than chance and its own past allow.

A run of equal values is reported once it is at least 10 long, more than twice the longest run of the
reference, and less likely, under an upper confidence limit of the reference's share of repeats, than
the check's share of the false-alarm budget: for a share of repeats rho, a run of k begins at a given
row with probability at most rho^(k - 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_RUN = 10
SOON = 1000  # rows after which getting stuck is another matter
LEAST_CALM = 100  # rows that a sensor which comes and goes must move before it is stuck no longer,
MORE_CALM = 3  # and times the longest pause before
FREQUENT = 0.05  # share of the rows from which on a value's own repeats are looked at
SEVERAL = 5  # times a rarer value must occur for that, if it repeats more than the others beyond doubt
CHANCE = 0.005  # that any of all values seems to repeat more than the others, where none does
CERTAINTY = 2.6  # standard normal quantile of the upper limit of the share of repeats, one-sided 99.5 %


class RunLengths(msgspec.Struct, frozen=True):
    """Runs of equal values in a reference: the longest, and what share of rows repeats the row before.

    `repeat_share` is an upper confidence limit; 1 means that there is no check.
    """

    longest: int = 1
    repeat_share: float = 1.0


def run_lengths(values: Floats, segment: int = 0) -> RunLengths:
    """The runs in time-ordered values (NaN ends a run); no run crosses a border between segments.

    >>> run_lengths(np.array([1.0, 1.0, 1.0, 2.0] * 100)).longest
    3
    >>> run_lengths(np.ones(100)).repeat_share
    1.0
    """
    if len(values) < 2 or len(np.unique(values[~np.isnan(values)])) < 2:
        return RunLengths()
    runs, _ = runs_of(values[:, None], np.full(1, math.nan), np.zeros(1, dtype=np.int64))
    before, after = values[:-1], values[1:]
    if segment:
        within = np.arange(1, len(values)) % segment != 0
        before, after = before[within], after[within]
    return RunLengths(longest=int(runs.max()), repeat_share=_repeat_share(before, after))


def repeat_share_in(rows: NDArray[np.int64], values: Floats, segment: int = 0) -> float:
    """The share of these rows that repeat the row before, where that is one of them; 0 where nothing tells.

    >>> repeat_share_in(np.arange(300, 600), np.repeat(np.arange(60.0), 10)) > 0.9
    True
    """
    rows = rows[1:][np.diff(rows) == 1]
    rows = rows[rows % segment != 0] if segment else rows
    before, after = values[rows - 1], values[rows]
    return 0.0 if (before == after).all() else _repeat_share(before, after)


def _repeat_share(before: Floats, after: Floats) -> float:
    """The share of rows that repeat the row before: overall, or of the frequent value that repeats most.

    A pixel that is mostly zero repeats its zeros more often than all of its values together say, and so does
    a converter its highest and lowest value.
    """
    repeats = before == after
    usual = limit = _limit(int(repeats.sum()), len(repeats), CERTAINTY)
    distinct, place, counts = np.unique(before, return_inverse=True, return_counts=True)
    again = np.bincount(place, weights=repeats, minlength=len(distinct))
    ends = np.fmin.reduce(before, initial=math.inf), np.fmax.reduce(before, initial=-math.inf)
    rails = (distinct == 0) | (distinct == ends[0]) | (distinct == ends[1])
    for rail, count, hits in zip(rails.tolist(), counts.tolist(), again.astype(int).tolist(), strict=True):
        if count >= FREQUENT * len(before):
            more = True
        elif count < SEVERAL:
            more = False
        else:
            least = _limit(hits, count, -CERTAINTY)
            more = least > usual and (rail or _beyond_doubt(hits, count, usual, len(rails)))
        if more:
            limit = max(limit, _limit(hits, count, CERTAINTY))
    return limit


def _beyond_doubt(hits: int, trials: int, usual: float, among: int) -> bool:
    """Whether so many repeats are no chance, though the value is one of many (Chernoff's bound)."""
    share = hits / trials
    if share <= usual or usual >= 1:
        return False
    rest = (1 - share) * math.log((1 - share) / (1 - usual)) if share < 1 else 0.0
    return trials * (share * math.log(share / usual) + rest) > math.log(among / CHANCE)


def _limit(hits: int, trials: int, z: float) -> float:
    """Wilson's limit of a share: the upper one for z > 0, the lower one for z < 0."""
    if trials <= 0:
        return 1.0
    share = hits / trials
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return min(1.0, (share + z * z / (2 * trials) + spread) / (1 + z * z / trials))


def runs_of(
    values: Floats,
    last: Floats,
    length: NDArray[np.int64],
    copies: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each row and column the length of the run of equal values that it is in, so far.

    `last` and `length` are the row before and its runs; `copies` begin new ones: rows that are copies of
    others as a whole, or single values. The second result is the row in which each column's last run began,
    -1 where it began before.
    """
    rows = len(values)
    equal = np.empty(values.shape, dtype=bool)
    np.equal(values[0], last, out=equal[0])
    np.equal(values[1:], values[:-1], out=equal[1:])
    if copies is not None:
        equal[copies] = False
    began = np.where(equal, -1, np.arange(rows)[:, None])
    began = np.maximum.accumulate(began, axis=0)
    runs = np.where(
        began < 0, np.arange(1, rows + 1)[:, None] + length, np.arange(1, rows + 1)[:, None] - began
    )
    return runs, began[-1]


def least_runs(longest: NDArray[np.int64], repeat_share: Floats, log_share: float) -> Floats:
    """How long a run must be to be reported, for each feature, where a row's budget is `exp(log_share)`."""
    with np.errstate(divide="ignore"):
        rare = 1 + np.ceil(log_share / np.log(repeat_share))
    rare[(repeat_share >= 1) | np.isnan(rare)] = math.inf
    return np.asarray(np.maximum(np.maximum(LEAST_RUN, 2 * longest + 1), rare))


class StuckCheck:
    """The stuck-at check on several features, block by block.

    `check` takes the values of whole blocks of rows, and tells which rows are repeats beyond the
    longest run of the reference (they are evidence for a stuck sensor, not for drift), and which
    features got stuck or came loose, in which block.
    """

    def __init__(self, references: Sequence[RunLengths]) -> None:
        self.longest = np.array([runs.longest for runs in references], dtype=np.int64)
        self.repeat_share = np.array([runs.repeat_share for runs in references], dtype=np.float64)
        self.checked = int((self.repeat_share < 1).sum())  # features
        count = len(references)
        self.state: dict[str, NDArray[Any]] = {
            "last": np.full(count, math.nan),
            "length": np.zeros(count, dtype=np.int64),
            "since_row": np.zeros(count, dtype=np.int64),
            "since_ts": np.zeros(count),
            "stuck": np.zeros(count, dtype=np.int64),
            "stuck_ts": np.zeros(count),  # since when
            "moves_row": np.full(count, -1, dtype=np.int64),  # row from which on it moves after it was stuck
            "patience": np.zeros(count, dtype=np.int64),  # rows that it must move before that is over
        }

    def check(
        self,
        values: Floats,
        ts: Floats,
        first_row: int,
        shares: Floats,
        copies: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.bool_] | None, list[StuckChange]]:
        """Check rows (rows, features) that are `len(shares)` blocks, each with its budget a row.

        What is among `copies` (rows, or values) begins a new run.

        None stands for no row withheld.
        """
        state = self.state
        if not state["stuck"].any() and not self._repeats(values):
            state["since_row"][:], state["since_ts"][:] = first_row + len(values) - 1, ts[-1]
            state["last"], state["length"] = values[-1].copy(), np.ones_like(state["length"])
            return None, []
        runs, began = runs_of(values, state["last"], state["length"], copies)
        withheld = (runs > self.longest) & (self.repeat_share < 1)
        changes = self._changes(values, runs, withheld, ts, first_row, shares)
        moved = began >= 0
        state["since_row"] = np.where(moved, first_row + began, state["since_row"])
        state["since_ts"] = np.where(moved, ts[began], state["since_ts"])
        state["last"], state["length"] = values[-1].copy(), runs[-1].copy()
        return withheld, changes

    def _repeats(self, values: Floats) -> bool:
        """Whether any value equals the one before."""
        return bool((values[0] == self.state["last"]).any() or (values[1:] == values[:-1]).any())

    def _changes(
        self,
        values: Floats,
        runs: NDArray[np.int64],
        withheld: NDArray[np.bool_],
        ts: Floats,
        first_row: int,
        shares: Floats,
    ) -> list[StuckChange]:
        stuck = self.state["stuck"]
        if not stuck.any() and not (runs >= LEAST_RUN).any():
            return []
        found = []
        rows = len(values) // len(shares)
        with np.errstate(divide="ignore"):
            log_shares = np.log(shares)
        for block, log_share in enumerate(log_shares):
            part = slice(block * rows, (block + 1) * rows)
            least = least_runs(self.longest, self.repeat_share, float(log_share))
            long = runs[part].max(axis=0) >= least
            loose = np.asarray(~withheld[part].any(axis=0) & (~np.isnan(values[part])).any(axis=0))
            over = self._over(first_row + part.start, rows, long, loose)
            for feature in np.flatnonzero((stuck == 0) & long).tolist():
                row = part.start + int((runs[part, feature] >= least[feature]).argmax())
                change = self._change(feature, block, row, int(runs[row, feature]), values, ts, first_row)
                self.state["stuck_ts"][feature] = change.since_ts
                found.append(change)
            for feature in np.flatnonzero(over).tolist():
                since = float(self.state["stuck_ts"][feature])
                found.append(StuckChange(feature, block, False, since_ts=since))
            stuck[long] = 1
            stuck[over] = 0
        return found

    def _over(
        self, row: int, rows: int, long: NDArray[np.bool_], loose: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Which features are stuck no longer in the block that begins at `row`.

        The first time as soon as they move. A sensor that gets stuck again soon after comes and goes: it must
        move for a while, and for three times as long as it did before.
        """
        state = self.state
        stuck, moves = state["stuck"] == 1, state["moves_row"]
        again = long & (moves >= 0)
        pause = row - moves
        soon = again & (stuck | (pause <= SOON))
        state["patience"] = np.where(
            soon, np.maximum(state["patience"], MORE_CALM * pause), state["patience"]
        )
        state["patience"][soon] = np.maximum(state["patience"][soon], LEAST_CALM)
        state["patience"][long & ~stuck & ~soon] = 0
        moves[long] = -1
        begins = stuck & loose & ~long & (moves < 0)
        moves[begins] = row
        return np.asarray(stuck & loose & ~long & (row + rows - moves > state["patience"]))

    def _change(
        self, feature: int, block: int, row: int, run: int, values: Floats, ts: Floats, first_row: int
    ) -> StuckChange:
        begin = row - run + 1
        if begin >= 0:
            since_row, since_ts = first_row + begin, float(ts[begin])
        else:
            since_row, since_ts = (
                int(self.state["since_row"][feature]),
                float(self.state["since_ts"][feature]),
            )
        return StuckChange(feature, block, True, float(values[row, feature]), run, since_row, since_ts)


class StuckChange(msgspec.Struct, frozen=True):
    """A feature got stuck (`value`, `run` equal values, since when) or came loose, in block `block`."""

    feature: int
    block: int
    stuck: bool
    value: float = 0.0
    run: int = 0
    since_row: int = 0
    since_ts: float = 0.0
