"""Labels and estimates in a replay: the same decisions as on the device, where every label comes at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_mlops_monitor.drift.reference import FeatureReference
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.estimates import Estimates
from edge_mlops_monitor.labelled import LabelledWatcher, recorded
from edge_mlops_monitor.records import DriftResult, Event

Stream = tuple[str | None, str | None, str | None]


class Rated:
    """What labels and estimates say over recorded data."""

    def __init__(self, settings: Settings, references: Iterable[FeatureReference]) -> None:
        of_errors = [one for one in references if one.only_rises]
        self._labelled = LabelledWatcher(settings, of_errors)
        self._labelled.judged = {}
        self._estimates = Estimates(of_errors)

    def take(
        self,
        stream: Stream,
        columns: Mapping[str, Any],
        actuals: Sequence[Any] | None,
        ts: Any,
        rows: Sequence[int],
    ) -> list[DriftResult | Event]:
        """Take in rows of a stream, which are these `rows` of the file."""
        found: list[DriftResult | Event] = list(self._estimates.update(stream, columns, ts))
        if actuals is not None:
            found += self._labelled.update(stream, list(recorded(columns, actuals, ts, rows)))
        return found

    def rows(self, stream: Stream) -> list[int]:
        """The rows of the file that were judged, in the order in which they were."""
        return [int(id) for id in (self._labelled.judged or {}).get(stream, ())]

    def status(self) -> dict[Stream, dict[str, dict[str, Any]]]:
        """The states of the errors, by stream and feature."""
        return self._labelled.status()

    def summary(self) -> dict[str, Any]:
        """The figures at the end, as `get_status()["performance"]` has them; empty where there are none."""
        figures, estimates = self._labelled.figures(), self._estimates.status()
        found: dict[str, Any] = {}
        if figures or self._labelled.counts:
            found = {"labels": dict(self._labelled.counts), "figures": figures}
        return found | ({"estimates": estimates} if estimates else {})
