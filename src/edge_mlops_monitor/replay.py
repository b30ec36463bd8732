"""Replay: the decisions of the device over recorded data, before it is deployed.

The same `Watcher` decides as on the device; only capture and store are left out. Several configurations
decide in one pass over the file.
"""

from __future__ import annotations

import math
import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from edge_mlops_monitor.dataset import Dataset, Selection
from edge_mlops_monitor.drift import reference_file
from edge_mlops_monitor.drift.context import HOUR_OF_DAY
from edge_mlops_monitor.drift.findings import clock
from edge_mlops_monitor.drift.history import STEP_ROWS
from edge_mlops_monitor.drift.reference import Column, FeatureReference, Stream
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.layout import Chunk
from edge_mlops_monitor.rated import Rated
from edge_mlops_monitor.recommendation import recommendation
from edge_mlops_monitor.recording import Recording
from edge_mlops_monitor.records import DriftResult, Event
from edge_mlops_monitor.scoring import Change
from edge_mlops_monitor.trace import TRACE_ROWS, Trace
from edge_mlops_monitor.training import build_reference

TOO_FEW = "too few rows came for an answer"

References = str | os.PathLike[str] | Iterable[FeatureReference]


class Replay(msgspec.Struct, kw_only=True):
    """What would have been reported.

    Each of `alarms` holds `index` (0-based row at which it was raised), `ts`, `feature`, `method`,
    `effect`, `effect_unit`, `since` and `since_index` (first row of the change, as estimated),
    `source` and `message`; `recoveries` likewise. `not_enough_reference` names the features about
    which nothing could be decided; `learning` those whose reference was not complete at the end,
    `not_enough_data` those of which too few rows came for an answer.
    `out_of_order` counts rows whose time is before that of an earlier row, `absent` names features of the
    reference that the data do not have. `truth` holds, where it is
    known what happened, what became of each change (see `Recording.verdict`). `recommendation` says what
    shifts can be expected to be found how soon (see `recommendation`). `trace` is the evidence over time,
    where it was asked for. `performance` holds what labels and estimates say at the end.
    """

    predictions: int = 0
    alarms: list[dict[str, Any]] = []
    recoveries: list[dict[str, Any]] = []
    not_enough_reference: list[str] = []
    learning: list[str] = []
    not_enough_data: list[str] = []
    missing: dict[str, str] = {}
    budget: dict[str, Any] = {}
    first_ts: float | None = None
    last_ts: float | None = None
    out_of_order: int = 0
    absent: list[str] = []
    truth: dict[str, Any] | None = None
    performance: dict[str, Any] = {}
    recommendation: dict[str, Any] | None = None
    results: list[DriftResult] = []
    trace: Trace | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without the single results and the trace."""
        left_out = ("results", "trace")
        found = {name: getattr(self, name) for name in self.__struct_fields__ if name not in left_out}
        return {**found, "results": len(self.results)}


def replay(
    path: str | os.PathLike[str],
    reference: References | None = None,
    settings: Settings | None = None,
    selection: Selection | None = None,
    *,
    changes: Sequence[Change] | None = None,
    model: str | None = None,
    model_version: str | None = None,
    trace: bool = False,
    progress: Callable[[float], object] | None = None,
) -> Replay:
    """Run the device's decisions over a file.

    `reference` is a reference file or references; without it one is learned from the first rows, as
    on the device (by their number alone where the data have no times). `changes`, or the column that
    `selection.changes` names, say what is known to have happened. `trace` keeps the evidence over time.
    `progress` is called with the share of the file that was read. Raises `DataError` where the budget is
    in time, or normal depends on the hour, and the data have no times.
    """
    found = compare(
        path,
        {"": settings or Settings()},
        reference,
        selection,
        changes=changes,
        model=model,
        model_version=model_version,
        trace=trace,
        progress=progress,
    )
    return found[""]


def compare(
    path: str | os.PathLike[str],
    configurations: Mapping[str, Settings],
    reference: References | None = None,
    selection: Selection | None = None,
    *,
    changes: Sequence[Change] | None = None,
    model: str | None = None,
    model_version: str | None = None,
    trace: bool = False,
    progress: Callable[[float], object] | None = None,
) -> dict[str, Replay]:
    """What would have been reported under each of several settings, by name, in one pass (see `replay`).

    With `trace` the first of them keeps its evidence over time.
    """
    given = _references(reference, configurations.values())
    dataset = Dataset(path, selection, numeric=_numeric(given), **({"rows": TRACE_ROWS} if trace else {}))
    runs: dict[str, _Run] = {}
    recording = Recording(dataset.path, changes)
    rows: dict[str | None, array[int]] = defaultdict(lambda: array("q"))  # of the file, by source
    for chunk in dataset:
        recording.take(chunk)
        if not runs:
            runs = {name: _Run(_in_rows(one, chunk), given) for name, one in configurations.items()}
            next(iter(runs.values())).found.trace = Trace() if trace else None
        for run in runs.values():
            _check_times(recording, run.settings, given)
        for source, columns, places, ts in chunk.by_source():
            rows[source].extend((places + chunk.first_row).tolist())
            actuals = None if chunk.actuals is None else [chunk.actuals[place] for place in places.tolist()]
            for run in runs.values():
                run.take((model, model_version, source), columns, ts, rows[source])
                run.rate((model, model_version, source), columns, actuals, ts, rows[source])
        if progress is not None:
            progress(dataset.read_bytes / dataset.total_bytes)
    return {name: run.finish(recording) for name, run in runs.items()}


def _in_rows(settings: Settings, chunk: Chunk) -> Settings:
    """Without times no hours go by: a reference is learned from rows alone."""
    return settings if chunk.ts is not None else msgspec.structs.replace(settings, learn_reference_hours=0.0)


class _Run:
    """The decisions under one configuration."""

    def __init__(self, settings: Settings, given: list[FeatureReference]) -> None:
        self.settings = settings
        without_results = msgspec.structs.replace(settings, result_seconds=math.inf)
        self.watcher = Watcher(without_results, [one for one in given if not one.only_rises])
        self.rated = Rated(settings, given)
        self.given = [one.name for one in given if not one.only_rises and one.pairs is None]
        self.found = Replay(budget=_budget(settings))

    def take(self, stream: Stream, columns: Mapping[str, Column], ts: Column, rows: Sequence[int]) -> None:
        """Take in rows of a stream; `rows` are the rows of the file that all its rows so far are."""
        for finding in self.watcher.update(stream, columns, ts):
            _note(self.found, finding, rows)
        trace, source = self.found.trace, stream[2]
        if trace is not None and trace.due(source, rows[-1]):
            trace.take(source, rows[-1], float(ts[-1]), self.watcher.check())

    def rate(
        self,
        stream: Stream,
        columns: Mapping[str, Column],
        actuals: Sequence[Any] | None,
        ts: Column,
        rows: Sequence[int],
    ) -> None:
        """Take in what is known of the truth about the same rows."""
        found = self.rated.take(stream, columns, actuals, ts, rows[-len(ts) :])
        judged = self.rated.rows(stream) if any(isinstance(one, Event) for one in found) else []
        for finding in found:
            _note(self.found, finding, judged)

    def finish(self, recording: Recording) -> Replay:
        """What was found, once all rows were taken in."""
        found = self.found
        found.predictions, found.out_of_order = recording.predictions, recording.out_of_order
        found.first_ts, found.last_ts = recording.first_ts, recording.last_ts
        _note_states(found, self.watcher.status())
        _note_states(found, self.rated.status())
        found.performance = self.rated.summary()
        _note_valueless(found, recording.valueless)
        _note_unmet(found, recording.features, self.watcher.status())
        found.absent = [name for name in dict.fromkeys(self.given) if not recording.has(name)]
        of_windows = self.settings.algorithm == "ks_test"
        every = self.settings.check_frequency if of_windows else STEP_ROWS
        found.truth = recording.verdict(found.alarms, every)
        found.recommendation = recommendation(self.watcher, self.settings, recording.hours)
        return found


def _references(given: References | None, settings: Iterable[Settings]) -> list[FeatureReference]:
    if given is None:
        return []
    if isinstance(given, (str, os.PathLike)):
        return reference_file.load(given, keep_values=any(one.algorithm == "ks_test" for one in settings))
    return list(given)


def _numeric(given: Iterable[FeatureReference]) -> dict[str, bool]:
    """Of features whose references agree about it: whether they are numbers."""
    found: dict[str, set[bool]] = defaultdict(set)
    for one in given:
        found[one.name].add(one.numeric)
    return {name: kinds.pop() for name, kinds in found.items() if len(kinds) == 1}


def _budget(settings: Settings) -> dict[str, Any]:
    if settings.algorithm == "ks_test":
        return {
            "algorithm": "ks_test",
            "threshold": settings.threshold,
            "check_frequency": settings.check_frequency,
        }
    if settings.average_run_length is not None:
        return {"algorithm": "e_detector", "average_run_length": settings.average_run_length}
    return {"algorithm": "e_detector", "false_alarms_per_month": settings.false_alarms_per_month}


def _check_times(recording: Recording, settings: Settings, given: Iterable[FeatureReference]) -> None:
    by_hour = HOUR_OF_DAY in (settings.context, *(one.context for one in given))
    if recording.first_ts is None and by_hour:
        raise DataError(
            f"{recording.path}: no column is named as the time, and normal depends on the hour; "
            "give --timestamp"
        )
    in_time = settings.average_run_length is None and settings.algorithm != "ks_test"
    if recording.first_ts is None and in_time:
        raise DataError(
            f"{recording.path}: no column is named as the time, which a budget per month needs; "
            "give --timestamp, or the budget in predictions with --average-run-length"
        )


def _note(found: Replay, finding: DriftResult | Event, rows: Sequence[int]) -> None:
    """Note a finding, with the stream's rows turned into rows of the file."""
    if isinstance(finding, DriftResult):
        found.results.append(finding)
        return
    data = finding.data
    since_index = rows[data.get("since_index", data["row"])]
    noted = {
        "index": rows[data["row"]],
        "ts": finding.ts,
        "type": finding.type,
        "feature": data.get("feature", ""),
        "source": data.get("source"),
        "message": _in_file(finding.message, data, since_index),
    }
    if finding.type == "recovery":
        found.recoveries.append({**noted, "of": data.get("of")})
    elif finding.severity == "alarm":
        wanted = ("method", "effect", "effect_unit", "since", "since_index", "before", "after")
        alarm = {**noted, **{name: data[name] for name in wanted if name in data}}
        found.alarms.append(alarm | {"since_index": since_index})


