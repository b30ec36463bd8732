"""From evidence to findings: warnings, alarms, recoveries and hourly results of one stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift import findings
from edge_mlops_monitor.drift.batch import WITHHELD, Batch
from edge_mlops_monitor.drift.budget import SHARES
from edge_mlops_monitor.drift.evidence import FINE, RETRY_ROWS, WARNED, Evidence
from edge_mlops_monitor.drift.findings import Change, Where, centre_of, change_of, scale_of
from edge_mlops_monitor.drift.groups import arrays_of
from edge_mlops_monitor.drift.history import STEP_ROWS
from edge_mlops_monitor.drift.onset import Onset, onset
from edge_mlops_monitor.drift.path import ALARMED
from edge_mlops_monitor.drift.reference import WINSORISED, FeatureReference, Stream
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.steps import Steps
from edge_mlops_monitor.records import DriftResult, Event

Floats = NDArray[np.float64]
Found = list[tuple[int, "DriftResult | Event"]]  # with the block in which it was found

METHOD = "e_detector"
LEVELS = {FINE: "fine", WARNED: "warning", ALARMED: "alarm"}
LARGEST = 1e6  # standardised values beyond count as this
RECENT_ROWS = 400
LEAST_DATA = 25  # rows below which an answer says that there are not enough


class EvidenceJudge:
    """Decides by the e-detector under the false-alarm budget."""

    def __init__(self, settings: Settings, stream: Stream) -> None:
        self.settings, self.stream = settings, stream
        self.block_rows = STEP_ROWS
        self.names: list[str] = []
        self.evidence = Evidence([])
        self.alarms: dict[str, dict[str, Any]] = {}  # open alarms: since when, which event
        self._arrays: dict[str, list[str]] = {}  # by feature of an array: all of that array
        self._scale()

    @property
    def references(self) -> list[FeatureReference]:
        """The features' references, in the order of `names`."""
        return self.evidence.references

    def lacks(self, reference: FeatureReference) -> str:
        """What a reference lacks for decisions; empty where nothing."""
        return reference.lacks

    def keep(
        self, features: Sequence[int], names: Sequence[str], references: Sequence[FeatureReference]
    ) -> None:
        """Go on with some of the features, and with new ones."""
        self.names = [self.names[feature] for feature in features] + list(names)
        self.evidence = self.evidence.keep(features, references)
        self.alarms = {name: data for name, data in self.alarms.items() if name in self.names}
        of = arrays_of(self.names)
        self._arrays = {name: [other for other in of if of[other] == array] for name, array in of.items()}
        self._scale()

    def _scale(self) -> None:
        self._centre, self._unit = (
            np.array(
                [[of(reference, name) for reference in self.references] for name in self.evidence.labels]
            )
            for of in (centre_of, scale_of)
        )
        largest = [WINSORISED if reference.robust else LARGEST for reference in self.references]
        self._largest = np.array(largest)

    def take(self, batch: Batch, features: int) -> Found:
        """Take in blocks of rows, with the budget split over so many `features`."""
        if not self.names:
            return []
        steps = self._steps(batch, features)
        found: Found = []
        block = 0
        while block < batch.blocks:
            block, changes = self.evidence.advance(steps, block)
            if changes is not None:
                for feature in changes.back:
                    found += self._recover(feature, batch, block - 1)
                for feature in changes.falling:
                    found += self._level(feature, FINE, batch, block - 1)
                for feature in changes.rising:
                    found += self._rise(feature, batch, block - 1)
        return found

    def _steps(self, batch: Batch, features: int) -> Steps:
        evidence = self.evidence
        codes = batch.codes + evidence.starts
        if batch.codes.min() == WITHHELD:
            codes[batch.codes == WITHHELD] = evidence.cells
        shares = batch.shares * (SHARES[self.settings.share] / max(1, features))
        return Steps(
            codes.reshape(batch.blocks, batch.rows, -1),
            evidence.cells,
            self._moments(batch),
            shares,
            batch.ts[:: batch.rows],
            batch.first_row,
            self._contexts(batch),
        )

    def _contexts(self, batch: Batch) -> NDArray[np.int64]:
        """The number of each block's context; 0 for one that is not known, whose rows are withheld."""
        if batch.contexts is None:
            return np.zeros(batch.blocks, dtype=np.int64)
        index = {name: number for number, name in enumerate(self.evidence.labels)}
        return np.array([index.get(name, 0) for name in batch.contexts], dtype=np.int64)

    def _moments(self, batch: Batch) -> Floats:
        """Rows, sum and sum of squares of the standardised values, by block and feature."""
        at = np.repeat(self._contexts(batch), batch.rows) if batch.contexts else 0
        with np.errstate(over="ignore"):
            scores = (batch.values - self._centre[at]) / self._unit[at]
        whole = np.empty((3, *scores.shape))
        counted = (scores == scores) & (batch.codes != WITHHELD)
        whole[0] = counted
        np.minimum(np.maximum(scores, -self._largest), self._largest, out=whole[1])
        if not counted.all():
            whole[1][~counted] = 0.0
        np.multiply(whole[1], whole[1], out=whole[2])
        return np.asarray(np.einsum("mbrf->bmf", whole.reshape(3, batch.blocks, batch.rows, -1)))

    def _where(self, feature: int, batch: Batch, block: int) -> Where:
        return Where(self.stream, self.names[feature], batch.last_row(block), batch.last_ts(block))

    def _change(self, feature: int, counts: Floats, moments: Floats, null: Floats, cause: str = "") -> Change:
        if counts.sum() <= 0:
            return change_of(self.references[feature], null, null, moments, 0)
        rows = round(float(counts.sum() * self.evidence.tau[feature]))
        return change_of(self.references[feature], counts / counts.sum(), null, moments, rows, cause)

    def _rise(self, feature: int, batch: Batch, block: int) -> Found:
        state, where = self.evidence.state, self._where(feature, batch, block)
        if self.evidence.total[feature] < 1:
            return self._level(feature, WARNED, batch, block)
        since = onset(self.evidence, feature, where.row)
        due = where.row + 1 >= state["retry_row"][feature]
        if not self._is_enough(feature, since) or not (since.recent or due):
            if due:
                state["retry_row"][feature] = where.row + RETRY_ROWS
            return self._level(feature, WARNED, batch, block) if state["level"][feature] == FINE else []
        cause = self.evidence.cause(feature)
        change = self._change(feature, since.counts, since.moments, since.null, cause)
        event = findings.alarm(where, METHOD, change, since.ts, since.row)
        self.alarms[where.feature] = {
            "type": event.type,
            "event": event.id,
            "since": since.ts,
            "effect": change.effect,
            "size": since.size,
            "context": since.context,
        }
        result = self._result(feature, where, change, ALARMED)
        self.evidence.alarm(feature, since.counts, where.row)
        return [(block, result), (block, event)]

    def _is_enough(self, feature: int, since: Onset) -> bool:
        """Whether a change is worth an alarm; errors must have risen above those of the reference itself."""
        least = self.settings.minimum_effect
        if since.size < least or not self.references[feature].only_rises:
            return since.size >= least
        base = self.evidence.base[:, self.evidence.cells_of(feature)].sum(axis=0)  # over all contexts
        return bool(since.moments[1] > 0 and since.than(base / base.sum()).size >= least)

    def _level(self, feature: int, level: int, batch: Batch, block: int) -> Found:
        self.evidence.state["level"][feature] = level
        where = self._where(feature, batch, block)
        since = onset(self.evidence, feature, where.row)
        change = self._change(feature, since.counts, since.moments, since.null)
        return [(block, self._result(feature, where, change, level))]

    def _recover(self, feature: int, batch: Batch, block: int) -> Found:
        where = self._where(feature, batch, block)
        opened = self.alarms[where.feature]
        is_back = self.evidence.is_back(feature, where.row, opened["size"], opened["context"])
        if is_back is False:
            self.evidence.is_not_back(feature)
        if not is_back:
            return []
        for name in self._arrays.get(where.feature, [where.feature]):
            place = self.names.index(name)
            if place == feature or self.evidence.state["level"][place] != ALARMED:
                self.evidence.recover(place)  # explained by the fault that is over
        del self.alarms[where.feature]
        event = findings.recovery(where, opened["type"], "is back at its reference", opened["since"])
        return [(block, self._result(feature, where, self.recent(feature, where.row), FINE)), (block, event)]

    def recent(self, feature: int, row: int) -> Change | None:
        """How the last few hundred rows differ from the reference; None where there are none."""
        evidence = self.evidence
        first = max(row - RECENT_ROWS + 1, 0)
        seen = evidence.history.since(evidence.cells_of(feature), feature, first, row)
        counts = seen.counts[-1] / evidence.tau[feature]
        if counts.sum() <= 0:
            return None
        null = evidence.null(feature, seen.expected[-1:])[0]
        return self._change(feature, counts, seen.moments[-1], null / null.sum())

    def _result(self, feature: int, where: Where, change: Change | None, level: int) -> DriftResult:
        rows = change.rows if change is not None else 0
        enough = level != FINE or rows >= LEAST_DATA
        lacks = f"{rows} rows have come since the reference, and {LEAST_DATA} are needed for an answer"
        return findings.result(
            where,
            METHOD,
            statistic=float(self.evidence.total[feature]),
            threshold=1.0,
            is_drift=level == ALARMED if enough else None,
            state=LEVELS[level] if enough else "not_enough_data",
            change=change,
            sample_size=rows,
            lacks="" if enough else lacks,
        )

    def results(self, row: int, ts: float) -> list[DriftResult]:
        """The present answer about each feature."""
        levels = self.evidence.state["level"]
        return [
            self._result(i, Where(self.stream, name, row, ts), self.recent(i, row), int(levels[i]))
            for i, name in enumerate(self.names)
        ]

    def level_of(self, feature: int, row: int) -> str:
        """fine, warning or alarm, as of this row; not_enough_data where too few rows came to say fine."""
        level = int(self.evidence.state["level"][feature])
        if level == FINE:
            first = max(row - RECENT_ROWS + 1, 0)
            seen = self.evidence.history.since(self.evidence.cells_of(feature), feature, first, max(row, 0))
            if seen.counts[-1].sum() < LEAST_DATA:
                return "not_enough_data"
        return LEVELS[level]

    def clear(self, feature: int) -> None:
        """End an alarm without waiting for the feature to come back."""
        self.alarms.pop(self.names[feature], None)
        self.evidence.recover(feature)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The state, for keeping."""
        return {**self.evidence.state, **self.evidence.history.state}

    def resume(self) -> None:
        """Go on from a state that was put in place."""
        self.evidence.resume()
