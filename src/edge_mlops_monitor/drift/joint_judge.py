"""From evidence about pairs of features to findings: one state for the joint behaviour of a stream."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift import findings
from edge_mlops_monitor.drift.batch import WITHHELD, Batch
from edge_mlops_monitor.drift.budget import SHARES
from edge_mlops_monitor.drift.evidence import CALM, FINE, WARNED
from edge_mlops_monitor.drift.findings import Change, Where
from edge_mlops_monitor.drift.joint import JOINT, agreement, sides
from edge_mlops_monitor.drift.joint_recovery import Back
from edge_mlops_monitor.drift.judge import LEVELS, METHOD, Found
from edge_mlops_monitor.drift.pairs import GROUP_ROWS, PairEvidence, Sides
from edge_mlops_monitor.drift.path import ALARMED
from edge_mlops_monitor.drift.reference import FeatureReference, Stream
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.records import DriftResult, Event

Floats = NDArray[np.float64]
Alarms = set[tuple[str, str]]  # open alarms of features: whose, and of what

LOOK_ROWS = 100  # until a pair held back by the minimum effect is looked at again
HOLD_ROWS = 200  # most rows that an alarm waits for a feature to raise its own
LOOKED_AT = 5  # pairs with most of the evidence
NO_DATA = "not_enough_data"
MOST_NAMED = 5  # further pairs
FAR = 4.0  # standard deviations by which a further pair must have changed


class JointJudge:
    """Decides whether the features of a stream still go together as in the reference.

    What a feature does that is in alarm or stuck is its own matter: its rows say nothing about its pairs, and
    those since its change began are taken back. While the joint behaviour is in alarm, no other pair is
    reported.
    """

    def __init__(self, settings: Settings, stream: Stream, reference: FeatureReference) -> None:
        assert reference.pairs is not None
        self.settings, self.stream, self.reference = settings, stream, reference
        self.pairs = reference.pairs
        self.evidence = PairEvidence(self.pairs)
        self.alarm: Back | None = None
        self._low, self._high = np.array(self.pairs.low), np.array(self.pairs.high)
        self.place([])

    def place(self, names: Sequence[str]) -> None:
        """Find the features among those of a batch; one that is not there is missing."""
        index = {name: place for place, name in enumerate(names)}
        found = [
            next((index[key] for key in (name, f"outputs.{name}", f"inputs.{name}") if key in index), -1)
            for name in self.pairs.names
        ]
        self._columns = np.array(found, dtype=np.int64)
        self._absent = self._columns < 0
        self.member = {names[place]: i for i, place in enumerate(found) if place >= 0}

    def concerns(self, names: Iterable[str]) -> bool:
        """Whether any of these features is one of the pairs'."""
        return any(name in self.member for name in names)

    def take(
        self, batch: Batch, features: int, opened: Alarms, warned: set[str], found: Sequence[Any]
    ) -> Found:
        """Take in blocks of rows, with the budget split over so many `features`.

        `opened` are the features' own alarms and `warned` the features in warning before these rows, `found`
        what was found about each feature in them, by block.
        """
        own = _Own(self, batch.blocks, opened, warned, found)
        side = self._sides(batch)
        if own.alarmed.any():
            side *= ~np.repeat(own.alarmed, batch.rows, axis=0)
        rows = _Rows(batch, side, (batch.shares * (SHARES["drift"] / max(1, features))).tolist(), own.warned)
        answers: Found = []
        begin = 0
        for block, feature, since_row in own.began:
            answers += self._through(rows, begin, block)
            self.evidence.drop(feature, since_row, batch.first_row + block * batch.rows - 1)
            begin = block
        return answers + self._through(rows, begin, batch.blocks)

    def _sides(self, batch: Batch) -> Sides:
        if self._absent.all():  # perhaps the batch has no column at all
            return np.zeros((len(batch.ts), len(self._columns)), dtype=np.int8)
        found = sides(batch.values.take(self._columns, axis=1), self._low, self._high)
        silent = batch.codes.take(self._columns, axis=1) == WITHHELD
        silent |= self._absent
        if np.count_nonzero(silent):
            found[silent] = 0
        return found

    def _through(self, rows: _Rows, begin: int, end: int) -> Found:
        """Take in the blocks from `begin` to `end`: the groups that they complete are judged."""
        evidence, batch = self.evidence, rows.batch
        first = batch.first_row + begin * batch.rows
        waiting = first % GROUP_ROWS
        side = rows.side[begin * batch.rows : end * batch.rows]
        joined = np.concatenate((evidence.kept(first - waiting, first - 1), side)) if waiting else side
        groups = len(joined) // GROUP_ROWS
        shares, evidence.state["waiting"][0] = rows.shares(begin, end, float(evidence.state["waiting"][0]))
        whole = joined[: groups * GROUP_ROWS].reshape(groups, GROUP_ROWS, joined.shape[1])
        found: Found = []
        done = first
        group = 0
        while group < groups:
            row = first - waiting + group * GROUP_ROWS
            step = 1
            if self.alarm is None:
                step = evidence.advance(whole[group:], shares[group:], row + GROUP_ROWS)
            group += step
            last = row + step * GROUP_ROWS - 1
            rows.keep(evidence, done, last + 1)
            done = last + 1
            block = (last - batch.first_row) // batch.rows
            where = Where(self.stream, JOINT, last, batch.last_ts(block))
            if self.alarm is not None:
                answers = self._back(self.alarm, whole[group - 1], shares[group - 1], where)
            else:
                answers = self._changed(where, rows.warned[block]) if evidence.is_due(last + 1) else []
            found += [(block, answer) for answer in answers]
        if done < first + len(side):
            rows.keep(evidence, done, first + len(side))
        return found

    def _changed(self, where: Where, warned: NDArray[np.bool_]) -> list[DriftResult | Event]:
        """The evidence has passed the next level, or fell back to calm."""
        state, total = self.evidence.state, self.evidence.total
        if total < 1:
            state["held_row"][0] = -1
            return [self._level(where, FINE if total < CALM else WARNED)]
        if self._waits(where.row, warned):
            return [] if state["level"][0] else [self._level(where, WARNED)]
        pair, row, ts, size = self._largest(where.row)
        if size < self.settings.minimum_effect:
            state["retry_row"][0] = where.row + LOOK_ROWS
            return [] if state["level"][0] else [self._level(where, WARNED)]
        return self._alarm(where, pair, row, ts, size)

    def _waits(self, row: int, warned: NDArray[np.bool_]) -> bool:
        """Whether a feature of the pair is in warning, so that an alarm of its own may be about to come."""
        held, pair = self.evidence.state["held_row"], self.evidence.leading()[0]
        if not (warned[self.evidence.first[pair]] or warned[self.evidence.second[pair]]):
            held[0] = -1
            return False
        if held[0] < 0:
            held[0] = row
        return bool(row - held[0] < HOLD_ROWS)

    def _largest(self, last_row: int) -> tuple[int, int, float, float]:
        """Of the pairs with most evidence the one that changed most: pair, since which row and time, size."""
        found = []
        for pair in self.evidence.leading()[:LOOKED_AT]:
            row, ts = self.evidence.onset(pair, last_row)
            found.append((self.evidence.size(pair, row, last_row), pair, row, ts))
        size, pair, row, ts = max(found, key=lambda one: one[0])
        return pair, row, ts, size

    def _alarm(
        self, where: Where, pair: int, since_row: int, since: float, size: float
    ) -> list[DriftResult | Event]:
        change = self._change(pair, since_row, where.row)
        counts, _ = self.evidence.recent(since_row, where.row)
        event = self._event(where, pair, change, since_row, since)
        after = (float(counts[0, pair]), float(counts[1, pair]))
        self.alarm = Back(pair, event.id, since, change.effect, size, after)
        self.evidence.forget(counts, np.ones(counts.shape[1], dtype=bool))
        self.evidence.state["held_row"][0] = -1
        return [self._level(where, ALARMED, change), event]

    def _event(self, where: Where, pair: int, change: Change, since_row: int, since: float) -> Event:
        first, second = self._names(pair)
        others = [one for one in self.evidence.changed(since_row, where.row, FAR) if one != pair]
        more = f"; so did {len(others)} more {'pair' if len(others) == 1 else 'pairs'}" if others else ""
        since_when = findings.clock(since, since_row)
        message = f"{self._subject(where, pair)} changed since {since_when} ({change.words}){more}"
        data = {
            "method": METHOD,
            "effect": change.effect,
            "effect_unit": change.unit,
            "since": since,
            "since_index": since_row,
            "before": change.before,
            "after": change.after,
            "sample_size": change.rows,
            "features": [first, second],
            "other_pairs": [list(self._names(one)) for one in others[:MOST_NAMED]],
        }
        return findings.event("drift", "alarm", where, message, data)

    def _back(self, alarm: Back, side: Sides, spent: float, where: Where) -> list[DriftResult | Event]:
        """Whether an open alarm is over with this block."""
        evidence, pair = self.evidence, alarm.pair
        two = agreement(side[:, [evidence.first[pair], evidence.second[pair]]])
        tau, null = float(evidence.tau[pair]), evidence.null_of(pair)
        counts = (float(two[0, 0]) / tau, float(two[1, 0]) / tau)
        log_w = math.log(spent) if spent > 0 else -math.inf
        if not alarm.step(counts, null, log_w, where.row + 1 - GROUP_ROWS):
            return []
        since, rows = evidence.recent(alarm.back_row, where.row)
        fits = alarm.fits((float(since[0, pair]), float(since[1, pair])), null, rows, tau)
        if fits is False:
            alarm.log_r = -math.inf
        if not fits:
            return []
        return self.end(where, "is back at its reference")

    def end(self, where: Where, words: str) -> list[DriftResult | Event]:
        """End the alarm, if one is open."""
        alarm, self.alarm = self.alarm, None
        if alarm is None:
            return []
        message = f"{self._subject(where, alarm.pair)} {words}"
        data = {"of": "drift", "since": alarm.since, "features": list(self._names(alarm.pair))}
        event = findings.event("recovery", "info", where, message, data)
        return [self._level(where, FINE), event]

    def _subject(self, where: Where, pair: int) -> str:
        """A pair as the subject of a sentence."""
        first, second = self._names(pair)
        subject = msgspec.structs.replace(where, feature=f"joint behaviour of {first} and {second}").subject
        return subject if self.stream[2] else f"the {subject}"

    def _names(self, pair: int) -> tuple[str, str]:
        first, second = int(self.evidence.first[pair]), int(self.evidence.second[pair])
        names = {place: name for name, place in self.member.items()}
        return names.get(first, self.pairs.names[first]), names.get(second, self.pairs.names[second])

    def _change(self, pair: int, row: int, last_row: int) -> Change:
        """How a pair differs from its reference since `row`."""
        first, second = self._names(pair)
        counts, rows = self.evidence.recent(row, last_row)
        before, after = self.evidence.null(counts)[:, pair], counts[:, pair]
        share = float(before[0] / before.sum())
        now = float(after[0] / after.sum()) if after.sum() > 0 else share
        return Change(
            effect=2 * (now - share),
            unit="concordance",
            words=f"where both are far out, on the same side in {now:.0%} of rows, {share:.0%} before",
            before={"features": [first, second], "same_side": share},
            after={"features": [first, second], "same_side": now},
            rows=rows,
        )

    def _level(self, where: Where, level: int, change: Change | None = None) -> DriftResult:
        self.evidence.state["level"][0] = level
        return self._result(where, change)

    def _result(self, where: Where, change: Change | None = None) -> DriftResult:
        pair = self.alarm.pair if self.alarm else self.evidence.leading()[0]
        change = change or self._change(pair, 0, where.row)
        state = self._state()
        lacks = f"{change.rows} rows have come since the reference, and {GROUP_ROWS} are needed for an answer"
        return findings.result(
            where,
            METHOD,
            statistic=self.evidence.total,
            threshold=1.0,
            is_drift=None if state == NO_DATA else state == "alarm",
            state=state,
            change=change,
            sample_size=change.rows,
            lacks=lacks if state == NO_DATA else "",
        )

    def _state(self) -> str:
        """fine, warning or alarm; not_enough_data where too few rows came to say fine."""
        level = int(self.evidence.state["level"][0])
        if level == FINE and not self.evidence.state["seen"].any():
            return NO_DATA
        return LEVELS[level]

    def results(self, row: int, ts: float) -> list[DriftResult]:
        """The present answer, from the last blocks."""
        return [self._result(Where(self.stream, JOINT, row, ts))]

    def status(self) -> dict[str, Any]:
        """The state, and the open alarm."""
        found: dict[str, Any] = {"state": self._state()}
        if self.alarm is not None:
            found |= {"event": self.alarm.event, "since": self.alarm.since, "effect": self.alarm.effect}
            found["features"] = list(self._names(self.alarm.pair))
        return found


