"""Rate of arrival and the data's own clock: rows too fast, too slow, after a pause, or from another time.

How long 25 rows take is learned from a stream's first rows. A window of 25 is marked where it takes more
than twice the longest or less than half of the shortest of these; of `n` healthy windows the next exceeds
the extremes with probability 1 / (n + 1), whatever their distribution. A single gap is told if it is ten
times the longest, over a minute, and where a tail that falls like that of the longest gaps leaves less
than the false-alarm budget allows. That a clock was set is no matter of chance: a step back by more than
an hour, or ahead by more than thirty days, is told as such.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.quality.extremes import tail_factor
from edge_mlops_monitor.quality.rates import Marks, Rates, Turn

Floats = NDArray[np.float64]

WINDOW_ROWS = 25
SLOW, FAST = 0, 1
TIMES = 2.0  # times the longest, or the shortest over it
GAPS = 24  # longest gaps that are kept
LONG = 10.0  # times the longest gap, at least
BACK, AHEAD = 3600.0, 30 * 86400.0  # seconds by which a clock that was set jumps
QUIET_ROWS = 1000  # without a jump until the next is told
CALM_WINDOWS = 4

# Faster than this nobody minds: a program that computes at full speed pauses as it pleases.
LEAST_SLOW, LEAST_FAST, LEAST_GAP = 5.0, 0.25, 60.0  # seconds
NEVER = -(1 << 40)


class Seen(msgspec.Struct, frozen=True):
    """What was seen at a row: `kind` is slow, fast, steady, gap or jump; `seconds` how long, or how far."""

    kind: str
    row: int
    ts: float
    seconds: float
    usual: float = 0.0
    since_row: int = 0
    since_ts: float = 0.0


class Arrival:
    """The arrival of one stream's rows, learned from its first `rows` and at least so many `hours`."""

    def __init__(self, rows: int, hours: float, block_rows: int) -> None:
        self.rows, self.seconds = rows, hours * 3600
        self.window = -(-WINDOW_ROWS // block_rows) * block_rows
        self.rates = Rates(np.ones((2, 1)), np.zeros((2, 1)), np.ones((2, 1)), 1, CALM_WINDOWS)
        self.state: dict[str, NDArray[Any]] = {
            "last_ts": np.full(1, np.nan),
            "window_ts": np.full(1, np.nan),
            "first_ts": np.full(1, np.nan),
            "share": np.zeros(2),  # of this window, and of all rows that were learned from
            "extremes": np.array([np.inf, 0.0]),
            "windows": np.zeros(1, dtype=np.int64),
            "gaps": np.zeros(GAPS),
            "learned": np.zeros(1, dtype=np.int64),  # rows
            "jump_row": np.full(1, NEVER, dtype=np.int64),
        }

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The state, for keeping."""
        return {**self.state, **{f"rates.{name}": array for name, array in self.rates.arrays.items()}}

    def put(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from a state."""
        self.state = {name: arrays[name] for name in self.state}
        self.rates.put({name: arrays[f"rates.{name}"] for name in self.rates.arrays})
        self._set_rates()

    def look(self, ts: Floats, first_row: int, shares: list[float]) -> list[Seen]:
        """Take in whole blocks of rows, each of which may spend its share; what is to be told, in order."""
        before = np.concatenate((self.state["last_ts"], ts))
        gaps = before[1:] - before[:-1]
        self.state["last_ts"] = ts[-1:].copy()
        found = self._jumps(ts, gaps, first_row)
        learned = int(self.state["learned"][0])
        if learned and gaps.max() > self._longest_gap:
            long = np.flatnonzero((gaps > self._longest_gap) & (gaps <= AHEAD))
            usual = float(self.state["gaps"][-1])
            found += [
                Seen("gap", first_row + at, float(ts[at]), float(gaps[at]), usual, 0, float(before[at]))
                for at in long.tolist()
            ]
        block_rows = len(ts) // len(shares)
        begin = 0
        while begin < len(ts):
            end = min(len(ts), begin + self.window - (first_row + begin) % self.window)
            for block in range(begin // block_rows, end // block_rows):
                self.state["share"][0] += shares[block]
            if not self.state["learned"][0]:
                self._learn_gaps(gaps[begin:end])
            if (first_row + end) % self.window == 0:
                found += self._close(ts[begin:end], gaps[begin:end], first_row + end)
            begin = end
        return sorted(found, key=lambda seen: seen.row)

    def _jumps(self, ts: Floats, gaps: Floats, first_row: int) -> list[Seen]:
        found = []
        for at in np.flatnonzero((gaps < -BACK) | (gaps > AHEAD)).tolist():
            row = first_row + at
            if row - int(self.state["jump_row"][0]) > QUIET_ROWS:
                found.append(Seen("jump", row, float(ts[at]), float(gaps[at]), 0.0, row, float(ts[at])))
            self.state["jump_row"][0] = row
        return found

    def _learn_gaps(self, gaps: Floats) -> None:
        kept = gaps[(gaps > 0) & (gaps <= AHEAD)]
        self.state["gaps"] = np.sort(np.concatenate((self.state["gaps"], kept)))[-GAPS:]

    def _close(self, ts: Floats, gaps: Floats, rows: int) -> list[Seen]:
        """A window is complete; `rows` is the number of rows so far."""
        state = self.state
        end, begin, weight = float(ts[-1]), float(state["window_ts"][0]), float(state["share"][0])
        state["window_ts"][0], state["share"][0] = end, 0.0
        seconds = end - begin
        sane = seconds >= 0 and not ((gaps < -BACK) | (gaps > AHEAD)).any()
        if not state["learned"][0]:
            self._learn(seconds if sane else math.nan, end, rows, weight)
            return []
        shortest, longest = state["extremes"].tolist()
        slow = sane and seconds > max(TIMES * longest, LEAST_SLOW)
        fast = sane and shortest > LEAST_FAST and seconds < shortest / TIMES
        marked = np.array([[[slow]], [[fast]]])
        _, turns = self.rates.advance(Marks(marked, [weight], ts[-1:], rows // self.window - 1), 0)
        return [self._seen(turn, rows, end, seconds) for turn in turns]

    def _seen(self, turn: Turn, rows: int, ts: float, seconds: float) -> Seen:
        usual = float(self.state["extremes"][1 if turn.check == SLOW else 0])
        kind = ("slow", "fast")[turn.check] if turn.raised else "steady"
        window, since_ts = self.rates.since(turn.check, 0)
        return Seen(kind, rows - 1, ts, seconds, usual, window * self.window, since_ts)

    def _learn(self, seconds: float, ts: float, rows: int, weight: float) -> None:
        state = self.state
        state["share"][1] += weight
        if seconds == seconds:
            state["windows"][0] += 1
            shortest, longest = state["extremes"].tolist()
            state["extremes"][:] = min(shortest, seconds), max(longest, seconds)
        if math.isnan(state["first_ts"][0]):
            state["first_ts"][0] = ts
        if rows >= self.rows and ts - float(state["first_ts"][0]) >= self.seconds:
            state["learned"][0] = rows
            self._set_rates()

    def _set_rates(self) -> None:
        """What follows from what was learned."""
        learned, windows = int(self.state["learned"][0]), float(self.state["windows"][0])
        shortest, longest = self.state["extremes"].tolist()
        known = learned > 0 and longest > 0
        self.rates.set_known(
            np.ones((2, 1)), np.array([[windows * known], [windows * (known and shortest > 0)]])
        )
        gaps, share = self.state["gaps"], float(self.state["share"][1])
        self._longest_gap = math.inf
        if known and gaps[0] > 0 and share > 0:
            longest_gap = float(gaps[-1]) * max(LONG, tail_factor(gaps, max(1.0, 1 / share)))
            self._longest_gap = max(longest_gap, LEAST_GAP)
