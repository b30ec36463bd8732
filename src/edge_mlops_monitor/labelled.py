"""Decisions about labelled predictions: the errors are watched, the rolling figures told every hour.

The device and `replay` run the same code; where labels and predictions are joined is not its business. It
is pure, as the watcher is, and what it says does not depend on how the rows are cut into calls.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import msgspec

from edge_mlops_monitor.drift.findings import clock
from edge_mlops_monitor.drift.reference import FeatureReference
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.features import ERRORS
from edge_mlops_monitor.performance.pairing import NUMBERS, SETTLED_BY, Row, flat, settle
from edge_mlops_monitor.performance.rolling import Interval, Rolling
from edge_mlops_monitor.records import DriftResult, Event

RESULT_SECONDS = 3600.0
MOST_STREAMS = 100  # whose figures are kept
REALISED = "realised"

Stream = tuple[str | None, str | None, str | None]
Finding = DriftResult | Event


class Labelled(msgspec.Struct, frozen=True):
    """A prediction whose label is known: when it was made, its outputs as features, the label's parts."""

    id: str
    ts: float
    outputs: Row
    actual: Row


class _Stream(msgspec.Struct):
    """What is known of one stream: what is compared, the last pairs, and those that settle it."""

    rolling: list[Rolling] = []
    waiting: list[Labelled] = []
    settled: bool = False
    due: float | None = None


class _State(msgspec.Struct):
    watcher: bytes
    streams: list[tuple[Stream, _Stream]]
    counts: dict[str, int]


