"""Evidence that rows which a check marks come more often than in the reference.

How often a healthy row is marked is known from the reference as `a` marked and `b` other rows, both in
independent rows, since what is marked comes in bursts. For each block the evidence is the ratio of two
probabilities of its marks: under a higher rate that was fixed before, over the Beta-binomial one given `a`,
`b` and all healthy rows since (Krichevsky and Trofimov, 1981). The ratios are accumulated by the
Shiryaev-Roberts recursion `M = (M + w) * ratio`, `w` being what the block may spend of the false-alarm
budget; an alarm is due when the `M` of all rates add up to 1 (Shin, Ramdas and Rinaldo, E-detectors, 2022).
Blocks without marks are made up for, in closed form, at the next block with marks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATES = (0.01, 0.05, 0.25, 0.8)  # of marked rows, that are bet on
TIMES = 3.0  # the least by which a rate bet on exceeds the healthy one
CEILING = 1e9  # of M, so that what is held back stays a number
MOST_LOG = 60.0  # of one block's ratio
BACK = 4e-5  # what a row may spend on the end of an alarm: one premature end in 25 000 rows
BURST_ROWS = 25  # within so many rows of a marked row others may be of the same burst,
BURST = 3.0  # so that so many of them are worth one
LEAST_CALM = 100  # rows without a mark before an alarm is over, where healthy rows have none
MORE_CALM = 3  # times the longest calm between two marks since it began, too
FREQUENT = 0.002  # share of marked healthy rows from which on their calms say nothing
SHORTLY = 5000  # rows
MEMORY = 2000.0  # independent rows that the picture of the fault is made of, at most

# By check and feature; `m` by rate before.
FLOATS = (
    "hits",  # healthy marked and other rows since the reference, in independent rows
    "misses",
    "spent",  # what all blocks up to `block` could spend
    "since_ts",  # time of the first marked row since the evidence began anew
    "run",  # marked rows since then, in independent rows
    "after_hits",  # of what is raised: marked and other rows since it began
    "after_misses",
    "back",  # evidence that it is over
)
INTEGERS = (
    "block",  # number of the first block that is not yet in `m`
    "since_row",  # first marked row since the evidence began anew
    "marked",  # marked rows since then, one by one
    "burst_row",  # row of the block in which the last burst began
    "last_row",  # last row of the last block with marks
    "calm",  # longest calm between two such blocks since the beginning
    "ended",  # row up to which another alarm so shortly after an alarm is more of the same
    "raised",
)


class Marks(msgspec.Struct, frozen=True):
    """What the checks marked in equally long blocks of rows.

    `marked` (checks, rows, features), `weights` what each block may spend on one check of one feature,
    `ts` of the rows, `first_row` the number of the first.
    """

    marked: NDArray[np.bool_]
    weights: list[float]
    ts: Floats
    first_row: int

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return len(self.ts) // len(self.weights)

    def counts(self) -> NDArray[np.int64]:
        """Marked rows by block, check and feature."""
        split = self.marked.reshape(len(self.marked), len(self.weights), self.rows, -1)
        return np.asarray(split.sum(axis=2).transpose(1, 0, 2))


class Turn(msgspec.Struct, frozen=True):
    """A rate rose (`raised`) or is back at what it was."""

    check: int
    feature: int
    raised: bool


def worth_of(marked: int, row: int, burst_row: int, burst_rows: int = BURST_ROWS) -> tuple[float, int]:
    """What the marked rows of a block that begins at `row` count, and which row began their burst.

    One, and a third for each that may be of the same burst as the row `burst_row`.

    >>> worth_of(4, 100, 0), worth_of(3, 110, 100)
    ((2.0, 100), (1.0, 100))
    """
    if not marked:
        return 0.0, burst_row
    if row - burst_row < burst_rows:
        return marked / BURST, burst_row
    return 1 + (marked - 1) / BURST, row


def rising(start: float, by: float) -> float:
    """log(gamma(start + by) / gamma(start)).

    >>> rising(0.5, 2.0) == math.lgamma(2.5) - math.lgamma(0.5)
    True
    """
    return math.lgamma(start + by) - math.lgamma(start)


class Rates:
    """The rates of marked rows, by check and feature.

    `a`, `b` (checks, features) are what the reference knows: marked and other rows, in independent
    rows and with their prior; `b` is 0 where there is no check. `burst` is how many marked rows are
    worth one independent one; marks within `burst_rows` may be of one burst; an alarm is over after
    `calm_rows` without a mark at the earliest.

    >>> rates = Rates(np.array([[0.5]]), np.array([[1000.0]]), np.array([[1.0]]))
    >>> marked = np.zeros((1, 50, 1), dtype=bool)
    >>> marked[0, 30:] = True
    >>> rates.advance(Marks(marked, [1e-6, 1e-6], np.arange(50.0), 0), 0)
    (2, [Turn(check=0, feature=0, raised=True)])
    >>> rates.since(0, 0)
    (30, 30.0)
    """

    def __init__(
        self, a: Floats, b: Floats, burst: Floats, burst_rows: int = BURST_ROWS, calm_rows: int = LEAST_CALM
    ) -> None:
        self.burst, self.burst_rows, self.calm_rows = np.maximum(burst, 1.0), burst_rows, calm_rows
        self.set_known(a, b)
        self.m = np.zeros((len(RATES), *a.shape))  # the evidence, by rate
        self.floats = np.zeros((len(FLOATS), *a.shape))
        self.integers = np.zeros((len(INTEGERS), *a.shape), dtype=np.int64)
        self.state: dict[str, NDArray[Any]] = dict(zip(FLOATS, self.floats, strict=True))
        self.state |= dict(zip(INTEGERS, self.integers, strict=True))
        self.state["burst_row"] -= burst_rows
        self.blocks, self.spent = 0, 0.0  # so far
        self.any_raised = False

    def set_known(self, a: Floats, b: Floats) -> None:
        """Set what is known of healthy rows."""
        self.a, self.b, self.on = a, b, b > 0
        healthy = a / np.maximum(a + b, 1e-9)
        least = np.minimum(TIMES * healthy, (1 + healthy) / 2)
        self.bets = np.maximum(np.array(RATES)[:, None, None], least)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The state, for keeping."""
        total = np.array([self.blocks, self.spent])
        return {"m": self.m, "floats": self.floats, "integers": self.integers, "total": total}

    def put(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state."""
        self.m[:], self.floats[:], self.integers[:] = (arrays[n] for n in ("m", "floats", "integers"))
        self.blocks, self.spent = int(arrays["total"][0]), float(arrays["total"][1])
        self.any_raised = bool(self.state["raised"].any())

    def adopt(self, other: Rates, features: list[int]) -> None:
        """Take over the state of some features of another, for the first ones of this."""
        self.blocks, self.spent = other.blocks, other.spent
        self.state["block"][:], self.state["spent"][:] = self.blocks, self.spent
        count = len(features)
        self.m[..., :count] = other.m[..., features]
        self.floats[..., :count], self.integers[..., :count] = (
            other.floats[..., features],
            other.integers[..., features],
        )
        self.any_raised = bool(self.state["raised"].any())

    def advance(self, marks: Marks, start: int) -> tuple[int, list[Turn]]:
        """Take in blocks from index `start` on, up to the first at which something turns.

        Returns the number of blocks taken in so far, and what turned at the last of them.
        """
        if not self.any_raised and not np.count_nonzero(marks.marked):
            return self._let_pass(marks.weights, start)
        counts = marks.counts()
        for block in range(start, len(marks.weights)):
            turns = []
            for check, feature, hits in self._busy(counts[block]):
                raised = bool(self.state["raised"][check, feature])
                turned = self._is_over if raised else self._rises
                if turned(check, feature, hits, marks, block):
                    turns.append(Turn(check, feature, not raised))
            self.blocks += 1
            self.spent += marks.weights[block]
            for turn in turns:
                self._turn(turn, marks, block)
            if turns:
                return block + 1, turns
        return len(marks.weights), []

    def _let_pass(self, weights: list[float], start: int) -> tuple[int, list[Turn]]:
        """Take in blocks without marks while nothing is raised; added one by one, however they are cut."""
        for weight in weights[start:]:
            self.spent += weight
        self.blocks += len(weights) - start
        return len(weights), []

    def _busy(self, counts: NDArray[np.int64]) -> list[tuple[int, int, int]]:
        """Check, feature and marked rows of a block, where there are any or something is raised."""
        if not self.any_raised and not counts.any():
            return []
        busy = (self.state["raised"] > 0) | ((counts > 0) & self.on)
        return [(int(c), int(f), int(counts[c, f])) for c, f in np.argwhere(busy)]

    def _rises(self, check: int, feature: int, hits: int, marks: Marks, block: int) -> bool:
        """Take in a block with marks, and the blocks without before it; whether an alarm is due."""
        at, state, weight = (check, feature), self.state, marks.weights[block]
        burst = float(self.burst[at])
        a, b = float(self.a[at] + state["hits"][at]), float(self.b[at] + state["misses"][at])
        quiet = self.blocks - int(state["block"][at])
        unspent = self.spent - float(state["spent"][at])
        rows, marked = marks.rows / burst, self._worth(at, hits, marks, block) / burst
        of_quiet = rising(b, quiet * rows) - rising(a + b, quiet * rows)
        b += quiet * rows
        of_block = rising(a, marked) + rising(b, rows - marked) - rising(a + b, rows)
        old = new = total = 0.0
        for bet, rate in enumerate(self.bets[:, check, feature].tolist()):
            log_rate, log_rest = math.log(rate), math.log1p(-rate)
            kept, since = _quiet(quiet * rows * log_rest - of_quiet, quiet, unspent / len(RATES))
            kept *= float(self.m[bet, check, feature])
            since += weight / len(RATES)
            ratio = math.exp(min(marked * log_rate + (rows - marked) * log_rest - of_block, MOST_LOG))
            old, new = old + kept, new + since
            self.m[bet, check, feature] = min((kept + since) * ratio, CEILING)
            total += (kept + since) * ratio
        if old <= new:  # what came before says nothing
            row = block * marks.rows + int(self._rows_of(marks, block, at).argmax())
            state["since_row"][at], state["since_ts"][at] = marks.first_row + row, marks.ts[row]
            state["run"][at], state["marked"][at] = 0.0, 0
            if state["since_row"][at] >= state["ended"][at]:
                state["calm"][at] = 0
                state["last_row"][at] = marks.first_row + (block + 1) * marks.rows - 1
        state["run"][at] += marked
        state["marked"][at] += hits
        self._note_calm(at, marks, block)
        state["hits"][at] += marked
        state["misses"][at] += (quiet + 1) * rows - marked
        state["block"][at] = self.blocks + 1
        state["spent"][at] = self.spent + weight
        return total >= 1

    def _worth(self, at: tuple[int, int], hits: int, marks: Marks, block: int) -> float:
        began = self.state["burst_row"]
        row = marks.first_row + block * marks.rows
        worth, began[at] = worth_of(hits, row, int(began[at]), self.burst_rows)
        return worth

    @staticmethod
    def _rows_of(marks: Marks, block: int, at: tuple[int, int]) -> NDArray[np.bool_]:
        return marks.marked[at[0], block * marks.rows : (block + 1) * marks.rows, at[1]]

    def _turn(self, turn: Turn, marks: Marks, block: int) -> None:
        at, state = (turn.check, turn.feature), self.state
        if turn.raised:
            burst = float(self.burst[at])
            rows = marks.first_row + (block + 1) * marks.rows - int(state["since_row"][at])
            hits = float(state["run"][at])
            misses = max(rows / burst - hits, 0.0)
            state["after_hits"][at], state["after_misses"][at] = hits, misses
            state["hits"][at] = max(float(state["hits"][at]) - hits, 0.0)
            state["misses"][at] = max(float(state["misses"][at]) - misses, 0.0)
        else:
            state["ended"][at] = marks.first_row + (block + 1) * marks.rows + SHORTLY
        self.empty(turn.check, turn.feature)
        state["raised"][at] = turn.raised
        self.any_raised = bool(state["raised"].any())

    def _is_over(self, check: int, feature: int, hits: int, marks: Marks, block: int) -> bool:
        """Take in a block while an alarm is open; whether the rate is the healthy one again."""
        at, state, burst = (check, feature), self.state, float(self.burst[check, feature])
        rows, marked = marks.rows / burst, self._worth(at, hits, marks, block) / burst
        a, b = float(self.a[at] + state["hits"][at]), float(self.b[at] + state["misses"][at])
        after, rest = float(state["after_hits"][at]) + 0.5, float(state["after_misses"][at]) + 0.5
        ratio = _log_marginal(a, b, marked, rows) - _log_marginal(after, rest, marked, rows)
        state["back"][at] = min(
            (state["back"][at] + BACK * marks.rows) * math.exp(min(ratio, MOST_LOG)), CEILING
        )
        kept = math.exp(-rows / MEMORY)
        state["after_hits"][at] = state["after_hits"][at] * kept + marked
        state["after_misses"][at] = state["after_misses"][at] * kept + rows - marked
        if hits:
            self._note_calm(at, marks, block)
        calm = marks.first_row + (block + 1) * marks.rows - 1 - int(state["last_row"][at])
        long = calm >= max(self.calm_rows, MORE_CALM * int(state["calm"][at])) or a > FREQUENT * (a + b)
        return bool(state["back"][at] >= 1 and long)

    def _note_calm(self, at: tuple[int, int], marks: Marks, block: int) -> None:
        """Note the calm before this block with marks."""
        state, last = self.state, marks.first_row + (block + 1) * marks.rows - 1
        state["calm"][at] = max(state["calm"][at], last - state["last_row"][at] - marks.rows)
        state["last_row"][at] = last

    def empty(self, check: int, feature: int) -> None:
        """Let the evidence begin anew, with nothing raised."""
        at, state = (check, feature), self.state
        self.m[:, check, feature] = 0.0
        state["back"][at], state["run"][at], state["raised"][at] = 0.0, 0.0, False
        self.any_raised = bool(state["raised"].any())
        state["block"][at], state["spent"][at] = self.blocks, self.spent

    def since(self, check: int, feature: int) -> tuple[int, float]:
        """Row and time of the first marked row since the evidence began."""
        at = check, feature
        return int(self.state["since_row"][at]), float(self.state["since_ts"][at])

    def share(self, check: int, feature: int, last_row: int) -> float:
        """The share of marked rows since then, up to the last row of what was taken in."""
        at = check, feature
        return float(self.state["marked"][at]) / (last_row - int(self.state["since_row"][at]) + 1)


def _log_marginal(a: float, b: float, marked: float, rows: float) -> float:
    return rising(a, marked) + rising(b, rows - marked) - rising(a + b, rows)


def _quiet(log_ratio: float, blocks: int, unspent: float) -> tuple[float, float]:
    """What is left of the evidence after blocks without marks, and of what they could spend.

    The blocks are taken as equals: `M = (M + w) * g` so many times.
    """
    if not blocks:
        return 1.0, unspent
    kept = math.exp(min(log_ratio, MOST_LOG))
    each = math.exp(min(log_ratio, MOST_LOG) / blocks)
    if abs(1 - each) < 1e-12:
        return kept, unspent
    return kept, unspent / blocks * each * (1 - kept) / (1 - each)
