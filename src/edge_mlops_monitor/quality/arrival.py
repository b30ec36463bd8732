"""Rate of arrival and the data's own clock: rows too fast, too slow, after a pause, or from another time.

How long 25 rows take is learned from a stream's first rows. A window of 25 is marked where it takes more
than twice the longest or less than half of the shortest of these; of `n` healthy windows the next exceeds
the extremes with probability 1 / (n + 1), whatever their distribution. Pauses and silence are in
`pauses.py`. A step of the clock back by more than an hour, or ahead by more than thirty days, is told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.quality.pauses import KEPT, LEAST_GAP, NEVER, Silence, Told, Waits, limit
from edge_mlops_monitor.quality.rates import Marks, Rates, Turn

Floats = NDArray[np.float64]

WINDOW_ROWS = 25
SLOW, FAST = 0, 1
TIMES = 2.0  # times the longest, or the shortest over it
BACK, AHEAD = 3600.0, 30 * 86400.0  # seconds by which a clock that was set jumps
QUIET_ROWS = 1000  # without a jump until the next is told
CALM_WINDOWS = 4

# Faster than this nobody minds: a program that computes at full speed pauses as it pleases.
LEAST_SLOW, LEAST_FAST = 5.0, 0.25  # seconds


class Seen(msgspec.Struct, frozen=True):
    """What was seen at a row: `kind` is slow, fast, steady, gap, silent, back or jump; `seconds` how long."""

    kind: str
    row: int
    ts: float
    seconds: float
    usual: float = 0.0
    since_row: int = 0
    since_ts: float = 0.0


class Known(msgspec.Struct):
    """What is known of a stream's arrival; times are Unix seconds, NaN before there are any."""

    last_ts: float = math.nan
    window_ts: float = math.nan  # the last row before this window
    first_ts: float = math.nan
    share: float = 0.0  # of the budget: of this window,
    learned_share: float = 0.0  # and of all rows that were learned from
    shortest: float = math.inf  # windows
    longest: float = 0.0
    windows: int = 0
    gaps: list[float] = []  # the longest, in order
    learned: int = 0  # rows
    jump_row: int = NEVER
    told: Told = msgspec.field(default_factory=Told)
    waits: Waits = msgspec.field(default_factory=Waits)


