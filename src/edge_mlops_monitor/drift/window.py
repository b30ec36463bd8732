"""`algorithm: ks_test`: every window of `check_frequency` predictions is compared with the reference.

It does what it says: a p-value below `threshold` is drift, so on healthy data a share `threshold` of all
windows of every feature is (see docs/decisions/0003-false-alarm-budget.md). An alarm is still one event,
and is over after three windows without drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift import findings
from edge_mlops_monitor.drift.batch import Batch
from edge_mlops_monitor.drift.binning import mean_and_sd
from edge_mlops_monitor.drift.comparisons.ks_test import KSTest
from edge_mlops_monitor.drift.findings import Change, Where
from edge_mlops_monitor.drift.reference import FeatureReference, Stream
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.records import DriftResult, Event

METHOD = "ks_test"
CALM_WINDOWS = 3
ORDERED = 20  # a reference with fewer values decides nothing


class WindowJudge:
    """Decides by a two-sample test on each window; has the interface of `EvidenceJudge`."""

    def __init__(self, settings: Settings, stream: Stream) -> None:
        self.settings, self.stream = settings, stream
        self.block_rows = settings.check_frequency
        self.names: list[str] = []
        self.references: list[FeatureReference] = []
        self.alarms: dict[str, dict[str, Any]] = {}
        # by feature: windows without drift since the last with, and the last window's figures
        self.arrays: dict[str, NDArray[Any]] = {"calm": np.zeros(0, dtype=np.int64), "last": np.zeros((4, 0))}
        self._test = KSTest()

    def lacks(self, reference: FeatureReference) -> str:
        """What a reference lacks for decisions; empty where nothing."""
        if not reference.numeric:
            return "ks_test compares numbers and this is a category; use algorithm e_detector"
        if reference.values is None:
            return "ks_test needs the raw values of the reference; build it with `reference build --raw`"
        if len(reference.values) < ORDERED:
            return f"the reference has {len(reference.values)} values; give at least {ORDERED}"
        return ""

    def keep(
        self, features: Sequence[int], names: Sequence[str], references: Sequence[FeatureReference]
    ) -> None:
        """Go on with some of the features, and with new ones."""
        self.names = [self.names[i] for i in features] + list(names)
        self.references = [self.references[i] for i in features] + list(references)
        self.alarms = {name: data for name, data in self.alarms.items() if name in self.names}
        chosen, new = np.asarray(features, dtype=np.int64), len(names)
        self.arrays["calm"] = np.concatenate((self.arrays["calm"][chosen], np.zeros(new, dtype=np.int64)))
        self.arrays["last"] = np.concatenate(
            (self.arrays["last"][:, chosen], np.full((4, new), np.nan)), axis=1
        )

    def take(self, batch: Batch, features: int) -> list[tuple[int, DriftResult | Event]]:
        """Compare each window, feature by feature."""
        found: list[tuple[int, DriftResult | Event]] = []
        for block in range(batch.blocks):
            part = slice(block * batch.rows, (block + 1) * batch.rows)
            for feature, name in enumerate(self.names):
                where = Where(self.stream, name, batch.last_row(block), batch.last_ts(block))
                since = batch.first_row + part.start, float(batch.ts[part.start])
                # Rows that the checks withhold count too, as in 0.1.1: this is the whole window.
                window = batch.values[part, feature]
                found += [(block, finding) for finding in self._judge(feature, where, window, since)]
        return found

    def _judge(
        self, feature: int, where: Where, window: NDArray[np.float64], since: tuple[int, float]
    ) -> list[DriftResult | Event]:
        window = window[~np.isnan(window)]
        if not len(window):
            return []
        answer = self._test.compare(self.references[feature].values, window, self.settings.threshold)
        drifted = bool(answer.is_drift)
        self.arrays["last"][:, feature] = (answer.statistic, answer.p_value, *mean_and_sd(window))
        self.arrays["calm"][feature] = 0 if drifted else self.arrays["calm"][feature] + 1
        found: list[DriftResult | Event] = []
        if drifted and where.feature not in self.alarms:
            event = findings.alarm(where, METHOD, self._change(feature, len(window)), since[1], since[0])
            self.alarms[where.feature] = {
                "type": event.type,
                "event": event.id,
                "since": since[1],
                "effect": event.data["effect"],
            }
            found.append(event)
        elif where.feature in self.alarms and self.arrays["calm"][feature] >= CALM_WINDOWS:
            opened = self.alarms.pop(where.feature)
            found.append(findings.recovery(where, "drift", "is back at its reference", opened["since"]))
        return [self._result(feature, where, len(window)), *found]

    def _change(self, feature: int, rows: int) -> Change:
        reference = self.references[feature]
        _, _, mean, sd = self.arrays["last"][:, feature].tolist()
        effect = (mean - (reference.mean or 0.0)) / findings.scale_of(reference)
        words = f"shifted by {effect:+.2f} reference sd (mean {reference.mean:.4g} -> {mean:.4g})"
        before, after = {"mean": reference.mean, "sd": reference.sd}, {"mean": mean, "sd": sd}
        return Change(effect=effect, unit="reference sd", words=words, before=before, after=after, rows=rows)

    def _result(self, feature: int, where: Where, rows: int) -> DriftResult:
        statistic, p_value, _, _ = self.arrays["last"][:, feature].tolist()
        return findings.result(
            where,
            METHOD,
            statistic=statistic,
            p_value=p_value,
            threshold=self.settings.threshold,
            is_drift=p_value < self.settings.threshold,
            state=self.level_of(feature, where.row),
            change=self._change(feature, rows),
            sample_size=rows,
        )

    def results(self, row: int, ts: float) -> list[DriftResult]:
        """The last window's answer about each feature; none where no window is full yet."""
        seen = ~np.isnan(self.arrays["last"][0])
        return [
            self._result(i, Where(self.stream, name, row, ts), self.block_rows)
            for i, name in enumerate(self.names)
            if seen[i]
        ]

    def level_of(self, feature: int, row: int) -> str:
        """fine or alarm; not_enough_data until a window is full."""
        if np.isnan(self.arrays["last"][0, feature]):
            return "not_enough_data"
        return "alarm" if self.names[feature] in self.alarms else "fine"

    def clear(self, feature: int) -> None:
        """End an alarm without waiting for the feature to come back."""
        self.alarms.pop(self.names[feature], None)

    def resume(self) -> None:
        """Go on from a state that was put in place."""