class LabelledWatcher:
    """Decides about the errors of every stream under the share of the budget for performance.

    >>> watcher = LabelledWatcher(Settings(average_run_length=10_000, learn_reference_hours=0))
    >>> outputs = {"outputs.value": 1.0}
    >>> rows = [watcher.row(str(i), float(i), outputs, float(i % 20 > 0)) for i in range(2000)]
    >>> watcher.update(("m", "1", None), rows)
    []
    >>> round(watcher.figures()[0]["realised"]["accuracy"]["value"], 2)
    0.95
    """

    def __init__(self, settings: Settings, references: Iterable[FeatureReference] = ()) -> None:
        own = {"share": "performance", "algorithm": "e_detector", "context": ""}
        self._settings = msgspec.structs.replace(settings, **own)
        self.watcher = Watcher(self._settings, [one for one in references if one.only_rises])
        self._streams: dict[Stream, _Stream] = {}
        self.counts: Counter[str] = Counter()
        self.judged: dict[Stream, list[str]] | None = None  # their ids in order, for those who ask for them

    @staticmethod
    def row(id: str, ts: float, outputs: Row, actual: Any) -> Labelled:
        """One labelled prediction: its outputs as features, the actual as it was logged."""
        return Labelled(id, ts, outputs, flat(actual))

    def update(self, stream: Stream, rows: Sequence[Labelled]) -> list[Finding]:
        """Take in labelled predictions of one stream, in the order in which their labels came."""
        known = self._streams.get(stream)
        if known is None:
            if len(self._streams) >= MOST_STREAMS:
                self.counts["refused"] += len(rows)
                return []
            known = self._streams[stream] = _Stream()
        if not known.settled:
            known.waiting.extend(rows)
            if len(known.waiting) < SETTLED_BY:
                return []
            rows, known.waiting = known.waiting, []
            first = [(row.outputs, row.actual) for row in rows[:SETTLED_BY]]
            known.rolling, known.settled = [Rolling(target) for target in settle(first)], True
        return self._take(stream, known, rows)

    def _take(self, stream: Stream, known: _Stream, rows: Sequence[Labelled]) -> list[Finding]:
        """Judge the errors, in parts that end where the hourly figures are due."""
        found: list[Finding] = []
        errors: dict[str, list[float | None]] = defaultdict(list)
        times: list[float] = []
        for row in rows:
            of_row = self._errors(known, row)
            if of_row:
                times.append(row.ts)
                if self.judged is not None:
                    self.judged.setdefault(stream, []).append(row.id)
                for one in known.rolling:
                    errors[one.target.feature].append(of_row.get(one.target.feature))
            if known.due is None:
                known.due = row.ts + RESULT_SECONDS
            if row.ts >= known.due:
                found += self._judged(stream, errors, times)
                found += self._results(stream, known, row.ts)
                errors, times = defaultdict(list), []
                known.due = row.ts + RESULT_SECONDS
        return found + self._judged(stream, errors, times)

    def _errors(self, known: _Stream, row: Labelled) -> dict[str, float]:
        """The errors of one prediction, by feature; those of a label that came again are not judged again."""
        found = {}
        compared = False
        for one in known.rolling:
            pair = one.target.pair(row.outputs, row.actual)
            if pair is not None:
                compared = True
                if one.put(zlib.crc32(row.id.encode("utf-8", "replace")), *pair):
                    found[one.target.feature] = one.target.error(*pair)
        self.counts["compared" if found else "superseded" if compared else "not_comparable"] += 1
        return found

    def _judged(
        self, stream: Stream, errors: dict[str, list[float | None]], times: list[float]
    ) -> list[Finding]:
        found = self.watcher.update(stream, errors, times) if times else []
        of_errors = [one for one in found if _feature(one).startswith(ERRORS)]  # not how errors go together
        return [self._told(stream, one) if isinstance(one, Event) else one for one in of_errors]

    def _told(self, stream: Stream, event: Event) -> Event:
        """The watcher's event about a feature as one about the model."""
        if event.type == "recovery":
            who = _who(stream, event.data["feature"])
            message = f"the error of {who} is back where it was"
            return msgspec.structs.replace(event, message=message, data={**event.data, "of": "performance"})
        if event.type != "drift":
            return event
        kinds = {one.target.feature: one.target.kind for one in self._streams[stream].rolling}
        return _alarm(stream, event, kinds.get(event.data["feature"], NUMBERS) == NUMBERS)

    def _results(self, stream: Stream, known: _Stream, ts: float) -> list[Finding]:
        """The rolling figures as results."""
        found: list[Finding] = []
        names = dict(zip(("model", "model_version", "source"), stream, strict=True))
        for one in known.rolling:
            for metric, figures in one.figures().items():
                if figures["value"] is not None:
                    found.append(_result(one, metric, figures, ts, names))
        return found

    def status(self) -> dict[Stream, dict[str, dict[str, Any]]]:
        """By stream and feature, as the watcher's; before anything is compared, what is missing."""
        found = {stream: _renamed(features) for stream, features in self.watcher.status().items()}
        for stream, known in self._streams.items():
            if not known.settled:
                missing = f"{SETTLED_BY - len(known.waiting)} labelled predictions"
                found[stream] = {ERRORS: {"state": "learning", "missing": missing}}
            elif not known.rolling:
                missing = "no output is like the actuals; log them as {name of the output: value}"
                found[stream] = {ERRORS: {"state": "not_enough_reference", "missing": missing}}
        return found

    def figures(self) -> list[dict[str, Any]]:
        """The rolling figures of each comparison."""
        return [
            {
                "model": stream[0],
                "model_version": stream[1],
                "source": stream[2],
                "feature": one.target.feature,
                "output": one.target.output,
                "kind": one.target.kind,
                "labelled": len(one.rows),
                "realised": one.figures(),
            }
            for stream, known in self._streams.items()
            for one in known.rolling
        ]

    def forget(self, model: str | None, version: str | None, source: str | None, feature: str | None) -> None:
        """Learn the errors anew ("this is the new normal"); None stands for all."""
        self.watcher.rebaseline(model, version, source, feature)

    def state(self) -> bytes:
        """All that the decisions depend on."""
        state = _State(self.watcher.state(), list(self._streams.items()), dict(self.counts))
        return msgspec.msgpack.encode(state)

    def restore(self, state: bytes, *, decisions: bool = True) -> bool:
        """Go on from a state; without `decisions` from the figures alone. False where it is damaged."""
        try:
            found = msgspec.msgpack.decode(state, type=_State)
        except msgspec.DecodeError:
            return False
        self._streams, self.counts = dict(found.streams), Counter(found.counts)
        return self.watcher.restore(found.watcher) if decisions else True