class Arrival:
    """The arrival of one stream's rows, learned from its first `rows` and at least so many `hours`."""

    def __init__(self, rows: int, hours: float, block_rows: int) -> None:
        self.rows, self.seconds = rows, hours * 3600
        self.window = -(-WINDOW_ROWS // block_rows) * block_rows
        self.rates = Rates(np.ones((2, 1)), np.zeros((2, 1)), np.ones((2, 1)), 1, CALM_WINDOWS)
        self.silence = Silence(self.seconds)
        self.put(Known(), self.rates.arrays)

    def put(self, known: Known, rates: dict[str, NDArray[Any]]) -> None:
        """Go on from a state."""
        self.known, self.silence.waits = known, known.waits
        self.rates.put(rates)
        self._set_rates()

    def look(self, ts: Floats, first_row: int, shares: list[float]) -> list[Seen]:
        """Take in whole blocks of rows, each of which may spend its share; what is to be told, in order."""
        known, rows, block_rows = self.known, len(ts), len(ts) // len(shares)
        gaps = np.empty(rows)
        gaps[0] = ts[0] - known.last_ts
        np.subtract(ts[1:], ts[:-1], out=gaps[1:])
        least, most = float(gaps.min()), float(gaps.max())
        jumps = [known.jump_row]
        found = [] if least >= -BACK and most <= AHEAD else self._jumps(ts, gaps, first_row, jumps)
        if self.known.waits.is_open:
            found += self.back(ts, first_row)
        if most > self._longest_gap:
            found += self._pauses(ts, gaps, first_row)
        known.last_ts = float(ts[-1])
        begin = 0
        while begin < rows:
            end = min(rows, begin + self.window - (first_row + begin) % self.window)
            for share in shares[begin // block_rows : end // block_rows]:
                known.share += share
            if not (known.learned or (len(known.gaps) == KEPT and most <= known.gaps[0])):
                self._learn_gaps(gaps[begin:end])
            if (first_row + end) % self.window == 0:
                found += self._close(float(ts[end - 1]), first_row + end, jumps)
            begin = end
        return sorted(found, key=lambda seen: seen.row) if len(found) > 1 else found

    def _jumps(self, ts: Floats, gaps: Floats, first_row: int, jumps: list[int]) -> list[Seen]:
        """Clocks that were set; the rows at which they were are added to `jumps`."""
        found = []
        for at in np.flatnonzero((gaps < -BACK) | (gaps > AHEAD)).tolist():
            row = first_row + at
            if row - jumps[-1] > QUIET_ROWS:
                found.append(Seen("jump", row, float(ts[at]), float(gaps[at]), 0.0, row, float(ts[at])))
            jumps.append(row)
        self.known.jump_row = jumps[-1]
        return found

    def _pauses(self, ts: Floats, gaps: Floats, first_row: int) -> list[Seen]:
        """Pauses that are not usual, but for those that were told while they lasted."""
        known, found = self.known, []
        for at in np.flatnonzero((gaps > self._longest_gap) & (gaps <= AHEAD)).tolist():
            row, seconds = first_row + at, float(gaps[at])
            since_ts = float(ts[at - 1]) if at else known.last_ts
            if row > known.waits.row and known.told.is_news(seconds, row):
                known.told.add(seconds, row)
                found.append(Seen("gap", row, float(ts[at]), seconds, known.gaps[-1], 0, since_ts))
            known.told.row = row
        return found

    def _learn_gaps(self, gaps: Floats) -> None:
        kept = gaps[(gaps > 0) & (gaps <= AHEAD)]
        self.known.gaps = sorted([*self.known.gaps, *kept.tolist()])[-KEPT:]

    def _close(self, end: float, rows: int, jumps: list[int]) -> list[Seen]:
        """A window is complete, with the row of time `end`; `rows` is the number of rows so far."""
        known, weight = self.known, self.known.share
        seconds = end - known.window_ts
        known.window_ts, known.share = end, 0.0
        sane = seconds >= 0 and not any(rows - self.window <= row < rows for row in jumps)
        if not known.learned:
            self._learn(seconds if sane else math.nan, end, rows, weight)
            return []
        slow = sane and seconds > max(TIMES * known.longest, LEAST_SLOW)
        fast = sane and known.shortest > LEAST_FAST and seconds < known.shortest / TIMES
        if not (slow or fast or self.rates.any_raised):  # nothing to weigh
            self.rates.blocks += 1
            self.rates.spent += weight
            return []
        marks = Marks(np.array([[[slow]], [[fast]]]), [weight], np.array([end]), rows // self.window - 1)
        _, turns = self.rates.advance(marks, 0)
        return [self._seen(turn, rows, end, seconds) for turn in turns]

    def _seen(self, turn: Turn, rows: int, ts: float, seconds: float) -> Seen:
        usual = self.known.longest if turn.check == SLOW else self.known.shortest
        kind = ("slow", "fast")[turn.check] if turn.raised else "steady"
        window, since_ts = self.rates.since(turn.check, 0)
        return Seen(kind, rows - 1, ts, seconds, usual, window * self.window, since_ts)

    def _learn(self, seconds: float, ts: float, rows: int, weight: float) -> None:
        known = self.known
        known.learned_share += weight
        if seconds == seconds:
            known.windows += 1
            known.shortest, known.longest = min(known.shortest, seconds), max(known.longest, seconds)
        if math.isnan(known.first_ts):
            known.first_ts = ts
        if rows >= self.rows and ts - known.first_ts >= self.seconds:
            known.learned = rows
            self._set_rates()

    def _set_rates(self) -> None:
        """What follows from what was learned."""
        known = self.known
        varies = known.learned > 0 and known.longest > 0
        windows = [[float(known.windows * varies)], [float(known.windows * (varies and known.shortest > 0))]]
        self.rates.set_known(np.ones((2, 1)), np.array(windows))
        self._longest_gap = limit(known.gaps, known.learned_share) if varies else math.inf

    def listen(self, now: float, rows: int, newest: float) -> list[Seen]:
        """Whether the stream, of which `rows` came so far, the latest of time `newest`, is silent.

        Where arrival is known to be too fast or too slow, nothing more is said about it.
        """
        known, waits, quiet = self.known, self.known.waits, self.silence.quiet
        if quiet <= LEAST_GAP or not (known.learned and self.silence.is_learned):
            return []
        if waits.is_open or self.rates.any_raised or quiet <= limit(waits.longest, known.learned_share):
            return []
        if not known.told.is_news(quiet, rows):
            return []
        known.told.add(quiet, rows)
        waits.row, waits.since, waits.is_open = rows, newest, True
        return [Seen("silent", rows - 1, now, quiet, waits.longest[-1], rows, newest)]

    def back(self, ts: Sequence[float] | Floats, first_row: int) -> list[Seen]:
        """The end of a silence, if the row that was missed is among these, which begin at `first_row`."""
        waits = self.known.waits
        at = waits.row - first_row
        if not (waits.is_open and at < len(ts)):
            return []
        waits.is_open = False
        seconds = float(ts[at]) - waits.since
        self.known.told.add(seconds, waits.row)
        return [Seen("back", waits.row, float(ts[at]), seconds)]
