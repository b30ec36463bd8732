"""One stream (model, version, source): its features, what they are learning, and their decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift import findings
from edge_mlops_monitor.drift.arriving import Arriving, part_of
from edge_mlops_monitor.drift.batch import Batch, Encoder
from edge_mlops_monitor.drift.budget import Spending
from edge_mlops_monitor.drift.checking import Checking
from edge_mlops_monitor.drift.context import labels_of
from edge_mlops_monitor.drift.findings import Where
from edge_mlops_monitor.drift.groups import Groups, concerns, watched_as
from edge_mlops_monitor.drift.joint import JOINT
from edge_mlops_monitor.drift.judge import EvidenceJudge
from edge_mlops_monitor.drift.learning import CONTEXT, Learning, learning_hours
from edge_mlops_monitor.drift.learning import begin as begin_to_learn
from edge_mlops_monitor.drift.lookup import References
from edge_mlops_monitor.drift.reference import Column, FeatureReference, Stream
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.together import Together
from edge_mlops_monitor.drift.window import WindowJudge
from edge_mlops_monitor.records import DriftResult, Event

Floats = NDArray[np.float64]
Finding = DriftResult | Event

MOST_ROWS = 400  # at once; more would not fit in the processor's cache
NEVER = 1 << 62


class Device(Protocol):
    """What streams share: the budget and the limit of features."""

    def watched(self, watch: Watch) -> int:
        """Over how many features the budget of this stream is now split."""

    def admit(self, watch: Watch, names: list[str], row: int, ts: float) -> tuple[list[str], list[Finding]]:
        """Which of the new features there is room for, and what is to be said about the others."""


class Watch:
    """The state of one stream. `rows` counts its predictions, `pending` those short of a block."""

    def __init__(self, settings: Settings, stream: Stream, references: References) -> None:
        self.settings, self.stream, self.references = settings, stream, references
        self.spending = Spending(settings)
        self.judge = _judge(settings, stream)
        self.checking = Checking(stream, [], [])
        self.groups = Groups(stream)
        self.arriving = Arriving(settings, stream, self.block_rows)
        self.together = Together(self)
        self._encoder = Encoder([], [])
        self.learning: list[Learning] = []
        self.lacking: dict[str, str] = {}  # feature -> what its reference lacks
        self.known: dict[str, None] = {}  # every feature, in the order of appearance
        self.learned: dict[str, FeatureReference] = {}
        self.acknowledged: set[str] = set()
        self.rows = 0
        self.newest = float("nan")
        self.results_due = float("nan")
        self.pending: dict[str, list[Any]] = {}
        self.pending_ts: list[float] = []
        self.renewed: set[str] = set()  # forgotten within a call, to be met again in it

    @property
    def block_rows(self) -> int:
        """Rows that are judged together."""
        return self.judge.block_rows

    @property
    def shares_taken(self) -> int:
        """In how many shares of the budget for drift this stream spends."""
        return len(self.judge.names) + self.together.shares_taken

    def _meet(self, names: list[str], ts: float, device: Device) -> list[Finding]:
        """Get to know new features: those with a reference are watched, the others learned."""
        admitted, found = device.admit(self, names, self.rows, ts)
        self.known.update(dict.fromkeys(admitted))
        references = {name: self.references.find(self.stream, name, self.known) for name in admitted}
        self._watch({name: reference for name, reference in references.items() if reference is not None})
        unknown = [name for name, reference in references.items() if reference is None]
        if unknown:
            self.learning.append(begin_to_learn(unknown, ts, self.settings))
        return found

    def _watch(self, references: Mapping[str, FeatureReference]) -> None:
        enough = {}
        for name, reference in references.items():
            reference = watched_as(name, reference, self.known)
            lacks = self.judge.lacks(reference) or self._other_context(reference)
            self.lacking.pop(name, None)
            if lacks:
                self.lacking[name] = lacks
            else:
                enough[name] = reference
        if enough:
            self._keep(range(len(self.judge.names)), enough)

    def _other_context(self, reference: FeatureReference) -> str:
        """Why a reference does not fit those that are watched; empty where it does."""
        kind = self._encoder.context
        if not reference.context or kind in ("", reference.context):
            return ""
        return (
            f"it depends on {reference.context}, and other features on {kind}; build all with one --context"
        )

    def _keep(self, features: range | list[int], new: Mapping[str, FeatureReference]) -> None:
        self.judge.keep(list(features), list(new), list(new.values()))
        self._encoder = Encoder(self.judge.names, self.judge.references)
        self.groups.keep(self.judge.names, self.judge.references)
        checking = Checking(self.stream, self.judge.names, self.judge.references)
        checking.adopt(self.checking, list(features))
        self.checking = checking
        self.together.place(self.judge.names)

    def forget(self, names: list[str]) -> None:
        """Forget features and their references; they are met anew with their next row."""
        self.together.forget(names)
        names = [name for name in names if name != JOINT]
        self._keep([i for i, name in enumerate(self.judge.names) if name not in names], {})
        for name in names:
            for found in (self.known, self.lacking, self.learned, self.pending):
                found.pop(name, None)
            self.acknowledged.discard(name)
            self.references.remove(self.stream, name)
        for group in self.learning:
            group.release(names)
        self.learning = [group for group in self.learning if group.names]

    def take(self, columns: Mapping[str, Column], ts: Floats, device: Device) -> list[Finding]:
        """Take in rows, as whole blocks; what is short of a block waits for the next call."""
        merged = self._merge(columns, len(ts))
        appears = {name: self._first(name, merged[name]) for name in merged if name not in self.known}
        ts = np.concatenate((self.pending_ts, ts))
        if self.results_due != self.results_due:
            self.results_due = float(ts[0]) + self.settings.result_seconds
        found: list[Finding] = []
        begin, step = 0, self.block_rows
        while len(ts) - begin >= step:
            new = sorted(name for name, row in appears.items() if row < begin + step)
            if new:
                found += self._meet(new, float(ts[begin]), device)
                appears = {name: row for name, row in appears.items() if name not in new}
            self.together.seek(float(ts[begin]))
            whole = min((len(ts), *appears.values()))  # a feature is met at the block it appears in
            blocks = self._blocks_until_due(ts[begin : begin + max(step, (whole - begin) // step * step)])
            part = slice(begin, begin + blocks * step)
            known = {name: merged[name] for name in self.known}
            if blocks * step < len(ts):
                known = {name: column[part] for name, column in known.items()}
            found += self._take_blocks(known, ts[part], blocks, device)
            begin = part.stop
            appears |= dict.fromkeys((name for name in merged if name in self.renewed), begin)
            self.renewed.clear()
        kept = [*self.known, *(name for name, row in appears.items() if row < len(ts))]
        kept = kept[: self.settings.maximum_features]
        short = begin < len(ts)
        self.pending = {name: _listed(merged[name][begin:]) if short else [] for name in kept}
        self.pending_ts = ts[begin:].tolist()
        self.acknowledged &= self._open() if self.acknowledged else set()
        return found

    def _first(self, name: str, column: Any) -> int:
        """The row at which a new feature appears: where it is named if it has a reference, or has a value."""
        if self.references.find(self.stream, name, (*self.known, name)):
            return 0
        if isinstance(column, np.ndarray):
            has_value = column == column
            return int(has_value.argmax()) if has_value.any() else NEVER
        return next((row for row, value in enumerate(column) if value is not None), NEVER)

    def _merge(self, columns: Mapping[str, Column], rows: int) -> dict[str, Any]:
        """What waited and what came, for each feature; None where a feature has no value."""
        waiting = len(self.pending_ts)
        if not waiting and columns.keys() >= self.known.keys():
            return dict(columns)
        merged: dict[str, Any] = {}
        for name in dict.fromkeys((*self.known, *self.pending, *columns)):
            column: Any = columns.get(name)
            if column is None:
                column = [None] * rows
            before = self.pending.get(name) or [None] * waiting
            if isinstance(column, np.ndarray):
                merged[name] = _joined(before, column)
            else:
                merged[name] = [*before, *column] if before else column
        return merged

    def _blocks_until_due(self, ts: Floats) -> int:
        """How many blocks can be taken in one go: up to where results or a learned reference are due."""
        step = self.block_rows
        ends = ts[step - 1 :: step][: max(1, MOST_ROWS // step)]
        due = ends >= self.results_due
        for group in self.learning:
            rows = group.rows + step * np.arange(1, len(ends) + 1)
            hours = (ends - group.started_ts) / 3600
            due |= (rows >= group.target) & (hours >= learning_hours(self.settings))
        return int(due.argmax()) + 1 if due.any() else len(ends)

    def _take_blocks(
        self, columns: Mapping[str, Any], ts: Floats, blocks: int, device: Device
    ) -> list[Finding]:
        values, codes = self._encoder.encode(columns, len(ts))
        shares, self.newest = self.spending.shares(ts, self.newest)
        contexts = self._encoder.hold_to_contexts(columns, ts, len(ts) // blocks, values, codes)
        batch = Batch(values, codes, ts, self.rows, shares.reshape(blocks, -1).sum(axis=1), contexts)
        features = device.watched(self)
        before = self.together.before()
        found = self.checking.take(batch, columns, features, self.judge, self.groups.whole)
        found += self.together.take(batch, features, before, found)
        found += self.arriving.take(batch, part_of(self.judge.names, features))
        self.rows += len(ts)
        context = self._context_to_learn(columns, ts)
        for group in self.learning:
            group.take({**{name: columns[name] for name in group.names}, **context})
        found.sort(key=lambda item: item[0])
        found = self.groups.merge(found, batch, [self.judge.alarms, self.checking.open])
        return [finding for _, finding in found] + self._due(batch)

    def _context_to_learn(self, columns: Mapping[str, Any], ts: Floats) -> dict[str, list[Any]]:
        """The rows' contexts, as one more column, where references are learned by context."""
        if not self.learning or not self.settings.context:
            return {}
        return {CONTEXT: labels_of(self.settings.context, columns, ts)}

    def _due(self, batch: Batch) -> list[Finding]:
        """Hourly results, and references that have been learned, at the end of the batch."""
        ts = batch.last_ts(batch.blocks - 1)
        found: list[Finding] = []
        if ts >= self.results_due:
            if self.settings.algorithm != "ks_test":
                found += self.results(self.rows - 1, ts)
            found += self._take_as_normal(ts)
            self.results_due = ts + self.settings.result_seconds
        for group in list(self.learning):
            if group.due(self.settings, ts):
                self._learned(group)
        return found

    def _take_as_normal(self, ts: float) -> list[Finding]:
        """Learn what was acknowledged and has lasted long enough to be the new normal."""
        patience = self.settings.rebaseline_after_hours * 3600
        if not patience:
            return []
        alarms = {**self.judge.alarms, **self.together.alarms}
        lasting = [
            n for n, alarm in alarms.items() if n in self.acknowledged and ts - alarm["since"] >= patience
        ]
        found: list[Finding] = []
        for name in lasting:
            where = Where(self.stream, name, self.rows - 1, ts)
            found.append(findings.new_normal(where, alarms[name]["since"]))
        self.forget(lasting)
        self.renewed |= set(lasting)
        return found

    @property
    def latest(self) -> float:
        """The time of the latest row, those short of a block among them."""
        return max(self.pending_ts, default=self.newest)

    def listen(self, now: float, seconds: float, replaced: bool) -> list[Event]:
        """Take in that `seconds` passed until `now`, and say whether the stream is silent."""
        self.arriving.wait(seconds, self.rows + len(self.pending_ts))
        if replaced:
            return self.arriving.supersede(self.rows - 1, now)
        return self.arriving.listen(now, self.rows, self.pending_ts, self.latest)

    def supersede(self) -> list[Finding]:
        """End open alarms of a model that is no longer used."""
        found: list[Finding] = []
        for name, alarm in (*self.judge.alarms.items(), *self.checking.open.items()):
            where = Where(self.stream, name, self.rows - 1, self.newest)
            found.append(findings.recovery(where, alarm["type"], findings.REPLACED, alarm["since"]))
        self.checking.clear()
        for feature, name in enumerate(self.judge.names):
            if name in self.judge.alarms:
                self.judge.clear(feature)
        return found + self.together.supersede(self.rows - 1, self.newest)

    def _learned(self, group: Learning) -> None:
        stream = dict(zip(("model", "model_version", "source"), self.stream, strict=True))
        group.round()
        if group.joint:
            self.learning.remove(group)
            self.together.learn(group, group.names, **stream)
            return
        built = {name: group.build(name, self.settings, **stream) for name in group.names}
        self._watch(built)
        ready = [name for name in built if name not in self.lacking]
        self.learned.update({name: built[name] for name in ready})
        self.together.learn(group, ready, **stream)
        group.release(ready)
        if not group.goes_on():
            self.learning.remove(group)

    def acknowledge(self, feature: str | None) -> int:
        """Mark open alarms, faults of the data included, as seen; returns how many."""
        seen = {name for name in self._open() if feature is None or concerns(name, feature)}
        self.acknowledged |= seen
        return len(seen)

    def _open(self) -> set[str]:
        """Features that have drifted or whose data are at fault, `arrival` and `joint` among them."""
        return {*self.checking.open, *self.judge.alarms, *self.arriving.open, *self.together.alarms}

    def opened(self) -> set[tuple[str, str]]:
        """The features' open alarms, each with what it is of."""
        both = (*self.checking.open.items(), *self.judge.alarms.items())
        return {(name, data["type"]) for name, data in both}

    def results(self, row: int, ts: float) -> list[DriftResult]:
        """The present answer about each feature, and about how they go together."""
        return self.judge.results(row, ts) + self.together.results(row, ts)

    def status(self) -> dict[str, dict[str, Any]]:
        """The state of each feature, with what is missing where something is."""
        found: dict[str, dict[str, Any]] = {}
        ts = self.newest if self.newest == self.newest else 0.0
        for group in self.learning:
            missing = group.missing(self.settings, ts)
            names = [JOINT] if group.joint else group.names
            found.update({name: {"state": "learning", "missing": missing} for name in names})
        for name, lacks in self.lacking.items():
            found[name] = {"state": "not_enough_reference", "missing": lacks}
        for i, name in enumerate(self.judge.names):
            fault = self.checking.status(name)
            level = self.judge.level_of(i, self.rows - 1)
            found[name] = {"state": level} | self.judge.alarms.get(name, {}) | fault
            if fault or name in self.judge.alarms:
                found[name]["acknowledged"] = name in self.acknowledged
        found.update(self.together.status())
        ordered = {name: found[name] for name in (*self.known, JOINT) if name in found}
        for name in (*self.checking.open, *self.arriving.open):
            if name not in self.known:  # it concerns all features
                opened = self.checking.status(name) or {"state": "alarm", **self.arriving.open[name]}
                ordered[name] = {**opened, "acknowledged": name in self.acknowledged}
        return ordered


def _judge(settings: Settings, stream: Stream) -> EvidenceJudge | WindowJudge:
    if settings.algorithm == "ks_test":
        return WindowJudge(settings, stream)
    return EvidenceJudge(settings, stream)


def _listed(column: Any) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column)


def _joined(before: list[Any], column: NDArray[Any]) -> Any:
    if not before:
        return column
    if column.dtype.kind == "f" and all(type(value) is float for value in before):
        return np.concatenate((before, column))
    return [*before, *column.tolist()]