def recorded(
    columns: Mapping[str, Any], actuals: Sequence[Any], ts: Iterable[float], rows: Iterable[int]
) -> Iterator[Labelled]:
    """The labelled rows of recorded data, with the number of the row for an id; "" is no label.

    >>> list(recorded({"inputs.a": [1.0], "outputs.y": [2.0]}, ["3"], [0.0], [7]))
    [Labelled(id='7', ts=0.0, outputs={'outputs.y': 2.0}, actual={'value': '3'})]
    """
    outputs = {name: _plain(column) for name, column in columns.items() if name.startswith("outputs.")}
    said = zip(*outputs.values(), strict=True) if outputs else repeat(())
    for row, moment, actual, values in zip(rows, ts, actuals, said, strict=bool(outputs)):
        if actual is not None and actual != "" and actual == actual:
            of_row = dict(zip(outputs, values, strict=True))
            yield LabelledWatcher.row(str(row), float(moment), of_row, actual)


def _plain(column: Any) -> list[Any]:
    """The values of a column, None where one is missing."""
    listed = column.tolist() if hasattr(column, "tolist") else column
    return [None if value != value else value for value in listed]


def _feature(one: Finding) -> str:
    return one.feature if isinstance(one, DriftResult) else str(one.data.get("feature"))


def _who(stream: Stream, feature: str) -> str:
    """The model, and which of its outputs, as the object of a sentence."""
    model, version, source = stream
    name = f"{model}{f' {version}' if version else ''}" if model else "the model"
    part = feature.partition(f"{ERRORS}.")[2]
    return f"{name}{f' for {source}' if source else ''}{f' ({part})' if part else ''}"


def _alarm(stream: Stream, event: Event, in_units: bool) -> Event:
    data = event.data
    before, after = data["before"].get("mean") or 0.0, data["after"].get("mean") or 0.0
    unit = "mean absolute error" if in_units else "share of wrong predictions"
    figures = f"{before:.4g} to {after:.4g}" if in_units else f"{before:.1%} to {after:.1%}"
    since = clock(data["since"], data["since_index"])
    what = "mean absolute error" if in_units else "error"
    message = (
        f"the {what} of {_who(stream, data['feature'])} rose from {figures} since {since} "
        f"({data['sample_size']} labelled predictions)"
    )
    data = {**data, "effect": after - before, "effect_unit": unit}
    data |= {"before": {"error": before}, "after": {"error": after}}
    id = _renamed_id(event.id)
    return msgspec.structs.replace(event, type="performance", id=id, message=message, data=data)


def _renamed_id(id: str) -> str:
    return f"performance{id.removeprefix('drift')}" if id.startswith("drift-") else id


def _renamed(features: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The states with the ids under which their events were told."""
    return {
        name: {**state, "event": _renamed_id(state["event"])} if "event" in state else state
        for name, state in features.items()
        if name.startswith(ERRORS)
    }


def _result(one: Rolling, metric: str, figures: Interval, ts: float, names: dict[str, Any]) -> DriftResult:
    return result_of(metric, REALISED, figures, one.target.name, ts, len(one.rows), names)


def result_of(
    metric: str, method: str, figures: Interval, part: str, ts: float, rows: int, names: dict[str, Any]
) -> DriftResult:
    """One figure as a record; whether it is an alarm is not for it to say."""
    return DriftResult(
        ts=ts,
        feature=f"performance.{metric}{f'.{part}' if part else ''}",
        method=method,
        statistic=figures["value"],
        is_drift=None,
        sample_size=rows,
        data={name: value for name, value in figures.items() if name != "value"},
        **names,
    )