class _Rows:
    """The rows of a batch: the side of each feature, and what the pairs may spend in each block."""

    def __init__(self, batch: Batch, side: Sides, spent: list[float], warned: NDArray[np.bool_]) -> None:
        self.batch, self.side, self.warned = batch, side, warned
        self._spent = spent

    def shares(self, begin: int, end: int, waiting: float) -> tuple[list[float], float]:
        """What each group that these blocks complete may spend, and what is left for the next.

        Added up block by block, so that it is the same however rows are cut into batches.
        """
        found = []
        row = self.batch.first_row + begin * self.batch.rows
        for spent in self._spent[begin:end]:
            waiting += spent
            row += self.batch.rows
            if row % GROUP_ROWS == 0:
                found.append(waiting)
                waiting = 0.0
        return found, waiting

    def keep(self, evidence: PairEvidence, begin: int, end: int) -> None:
        """Let the evidence remember the rows from number `begin` to `end`."""
        part = slice(begin - self.batch.first_row, end - self.batch.first_row)
        evidence.remember(self.side[part], self.batch.ts[part], begin)


class _Own:
    """What features did by themselves: which were in alarm or in warning at each block, and what began.

    `began` holds block, feature and first row of each change for which a feature raised an alarm.
    """

    def __init__(
        self, judge: JointJudge, blocks: int, opened: Alarms, warned: set[str], found: Sequence[Any]
    ) -> None:
        self._member = judge.member
        self._opened = set(opened)
        shape = (blocks, len(judge.pairs.names))
        self.alarmed, self.warned = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        self.began: list[tuple[int, int, int]] = []
        for names, where in (({whose for whose, _ in opened}, self.alarmed), (warned, self.warned)):
            for name in names:
                if name in self._member:
                    where[:, self._member[name]] = True
        for block, finding in sorted(found, key=lambda one: one[0]):
            if isinstance(finding, DriftResult):
                self._level(block, finding)
            else:
                self._event(block, finding)

    def _level(self, block: int, result: DriftResult) -> None:
        place = self._member.get(result.feature)
        if place is not None:
            self.warned[block:, place] = result.data["state"] == "warning"

    def _event(self, block: int, event: Event) -> None:
        name = event.data["feature"]
        place = self._member.get(name)
        if place is None:
            return
        if event.type == "recovery":
            self._opened.discard((name, event.data["of"]))
            self.alarmed[block + 1 :, place] = any(name == whose for whose, _ in self._opened)
        elif event.severity == "alarm":
            self._opened.add((name, event.type))
            self.alarmed[block:, place] = True
            if event.type != "stuck":  # the evidence on the feature began anew
                self.warned[block:, place] = False
            self.began.append((block, place, event.data["since_index"]))
