"""Performance estimated without labels, every hour of a stream whose reference was built with labels.

It raises no alarm: what it follows from, scores and inputs, is watched for drift already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from edge_mlops_monitor.drift.lookup import References
from edge_mlops_monitor.drift.reference import FeatureReference
from edge_mlops_monitor.features import ERRORS
from edge_mlops_monitor.labelled import RESULT_SECONDS, result_of
from edge_mlops_monitor.performance.estimator import Estimator
from edge_mlops_monitor.records import DriftResult

MOST = 1000  # predictions that an estimate is about
MOST_STREAMS = 100

Stream = tuple[str | None, str | None, str | None]


class _Kept(msgspec.Struct):
    """The last rows of a stream, by the feature of its errors, and when the next estimate is due."""

    due: float
    rows: dict[str, bytes] = {}


class Estimates:
    """Keeps the last rows of each stream and estimates from them."""

    def __init__(self, references: Iterable[FeatureReference]) -> None:
        found = [one for one in references if one.only_rises and one.estimator]
        self._references = References(found)
        self._names = list(dict.fromkeys(one.name for one in found))
        self._estimators: dict[Stream, dict[str, Estimator]] = {}
        self._streams: dict[Stream, _Kept] = {}

    def update(self, stream: Stream, columns: Mapping[str, Any], ts: Any) -> list[DriftResult]:
        """Take in predictions of one stream, oldest first; estimates that were due come back as results."""
        estimators = self._of(stream) if self._names else {}
        if not estimators or not len(ts):
            return []
        kept = self._streams.get(stream)
        if kept is None:
            kept = self._streams[stream] = _Kept(float(ts[0]) + RESULT_SECONDS)
        times = np.asarray(ts, dtype=np.float64)
        found: list[DriftResult] = []
        begin = 0
        while begin < len(times):
            due = times[begin:] >= kept.due
            end = begin + int(due.argmax()) + 1 if due.any() else len(times)
            part = {name: column[begin:end] for name, column in columns.items()}
            self._keep(kept, estimators, part, end - begin)
            if due.any():
                kept.due = float(times[end - 1]) + RESULT_SECONDS
                found += self._results(stream, kept, estimators, float(times[end - 1]))
            begin = end
        return found

    def _of(self, stream: Stream) -> dict[str, Estimator]:
        """The estimators of a stream, by the feature of the errors."""
        if stream not in self._estimators:
            if len(self._estimators) >= MOST_STREAMS:
                return {}
            found = {name: self._references.find(stream, name, ()) for name in self._names}
            self._estimators[stream] = {
                name: msgspec.convert(one.estimator, Estimator) for name, one in found.items() if one
            }
        return self._estimators[stream]

    def _keep(
        self, kept: _Kept, estimators: Mapping[str, Estimator], columns: Mapping[str, Any], count: int
    ) -> None:
        for name, estimator in estimators.items():
            rows = estimator.rows(columns, count).astype(np.float32)
            width = rows.shape[1] * rows.itemsize
            kept.rows[name] = (kept.rows.get(name, b"") + rows.tobytes())[-MOST * width :]

    def _results(
        self, stream: Stream, kept: _Kept, estimators: Mapping[str, Estimator], ts: float
    ) -> list[DriftResult]:
        names = dict(zip(("model", "model_version", "source"), stream, strict=True))
        found = []
        for feature, estimator in estimators.items():
            rows = _table(kept.rows[feature], estimator)
            part = feature.removeprefix(ERRORS).removeprefix(".")
            for metric, figures in estimator.figures(rows).items():
                if figures["value"] is not None:
                    found.append(result_of(metric, estimator.method, figures, part, ts, len(rows), names))
        return found

    def status(self) -> list[dict[str, Any]]:
        """The present estimate of each stream."""
        found = []
        for stream, kept in self._streams.items():
            for feature, estimator in self._of(stream).items():
                rows = _table(kept.rows.get(feature, b""), estimator)
                about: dict[str, Any] = dict(zip(("model", "model_version", "source"), stream, strict=True))
                about |= {"feature": feature, "method": estimator.method, "rows": len(rows)}
                found.append({**about, "estimated": estimator.figures(rows)})
        return found

    def state(self) -> bytes:
        """All that goes on after a restart; empty where there is nothing."""
        return msgspec.msgpack.encode(list(self._streams.items())) if self._streams else b""

    def restore(self, state: bytes) -> None:
        """Go on from a state."""
        if state:
            self._streams = dict(msgspec.msgpack.decode(state, type=list[tuple[Stream, _Kept]]))


def _table(kept: bytes, estimator: Estimator) -> Any:
    width = len(estimator.columns) if estimator.model is None else 2 * len(estimator.model.absolute)
    return np.frombuffer(kept, dtype=np.float32).reshape(-1, width).astype(np.float64)
