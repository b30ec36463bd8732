"""What is said about the arrival of a stream's rows, and about the clock of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_mlops_monitor.drift import findings
from edge_mlops_monitor.drift.batch import Batch
from edge_mlops_monitor.drift.budget import SHARES
from edge_mlops_monitor.drift.findings import Where, clock
from edge_mlops_monitor.drift.learning import learning_hours, learning_rows
from edge_mlops_monitor.drift.reference import Stream
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.quality.arrival import Arrival, Seen
from edge_mlops_monitor.records import Event

# Of the share of the budget for data quality: a part for what concerns a stream's rows as a whole,
# divided evenly over arrival too slow, too fast, and after a gap, and duplicated records.
EACH_STREAM_CHECK = 0.05
SUBJECT, CLOCK = "arrival", "clock"  # in place of a feature
OVER = {"steady": "is as usual again", "back": "goes on"}


class Arriving:
    """The arrival of one stream's rows; `open` holds its alarm, as those about features are held."""

    def __init__(self, settings: Settings, stream: Stream, block_rows: int) -> None:
        self.stream = stream
        self.arrival = Arrival(learning_rows(settings), learning_hours(settings), block_rows)
        self.open: dict[str, dict[str, Any]] = {}

    def take(self, batch: Batch, part: float) -> list[tuple[int, Event]]:
        """Take in whole blocks; `part` is this stream's part of the budget, by its features."""
        shares = (batch.shares * (SHARES["quality"] * EACH_STREAM_CHECK * part)).tolist()
        seen = self.arrival.look(batch.ts, batch.first_row, shares)
        told = [((one.row - batch.first_row) // batch.rows, self._told(one)) for one in seen]
        return [(block, event) for block, event in told if event is not None]

    def _told(self, seen: Seen) -> Event | None:
        where = Where(self.stream, CLOCK if seen.kind == "jump" else SUBJECT, seen.row, seen.ts)
        if seen.kind == "jump":
            return _jump(where, seen)
        if seen.kind == "gap":
            return None if self.open else _gap(where, seen)
        if seen.kind in OVER:
            return self._over(where, OVER[seen.kind])
        event = _silent(where, seen) if seen.kind == "silent" else _rate(where, seen, self.arrival.window)
        self.open[SUBJECT] = {
            "type": "arrival",
            "event": event.id,
            "since": seen.since_ts,
            "effect": event.data["effect"],
        }
        return event

    def _over(self, where: Where, words: str) -> Event:
        return findings.recovery(where, "arrival", words, self.open.pop(SUBJECT)["since"])

    def wait(self, seconds: float, rows: int) -> None:
        """Take in that so many seconds passed, and that the stream now has so many rows."""
        self.arrival.silence.look(seconds, rows, not self.arrival.known.learned)

    def listen(self, now: float, first_row: int, pending_ts: list[float], newest: float) -> list[Event]:
        """Whether the stream is silent, or goes on with the rows short of a block from `first_row` on."""
        seen = self.arrival.back(pending_ts, first_row)
        seen += self.arrival.listen(now, first_row + len(pending_ts), newest)
        return [event for one in seen if (event := self._told(one)) is not None]

    def supersede(self, row: int, ts: float) -> list[Event]:
        """End the silence of a model that is no longer used."""
        waits = self.arrival.known.waits
        if not waits.is_open:
            return []
        waits.is_open = False
        return [self._over(Where(self.stream, SUBJECT, row, ts), findings.REPLACED)]


def _rate(where: Where, seen: Seen, rows: int) -> Event:
    slow = seen.kind == "slow"
    bound = "at most" if slow else "at least"
    message = (
        f"{where.subject} is too {seen.kind} since {clock(seen.since_ts, seen.since_row)} "
        f"({rows} rows in {seen.seconds:.4g} s; {bound} {seen.usual:.4g} s in the first rows)"
    )
    data = {
        "method": "arrival",
        "effect": seen.seconds / seen.usual,
        "effect_unit": "times the longest" if slow else "times the shortest",
        "since": seen.since_ts,
        "since_index": seen.since_row,
        "before": {"seconds": seen.usual},
        "after": {"seconds": seen.seconds},
    }
    return findings.event("arrival", "alarm", where, message, data)


def _silent(where: Where, seen: Seen) -> Event:
    message = (
        f"{where.subject} has been silent since {clock(seen.since_ts, seen.since_row)} "
        f"(nothing for {seen.seconds:.4g} s; at most {seen.usual:.4g} s in the first rows)"
    )
    data = {
        "method": "silence",
        "effect": seen.seconds,
        "effect_unit": "seconds",
        "since": seen.since_ts,
        "since_index": seen.since_row,
        "longest_gap": seen.usual,
    }
    return findings.event("arrival", "alarm", where, message, data)


def _gap(where: Where, seen: Seen) -> Event:
    message = (
        f"{where.subject} paused for {seen.seconds:.4g} s since {clock(seen.since_ts, seen.row)} "
        f"(the longest gap of the first rows is {seen.usual:.4g} s)"
    )
    data = {
        "method": "gap",
        "effect": seen.seconds,
        "effect_unit": "seconds",
        "since": seen.since_ts,
        "longest_gap": seen.usual,
    }
    return findings.event("arrival", "warning", where, message, data)


def _jump(where: Where, seen: Seen) -> Event:
    direction = "back" if seen.seconds < 0 else "ahead"
    message = f"{where.subject} steps {direction} by {abs(seen.seconds):.4g} s, to {clock(seen.ts, seen.row)}"
    data = {
        "method": "clock_jump",
        "effect": seen.seconds,
        "effect_unit": "seconds",
        "since": seen.ts,
        "since_index": seen.row,
    }
    return findings.event("clock_jump", "warning", where, message, data)


def part_of(names: Sequence[str], features: int) -> float:
    """A stream's part of the budget."""
    return max(1, len(names)) / max(1, len(names), features)
