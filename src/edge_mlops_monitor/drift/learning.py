"""Learning a reference on the device: a bounded, time-ordered sample of the first predictions.

Rows are kept as whole blocks of consecutive rows, so that their autocorrelation can be measured. Where
the hours to learn bring more rows than are kept, every second block is dropped, then every second of
what remains, so that the sample stays even over the whole time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edge_mlops_monitor.drift.context import HOUR_OF_DAY, LEAST_VISITS
from edge_mlops_monitor.drift.reference import FeatureReference, build_feature
from edge_mlops_monitor.drift.settings import Settings

LEAST_ROWS = 100
BLOCK_ROWS = 25  # consecutive rows that are kept or dropped together
ROWS_BY_HOUR = 125  # of each hour of the day, where the reference is to know them
CONTEXT = " context"  # where the rows' contexts are kept
PATIENCE = 8  # times the rows that are asked for, before a feature that wanders is given up


class Learning(msgspec.Struct):
    """Features that began to be learned together, and what was kept of them."""

    names: list[str]
    started_ts: float
    started_row: int
    target: int
    stride: int = 1
    seen_blocks: int = 0
    kept: list[dict[str, list[Any]]] = []
    joint: bool = False  # learns how the features go together, not each of them
    open: dict[str, list[Any]] = {}  # the rows of a block that is not complete

    def due(self, settings: Settings, rows: int, ts: float) -> bool:
        """Whether enough was seen once `rows` rows were, the last at `ts`."""
        hours = (ts - self.started_ts) / 3600
        return rows - self.started_row >= self.target and hours >= learning_hours(settings)

    def take(self, columns: Mapping[str, list[Any]]) -> None:
        """Take in rows: a column for each of the names, and perhaps their contexts."""
        waiting = {name: [*self.open.get(name, ()), *column] for name, column in columns.items()}
        rows = len(waiting[self.names[0]])
        whole = rows - rows % BLOCK_ROWS
        for begin in range(0, whole, BLOCK_ROWS):
            if self.seen_blocks % self.stride == 0:
                self.kept.append(
                    {name: column[begin : begin + BLOCK_ROWS] for name, column in waiting.items()}
                )
                self._thin()
            self.seen_blocks += 1
        self.open = {name: column[whole:] for name, column in waiting.items()}

    def _thin(self) -> None:
        if len(self.kept) * BLOCK_ROWS > 2 * self.target + BLOCK_ROWS:
            self.kept = self.kept[::2]
            self.stride *= 2

    def build(self, name: str, settings: Settings, **stream: Any) -> FeatureReference:
        """The reference of one feature from what was kept."""
        column, labels = self.column(name), self.column(CONTEXT)
        return build_feature(
            name,
            column,
            keep_values=settings.algorithm == "ks_test",
            segment=self.segment,
            context=settings.context,
            labels=labels or None,
            **stream,
        )

    def column(self, name: str) -> list[Any]:
        """What was kept of one feature, in the order of time."""
        return [value for block in self.kept for value in block.get(name, ())]

    @property
    def segment(self) -> int:
        """The rows of a stretch without gaps; 0 where there are no gaps."""
        return BLOCK_ROWS if self.stride > 1 else 0

    def release(self, names: list[str], settings: Settings) -> bool:
        """Stop learning `names` and go on with the others for twice as long; whether any is left."""
        self.names = [name for name in self.names if name not in names]
        for block in self.kept:
            for name in names:
                del block[name]
        self.open = {name: column for name, column in self.open.items() if name not in names}
        self.target *= 2
        return bool(self.names) and self.target <= PATIENCE * learning_rows(settings)

    def missing(self, settings: Settings, rows: int, ts: float) -> str:
        """What is still missing, as words."""
        parts = []
        left = self.target - (rows - self.started_row)
        if left > 0:
            parts.append(f"{left} predictions")
        hours = learning_hours(settings) - (ts - self.started_ts) / 3600
        if hours > 0:
            parts.append(f"{hours:.1f} hours")
        return " and ".join(parts) or "the end of this block"


def learning_rows(settings: Settings) -> int:
    """The rows a learned reference needs at least."""
    by_hour = 24 * ROWS_BY_HOUR if settings.context == HOUR_OF_DAY else 0
    return max(settings.learn_reference, LEAST_ROWS, by_hour)


def learning_hours(settings: Settings) -> float:
    """The hours that a learned reference needs at least."""
    days = LEAST_VISITS if settings.context == HOUR_OF_DAY else 0
    return max(settings.learn_reference_hours, 24.0 * days)
