"""Replay: the decisions of the device over recorded data, before it is deployed.

The same `Watcher` decides as on the device; only capture and store are left out.
"""

from __future__ import annotations

import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.dataset import Chunk, Dataset, Selection
from edge_mlops_monitor.drift import reference as references
from edge_mlops_monitor.drift.reference import FeatureReference
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.layout import Column, Floats
from edge_mlops_monitor.records import DriftResult, Event

MAX_REFERENCE_ROWS = 1_000_000  # more are not needed, and would not fit in a small device's memory


class Replay(msgspec.Struct, kw_only=True):
    """What would have been reported.

    Each of `alarms` holds `index` (0-based row at which it was raised), `ts`, `feature`, `method`,
    `effect`, `effect_unit`, `since` and `since_index` (first row of the change, as estimated),
    `source` and `message`; `recoveries` likewise. `not_enough_reference` names the features about
    which nothing could be decided; `learning` those whose reference was not complete at the end.
    """

    predictions: int = 0
    alarms: list[dict[str, Any]] = []
    recoveries: list[dict[str, Any]] = []
    not_enough_reference: list[str] = []
    learning: list[str] = []
    missing: dict[str, str] = {}
    budget: dict[str, Any] = {}
    first_ts: float | None = None
    last_ts: float | None = None
    results: list[DriftResult] = []

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without the single results."""
        found = {name: getattr(self, name) for name in self.__struct_fields__ if name != "results"}
        return {**found, "results": len(self.results)}


def build_reference(
    path: str | os.PathLike[str],
    selection: Selection | None = None,
    *,
    keep_values: bool = False,
    progress: Callable[[float], object] | None = None,
) -> list[FeatureReference]:
    """References from recorded data, for each source apart; at most the first million rows are used."""
    dataset = Dataset(path, selection)
    parts: dict[str | None, dict[str, list[Column]]] = defaultdict(dict)
    lengths: dict[str | None, int] = defaultdict(int)
    for chunk in dataset:
        for source, part, rows, _ in _by_source(chunk):
            _append(parts[source], part, lengths[source], len(rows))
            lengths[source] += len(rows)
        if progress is not None:
            progress(dataset.read_bytes / dataset.total_bytes)
        if chunk.first_row + chunk.rows >= MAX_REFERENCE_ROWS:
            break
    categorical = (selection or Selection()).categorical
    return [
        reference
        for source, found in parts.items()
        for reference in references.build(
            {name: _joined(columns) for name, columns in found.items()},
            categorical=categorical,
            keep_values=keep_values,
            source=source,
        )
    ]


def _append(parts: dict[str, list[Column]], part: Mapping[str, Column], before: int, rows: int) -> None:
    for name, values in part.items():
        parts.setdefault(name, [np.full(before, np.nan)]).append(values)
    for name, columns in parts.items():
        if name not in part:
            columns.append(np.full(rows, np.nan))


def _joined(columns: list[Column]) -> Column:
    """One column of several parts; a list where one of them holds text."""
    arrays = [column for column in columns if isinstance(column, np.ndarray)]
    if len(arrays) == len(columns):
        return np.concatenate(arrays)
    return [
        value for column in columns for value in (column if isinstance(column, list) else column.tolist())
    ]


def replay(
    path: str | os.PathLike[str],
    reference: str | os.PathLike[str] | Iterable[FeatureReference] | None = None,
    settings: Settings | None = None,
    selection: Selection | None = None,
    *,
    model: str | None = None,
    model_version: str | None = None,
    progress: Callable[[float], object] | None = None,
) -> Replay:
    """Run the device's decisions over a file.

    `reference` is a reference file or references; without it one is learned from the first rows, as
    on the device. `progress` is called with the share of the file that was read. Raises `DataError`
    where the budget is in time and the data have none.
    """
    settings = settings or Settings()
    dataset = Dataset(path, selection)
    watcher = Watcher(settings, _references(reference, settings))
    found = Replay(budget=_budget(settings))
    rows: dict[str | None, array[int]] = defaultdict(lambda: array("q"))  # of the file, by source
    has_value: dict[str, bool] = {}
    for chunk in dataset:
        _check_times(dataset, chunk, settings)
        found.predictions += chunk.rows
        for name, column in chunk.columns.items():
            has_value[name] = has_value.get(name, False) or _has_value(column)
        for source, columns, places, ts in _by_source(chunk):
            rows[source].extend((places + chunk.first_row).tolist())
            for finding in watcher.update((model, model_version, source), columns, ts):
                _note(found, finding, rows[source])
        _note_times(found, chunk)
        if progress is not None:
            progress(dataset.read_bytes / dataset.total_bytes)
    _note_states(found, watcher)
    _note_valueless(found, [name for name, has in has_value.items() if not has])
    return found


def _references(
    given: str | os.PathLike[str] | Iterable[FeatureReference] | None, settings: Settings
) -> list[FeatureReference]:
    if given is None:
        return []
    if isinstance(given, (str, os.PathLike)):
        return references.load(given, keep_values=settings.algorithm == "ks_test")
    return list(given)


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


def _check_times(dataset: Dataset, chunk: Chunk, settings: Settings) -> None:
    if chunk.ts is None and settings.average_run_length is None and settings.algorithm != "ks_test":
        raise DataError(
            f"{dataset.path}: no column is named as the time, which a budget per month needs; "
            "give --timestamp, or the budget in predictions with --average-run-length"
        )


Part = tuple["str | None", "dict[str, Column]", "NDArray[np.int64]", Floats]


def _by_source(chunk: Chunk) -> list[Part]:
    """The rows of each source: source, columns, which rows of the chunk, and their times."""
    ts = np.zeros(chunk.rows) if chunk.ts is None else chunk.ts
    places: dict[str | None, list[int]] = defaultdict(list)
    for place, source in enumerate(chunk.sources or ()):
        places[source].append(place)
    if len(places) <= 1:
        return [(next(iter(places), None), chunk.columns, np.arange(chunk.rows), ts)]
    return [
        (source, {name: _taken(column, rows) for name, column in chunk.columns.items()}, rows, ts[rows])
        for source, rows in ((source, np.array(found)) for source, found in places.items())
    ]


def _taken(column: Column, rows: NDArray[np.int64]) -> Column:
    return [column[i] for i in rows.tolist()] if isinstance(column, list) else column[rows]


def _has_value(column: Column) -> bool:
    if isinstance(column, list):
        return any(value is not None for value in column)
    return not np.isnan(column).all()


def _note(found: Replay, finding: DriftResult | Event, rows: Sequence[int]) -> None:
    """Note a finding, with the stream's rows turned into rows of the file."""
    if isinstance(finding, DriftResult):
        found.results.append(finding)
        return
    data = finding.data
    noted = {
        "index": rows[data["row"]],
        "ts": finding.ts,
        "type": finding.type,
        "feature": data["feature"],
        "source": data["source"],
        "message": finding.message,
    }
    if finding.type == "recovery":
        found.recoveries.append({**noted, "of": data["of"]})
    elif finding.severity == "alarm":
        wanted = ("method", "effect", "effect_unit", "since", "since_index", "before", "after")
        alarm = {**noted, **{name: data[name] for name in wanted if name in data}}
        found.alarms.append(alarm | {"since_index": rows[data["since_index"]]})


def _note_times(found: Replay, chunk: Chunk) -> None:
    if chunk.ts is not None:
        found.first_ts = float(chunk.ts[0]) if found.first_ts is None else found.first_ts
        found.last_ts = float(chunk.ts[-1])


def _note_states(found: Replay, watcher: Watcher) -> None:
    for features in watcher.status().values():
        for feature, state in features.items():
            if state["state"] in ("not_enough_reference", "learning"):
                listed = found.learning if state["state"] == "learning" else found.not_enough_reference
                if feature not in listed:
                    listed.append(feature)
                    found.missing[feature] = state["missing"]


def _note_valueless(found: Replay, features: list[str]) -> None:
    """Columns without any value appear nowhere else, unless their reference says what to expect."""
    alarmed = {alarm["feature"] for alarm in found.alarms}
    for feature in features:
        if feature not in alarmed and feature not in found.missing:
            found.not_enough_reference.append(feature)
            found.missing[feature] = "no row has a value"


__all__ = ["Replay", "Selection", "Settings", "build_reference", "replay"]
