"""The checks of data quality on one stream, beside the drift decisions.

Rows that a check marks are withheld from the drift evidence, so that a fault is reported as what it is.
A feature has one open fault at most; while it has drifted, only stuck-at and wrong types are reported
beside that, since a change of the distribution makes the other checks mark rows too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift import findings
from edge_mlops_monitor.drift.arriving import EACH_STREAM_CHECK, part_of
from edge_mlops_monitor.drift.batch import WITHHELD, Batch
from edge_mlops_monitor.drift.budget import SHARES
from edge_mlops_monitor.drift.findings import Where, scale_of
from edge_mlops_monitor.drift.groups import arrays_of
from edge_mlops_monitor.drift.reference import FeatureReference, Stream
from edge_mlops_monitor.quality import sentences
from edge_mlops_monitor.quality.constants import FREQUENT, Constants
from edge_mlops_monitor.quality.duplicates import Duplicates
from edge_mlops_monitor.quality.extremes import BEYOND, Extremes
from edge_mlops_monitor.quality.healthy import Healthy
from edge_mlops_monitor.quality.rates import Marks, Rates, Turn
from edge_mlops_monitor.quality.sentences import Fault
from edge_mlops_monitor.quality.stuck import StuckChange, StuckCheck
from edge_mlops_monitor.quality.wrong_type import no_texts, texts
from edge_mlops_monitor.records import DriftResult, Event

Floats = NDArray[np.float64]
Whole = Callable[[NDArray[np.bool_]], NDArray[np.bool_]]
Found = list[tuple[int, "DriftResult | Event"]]  # with the block in which it was found

TYPE, CONSTANT, SPIKE, RANGE = range(4)
CHECKS = 4
RECORDS = "records"  # in place of a feature, where whole rows are at fault
BESIDE_DRIFT = (TYPE,)  # besides stuck-at
# Of the share of the budget for data quality: a part for each check of a feature, stuck-at included.
EACH_CHECK = 0.16
CONTEXT_ROWS = 25  # by which a fault is named
# What is left of a distribution that was cut off or is elsewhere says nothing about drift.
WHOLLY_WITHHELD = ("range", "clipping")


class Judge(Protocol):
    """Who decides about drift."""

    names: list[str]
    alarms: dict[str, dict[str, Any]]

    def take(self, batch: Batch, features: int) -> Found:
        """Take in whole blocks of rows."""

    def clear(self, feature: int) -> None:
        """Let the evidence begin anew."""


class _Looked(msgspec.Struct):
    """What the checks saw in a batch."""

    marks: Marks
    at_constant: NDArray[np.bool_] | None
    stuck: list[StuckChange]
    before: Floats  # the rows before the batch
    columns: Mapping[str, Any]
    repeated: Found


class Checking:
    """The checks of several features, and what is open: by feature its type, event and beginning."""

    def __init__(self, stream: Stream, names: Sequence[str], references: Sequence[FeatureReference]) -> None:
        self.stream, self.names, self.references = stream, list(names), list(references)
        self.open: dict[str, dict[str, Any]] = {}
        known = [one.quality or Healthy(rows=0) for one in references]
        self._healthy = known
        self._numeric = np.array([one.numeric for one in references], dtype=bool)
        self._all_numeric = bool(self._numeric.all())
        self._unseen = np.array([one.bins.size - 2 for one in references], dtype=np.int64)
        self.stuck = StuckCheck([one.runs for one in references])
        self._stands: dict[str, NDArray[np.bool_]] = {}  # which features never change in a context
        for feature, one in enumerate(references):
            for name in (name for name, context in one.contexts.items() if context.stands):
                self._stands.setdefault(name, np.zeros(len(names), dtype=bool))[feature] = True
        self.extremes = Extremes(
            np.array([-np.inf if one.least is None else one.least for one in known]),
            np.array([np.inf if one.most is None else one.most for one in known]),
            np.array([np.inf if one.jump is None else one.jump for one in known]),
        )
        self.constants = Constants(
            np.array([h.rows > 0 and h.falls < FREQUENT * h.rows for h in known], dtype=bool)
        )
        self.recent = np.full((CONTEXT_ROWS, len(known)), np.nan)  # the last rows
        self.rates = _rates(references, known)
        self.duplicates, self.records = _duplicates(names, known)

    def adopt(self, other: Checking, features: list[int]) -> None:
        """Go on from the state of some features of another, which are the first of this."""
        for mine, theirs in zip(self._states(), other._states(), strict=True):
            for name, array in mine.items():
                array[..., : len(features)] = theirs[name][..., features]
        self.rates.adopt(other.rates, features)
        self.records.adopt(other.records, [0])
        self.open = {name: data for name, data in other.open.items() if name in (*self.names, RECORDS)}

    def _states(self) -> list[dict[str, NDArray[Any]]]:
        states = [self.stuck.state, self.extremes.state, self.constants.state, self.duplicates.state]
        return [*states, {"recent": self.recent}]

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The state, for keeping."""
        found = {f"{i}.{name}": array for i, one in enumerate(self._states()) for name, array in one.items()}
        found |= {f"rates.{name}": array for name, array in self.rates.arrays.items()}
        return found | {f"records.{name}": array for name, array in self.records.arrays.items()}

    def put(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state."""
        for i, one in enumerate(self._states()):
            for name, array in one.items():
                array[...] = arrays[f"{i}.{name}"]
        self.rates.put({name: arrays[f"rates.{name}"] for name in self.rates.arrays})
        self.records.put({name: arrays[f"records.{name}"] for name in self.records.arrays})

    def take(
        self, batch: Batch, columns: Mapping[str, Any], features: int, judge: Judge, whole: Whole
    ) -> Found:
        """Check blocks of rows and let `judge` decide about drift in what is left of them.

        `whole` widens repeats to all that was measured on the same array.
        """
        if not self.names:
            return judge.take(batch, features)
        looked = self._look(batch, columns, features, whole)
        found = looked.repeated
        block = 0
        while block < batch.blocks:
            end, turns = self.rates.advance(looked.marks, block)
            before = end - 1 if turns else end
            found += self._judged(batch, looked, block, before, features, judge)
            for change in looked.stuck:
                if block <= change.block < end:
                    found += self._stuck(change, batch)
            for turn in turns:
                found += self._turned(turn, end - 1, batch, looked, judge)
            found += self._judged(batch, looked, before, end, features, judge)
            block = end
        return found

    def _look(self, batch: Batch, columns: Mapping[str, Any], features: int, whole: Whole) -> _Looked:
        """Run the checks over a batch, and withhold what they marked."""
        weights = batch.shares * (SHARES["quality"] * EACH_CHECK / max(1, features))
        before = self.recent
        self.recent = np.concatenate((before[len(batch.ts) :], batch.values[-CONTEXT_ROWS:]))
        copies = self.duplicates.look(batch.values, batch.codes)
        wrong = self._wrong_types(batch, columns)
        constants = self.constants.look(batch.values, batch.first_row, batch.rows)
        extremes = self.extremes.look(batch.values)
        stuck = self._withhold_repeats(batch, weights, whole, copies)
        if copies is not None:
            batch.codes[copies] = WITHHELD
        marked = np.zeros((CHECKS, *batch.values.shape), dtype=bool)
        if wrong is not None:
            marked[TYPE] = wrong
        if extremes is not None:
            out, marked[RANGE], marked[SPIKE] = extremes
            batch.codes[out | _rows_before(marked[SPIKE], batch.rows)] = WITHHELD
        if constants is not None:
            at, marked[CONSTANT] = constants
            marked[RANGE] &= ~at[1:]
            marked[SPIKE] &= ~at[:-1]
        if copies is not None:
            marked[:, copies] = False  # it is the records that are at fault
        marks = Marks(marked, weights.tolist(), batch.ts, batch.first_row)
        at_constant = None if constants is None else constants[0][1:]
        return _Looked(marks, at_constant, stuck, before, columns, self._repeated(batch, copies, features))

    def _repeated(self, batch: Batch, copies: NDArray[np.bool_] | None, features: int) -> Found:
        """What there is to say about duplicated records."""
        if self.duplicates.screen < 0:
            return []
        part = part_of(self.names, features)
        weights = (batch.shares * (SHARES["quality"] * EACH_STREAM_CHECK * part)).tolist()
        marked = np.zeros((1, len(batch.ts), 1), dtype=bool)
        if copies is not None:
            marked[0, :, 0] = copies
        marks, found, block = Marks(marked, weights, batch.ts, batch.first_row), Found(), 0
        while block < batch.blocks:
            block, turns = self.records.advance(marks, block)
            for turn in turns:
                where = Where(self.stream, RECORDS, batch.last_row(block - 1), batch.last_ts(block - 1))
                found.append((block - 1, self._over(where) if not turn.raised else self._duplicated(where)))
        return found

    def _duplicated(self, where: Where) -> Event:
        since_row, since_ts = self.records.since(0, 0)
        fault = sentences.duplicates(self.records.share(0, 0, where.row))
        event = findings.fault(where, fault, since_ts, since_row)
        self.open[RECORDS] = _opened(event, fault.over)
        return event

    def _withhold_repeats(
        self, batch: Batch, weights: Floats, whole: Whole, copies: NDArray[np.bool_] | None
    ) -> list[StuckChange]:
        if not self.stuck.checked:
            return []
        shares, anew = weights / batch.rows, copies
        if (standing := self._standing(batch)) is not None:
            anew = standing if copies is None else standing | copies[:, None]
        withheld, changes = self.stuck.check(batch.values, batch.ts, batch.first_row, shares, anew)
        if withheld is not None:
            batch.codes[whole(withheld)] = WITHHELD
        return changes

    def _standing(self, batch: Batch) -> NDArray[np.bool_] | None:
        """Which values (rows, features) are in a context in which they never change; None if none is."""
        if batch.contexts is None or not self._stands:
            return None
        never = np.zeros(len(self.names), dtype=bool)
        found = np.array([self._stands.get(name, never) for name in batch.contexts])
        return np.repeat(found, batch.rows, axis=0) if found.any() else None

    def _wrong_types(self, batch: Batch, columns: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """Rows that hold a wrong type, which are withheld; None where there are none."""
        suspect = np.isnan(batch.values)
        if not self._all_numeric:
            suspect = np.where(self._numeric, suspect, batch.codes == self._unseen)
        if not np.count_nonzero(suspect):
            return None
        marked = None
        for feature in np.flatnonzero(suspect.any(axis=0) & self.rates.on[TYPE]).tolist():
            column = columns.get(self.names[feature])
            if column is None:
                continue
            look = texts if self._numeric[feature] else no_texts
            rows = look(column, np.flatnonzero(suspect[:, feature]).tolist())
            if rows:
                marked = np.zeros(suspect.shape, dtype=bool) if marked is None else marked
                marked[rows, feature] = True
        if marked is not None:
            batch.codes[marked] = WITHHELD
        return marked

    def _judged(
        self, batch: Batch, looked: _Looked, begin: int, end: int, features: int, judge: Judge
    ) -> Found:
        """Let `judge` decide about some of the blocks."""
        if begin == end:
            return []
        part = batch.part(begin, end)
        rows = slice(begin * batch.rows, end * batch.rows)
        for name, data in self.open.items():
            if name == RECORDS:
                continue
            feature = self.names.index(name)
            if data["type"] in WHOLLY_WITHHELD:
                part.codes[:, feature] = WITHHELD
            elif data["type"] == "dropout" and looked.at_constant is not None:
                part.codes[looked.at_constant[rows, feature], feature] = WITHHELD
        return [(begin + block, finding) for block, finding in judge.take(part, features)]

    def _turned(self, turn: Turn, block: int, batch: Batch, looked: _Looked, judge: Judge) -> Found:
        name = self.names[turn.feature]
        where = Where(self.stream, name, batch.last_row(block), batch.last_ts(block))
        if not turn.raised:
            return [(block, self._over(where))]
        drifted = name in judge.alarms
        if name in self.open or (drifted and turn.check not in BESIDE_DRIFT):
            self.rates.empty(turn.check, turn.feature)
            return []
        fault = self._fault(turn, block, batch, looked)
        since_row, since_ts = self.rates.since(turn.check, turn.feature)
        event = findings.fault(where, fault, since_ts, since_row)
        self.open[name] = _opened(event, fault.over)
        if not drifted:
            judge.clear(turn.feature)  # of what the faulty rows before this block seemed to say
        return [(block, event)]

    def _over(self, where: Where) -> Event:
        opened = self.open.pop(where.feature)
        return findings.recovery(where, opened["type"], opened["over"], opened["since"])

    def _fault(self, turn: Turn, block: int, batch: Batch, looked: _Looked) -> Fault:
        """What is wrong, from the marked rows of the last block."""
        feature, first = turn.feature, block * batch.rows
        rows = first + np.flatnonzero(looked.marks.marked[turn.check, first : first + batch.rows, feature])
        share = self.rates.share(turn.check, feature, batch.last_row(block))
        healthy, reference = self._healthy[feature], self.references[feature]
        if turn.check == TYPE:
            value = looked.columns[self.names[feature]][int(rows[-1])]
            return sentences.wrong_type(share, value, reference.numeric)
        if turn.check == CONSTANT:
            found, counts = np.unique(batch.values[rows, feature], return_counts=True)
            value = float(found[counts.argmax()])
            end = CONTEXT_ROWS + first + batch.rows
            inside = np.concatenate((looked.before, batch.values))[end - CONTEXT_ROWS : end, feature]
            others = inside[(inside != value) & ~np.isnan(inside)]
            clipped = sentences.is_clipped(value, others, healthy.low, healthy.high, scale_of(reference))
            return sentences.constant(share, value, healthy.falls / healthy.rows, clipped)
        if turn.check == RANGE:
            value = float(batch.values[rows[-1], feature])
            return sentences.out_of_range(share, value, healthy.low, healthy.high)
        spiked = np.concatenate((looked.before[-1:], batch.values))[rows, feature]
        value = float(spiked[np.abs(spiked - (healthy.low + healthy.high) / 2).argmax()])
        return sentences.spikes(share, value, healthy.low, healthy.high)

    def _stuck(self, change: StuckChange, batch: Batch) -> Found:
        block, name = change.block, self.names[change.feature]
        where = Where(self.stream, name, batch.last_row(block), batch.last_ts(block))
        if not change.stuck:
            is_stuck = self.open.get(name, {}).get("type") == "stuck"
            return [(block, self._over(where))] if is_stuck else []
        if name in self.open:
            return []
        longest = int(self.stuck.longest[change.feature])
        event = findings.stuck(where, change.value, change.run, longest, change.since_ts, change.since_row)
        self.open[name] = _opened(event, "moves again")
        return [(block, event)]

    def clear(self) -> None:
        """Forget what is open; a fault that goes on is found anew."""
        for name in self.open:
            if name == RECORDS:
                self.records.empty(0, 0)
                continue
            for check in range(CHECKS):
                self.rates.empty(check, self.names.index(name))
        self.open = {}

    def status(self, name: str) -> dict[str, Any]:
        """The state of a feature with an open fault; empty where there is none."""
        opened = self.open.get(name)
        if opened is None:
            return {}
        state = "stuck" if opened["type"] == "stuck" else "alarm"
        return {"state": state, **{key: value for key, value in opened.items() if key != "over"}}


def _opened(event: Event, over: str) -> dict[str, Any]:
    """What is kept of an alarm while it is open; `over` is what its end is called."""
    kept = {name: event.data[name] for name in ("since", "effect")}
    return {"type": event.type, "event": event.id, **kept, "over": over}


def _duplicates(names: Sequence[str], known: Sequence[Healthy]) -> tuple[Duplicates, Rates]:
    """The check of duplicated records, and how often healthy rows of its feature repeat."""
    share = np.array([one.echoes / one.rows if one.rows and one.high > one.low else np.nan for one in known])
    single = {name for name in names if name.startswith("inputs.")} - arrays_of(names).keys()
    found = Duplicates(share, np.array([name in single for name in names], dtype=bool))
    a, b, burst = np.full((1, 1), 0.5), np.zeros((1, 1)), np.ones((1, 1))
    if found.screen >= 0:
        healthy = known[found.screen]
        burst[:] = healthy.echoes_burst
        a += healthy.echoes / burst
        b += (healthy.rows - healthy.echoes) / burst + 0.5
    return found, Rates(a, b, burst)


def _rows_before(spikes: NDArray[np.bool_], block_rows: int) -> NDArray[np.bool_]:
    """The spikes themselves, where they are in the same block as the row by which they are known."""
    found = np.zeros(spikes.shape, dtype=bool)
    found[:-1] = spikes[1:]
    found[block_rows - 1 :: block_rows] = False
    return found


def _rates(references: Sequence[FeatureReference], known: Sequence[Healthy]) -> Rates:
    """What the references say about how often healthy rows are marked, by check and feature."""
    shape = (CHECKS, len(known))
    a, b, burst = np.full(shape, 0.5), np.zeros(shape), np.ones(shape)
    for feature, (reference, healthy) in enumerate(zip(references, known, strict=True)):
        rows = float(healthy.rows)
        if rows and (reference.numeric or healthy.text_only):
            burst[TYPE, feature] = each = healthy.texts_burst
            a[TYPE, feature] = healthy.texts / each + 0.5
            b[TYPE, feature] = rows / each + 0.5
        if not rows or not healthy.high > healthy.low:
            continue
        for check, tails, each in (
            (RANGE, 2, healthy.extremes_burst),
            (SPIKE, 3, healthy.jumps_burst),
        ):
            a[check, feature], burst[check, feature] = 1.0, each
            b[check, feature] = BEYOND / tails * rows / each
        if healthy.falls < FREQUENT * rows:
            each = healthy.falls_burst
            burst[CONSTANT, feature] = each
            a[CONSTANT, feature] = healthy.falls / each + 0.5
            b[CONSTANT, feature] = (rows - healthy.falls) / each + 0.5
    return Rates(a, b, burst)