def _in_file(message: str, data: Mapping[str, Any], since_index: int) -> str:
    """The sentence with the row of the file in place of the number that the stream's prediction has."""
    return message.replace(clock(0.0, data.get("since_index", data["row"])), f"row {since_index}")


def _note_states(found: Replay, states: Mapping[Stream, Mapping[str, Mapping[str, Any]]]) -> None:
    for features in states.values():
        for feature, state in features.items():
            listed: list[str] | None = {
                "not_enough_reference": found.not_enough_reference,
                "learning": found.learning,
                "not_enough_data": found.not_enough_data,
            }.get(state["state"])
            if listed is not None and feature not in listed:
                listed.append(feature)
                found.missing[feature] = state.get("missing", TOO_FEW)


def _note_valueless(found: Replay, features: list[str]) -> None:
    """Columns without any value appear nowhere else, unless their reference says what to expect."""
    alarmed = {alarm["feature"] for alarm in found.alarms}
    for feature in features:
        if feature not in alarmed and feature not in found.missing:
            found.not_enough_reference.append(feature)
            found.missing[feature] = "no row has a value"


def _note_unmet(
    found: Replay, features: Iterable[str], states: Mapping[Stream, Mapping[str, Mapping[str, Any]]]
) -> None:
    """Columns of a file that is over before anything was decided."""
    met = {feature for of_stream in states.values() for feature in of_stream}
    for feature in features:
        if feature not in met and feature not in found.missing:
            found.not_enough_data.append(feature)
            found.missing[feature] = TOO_FEW


__all__ = ["Change", "Replay", "Selection", "Settings", "build_reference", "compare", "replay"]
