"""The e-detector: finds a change of any kind in a stream, with a promised rate of false alarms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from edge_mlops_monitor.drift.batch import Batch, Encoder
from edge_mlops_monitor.drift.budget import SHARES
from edge_mlops_monitor.drift.judge import EvidenceJudge
from edge_mlops_monitor.drift.reference import Column, build_feature
from edge_mlops_monitor.drift.samples import sample_column
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.records import Event


class EDetector:
    """Fires once when the stream has changed, and again after it was back at its reference.

    It compares the stream with a reference block by block, as the device does for each of its features
    (`drift.evidence`): ratios of predictive probabilities are accumulated by the Shiryaev-Roberts recursion.
    `reference` holds the time-ordered values of a healthy time, numbers or categories (`categorical`);
    `average_run_length` is the number of values between two false alarms that is promised;
    `minimum_effect`, in Cohen's w, is the smallest change that is worth an alarm. Raises `DataError`
    where the reference is too short, also for its own autocorrelation.

    Source: Shin, Ramdas and Rinaldo, E-detectors: a nonparametric framework for sequential change detection,
    2022.

    >>> rng = np.random.default_rng(3)
    >>> detector = EDetector(rng.normal(size=1000), average_run_length=100_000)
    >>> detector.update_many(rng.normal(size=5000))
    []
    >>> [index < 100 for index in detector.update_many(rng.normal(1, 1, size=1000))]
    [True]
    """

    def __init__(
        self,
        reference: Sequence[Any],
        average_run_length: float = 100_000.0,
        minimum_effect: float = 0.0,
        categorical: bool = False,
    ) -> None:
        if not isinstance(average_run_length, (int, float)) or not average_run_length >= 1:
            raise DataError("average_run_length must be at least 1; give the values between two false alarms")
        self.average_run_length = average_run_length
        self.minimum_effect = minimum_effect
        column = sample_column("e_detector", reference)
        self._reference = build_feature("x", column, categorical=categorical, checks=False)
        if self._reference.lacks:
            raise DataError(f"e_detector cannot decide: {self._reference.lacks}")
        settings = Settings(average_run_length=average_run_length, minimum_effect=minimum_effect)
        self._judge = EvidenceJudge(settings, (None, None, None))
        self._judge.keep([], ["x"], [self._reference])
        self._encoder = Encoder(["x"], [self._reference])
        self._rows = 0
        self._pending: list[Any] = []
        self._fired = False

    @property
    def drift_detected(self) -> bool:
        """Whether the last update fired."""
        return self._fired

    @property
    def warning_detected(self) -> bool:
        """Whether there is much evidence for a change, or an alarm that is not over."""
        return self._judge.level_of(0, self._rows - 1) in ("warning", "alarm")

    def update(self, x: Any) -> None:
        """Take in one value (None is missing)."""
        self.update_many([x])

    def update_many(self, xs: Iterable[Any]) -> list[int]:
        """Take in many values; the indices at which the detector fired."""
        waiting = len(self._pending)
        column = sample_column("e_detector", xs)
        values: Any = column
        if self._pending:
            values = [*self._pending, *(column.tolist() if isinstance(column, np.ndarray) else column)]
        whole = len(values) // self._judge.block_rows * self._judge.block_rows
        self._pending = list(values[whole:])
        fired = self._take(values[:whole]) if whole else []
        self._fired = bool(fired) and fired[-1] == len(values) - 1
        return [index - waiting for index in fired]

    def _take(self, values: Column) -> list[int]:
        numbers, codes = self._encoder.encode({"x": values}, len(values))
        blocks = len(values) // self._judge.block_rows
        share = self._judge.block_rows / self.average_run_length / SHARES["drift"]  # no other check
        batch = Batch(numbers, codes, np.full(len(values), math.nan), self._rows, np.full(blocks, share))
        found = self._judge.take(batch, 1)
        self._rows += len(values)
        return [
            (block + 1) * batch.rows - 1
            for block, finding in found
            if isinstance(finding, Event) and finding.severity == "alarm"
        ]
