"""What a recording holds beside its features: how long it is, and when it is known to have changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.layout import Chunk, Column
from edge_mlops_monitor.scoring import Change, Found, Labels, Score, baselines, score


class Recording:
    """Takes in the chunks of a file; afterwards it can say what alarms are worth.

    `changes` are what is known to have happened; without them the column of labels tells, where the
    chunks have one.
    """

    def __init__(self, path: Path, changes: Sequence[Change] | None = None) -> None:
        self.path = path
        self.predictions = self.out_of_order = 0
        self.first_ts: float | None = None
        self.last_ts: float | None = None
        self._newest = -math.inf
        self._has_value: dict[str, bool] = {}
        self._changes = None if changes is None else list(changes)
        self._labels: Labels | None = None
        ends = [end for change in changes or () for end in (change.start, change.end) if end is not None]
        self._moments = dict.fromkeys(ends, math.nan)  # the times at which changes begin and end

    @property
    def features(self) -> list[str]:
        """All features, in the order of their columns."""
        return list(self._has_value)

    @property
    def valueless(self) -> list[str]:
        """Features without any value."""
        return [name for name, has in self._has_value.items() if not has]

    def has(self, feature: str) -> bool:
        """Whether there is a column of this name, with its side or without."""
        sides = [feature, f"inputs.{feature}", f"outputs.{feature}"]
        return any(name in self._has_value for name in sides)

    @property
    def hours(self) -> float | None:
        """How long it took; None without times, or where they do not go on."""
        if self.first_ts is None or self._newest <= self.first_ts:
            return None
        return (self._newest - self.first_ts) / 3600

    def take(self, chunk: Chunk) -> None:
        """Take in some rows."""
        self.predictions += chunk.rows
        for name, column in chunk.columns.items():
            self._has_value[name] = self._has_value.get(name, False) or _has_value(column)
        if chunk.changes is not None:
            self._labels = self._labels or Labels()
            for row in self._labels.take(chunk.changes):
                self._moments[row] = math.nan
        if chunk.ts is not None:
            self._take_times(chunk)

    def _take_times(self, chunk: Chunk) -> None:
        times: Any = chunk.ts
        latest = np.maximum.accumulate(np.concatenate(([self._newest], times)))
        self.out_of_order += int((times < latest[:-1]).sum())
        self._newest = float(latest[-1])
        self.first_ts = float(times[0]) if self.first_ts is None else self.first_ts
        self.last_ts = float(times[-1])
        for row in self._moments:
            if chunk.first_row <= row < chunk.first_row + chunk.rows:
                self._moments[row] = float(times[row - chunk.first_row])

    def verdict(self, alarms: Sequence[dict[str, Any]], every: int) -> dict[str, Any] | None:
        """What the alarms are worth, beside baselines that fire every so many rows; None without a truth.

        `changes` (each with `index`, `ts`, `until`, `until_ts`, `feature`, `alarm_index`, `delay` in rows
        and `delay_seconds`), `missed`, `median_delay`, `false_alarms`, `repeated`, `elsewhere`,
        `stable_rows`, `stable_seconds`, and the same of `baselines`.
        """
        changes = self._changes if self._labels is None else self._labels.changes()
        if changes is None:
            return None
        self._check_features(changes)
        try:
            scored = score(
                [(alarm["index"], alarm["feature"]) for alarm in alarms], changes, self.predictions
            )
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from None
        beside = baselines(len(alarms), changes, self.predictions, every)
        times = {alarm["index"]: alarm["ts"] for alarm in alarms}
        return {
            "changes": [self._told(change, times) for change in scored.changes],
            **self._summary(scored),
            "baselines": {name: self._summary(one) for name, one in beside.items()},
        }

    def _check_features(self, changes: Iterable[Change]) -> None:
        known = [*self._has_value, *(name.partition(".")[2] for name in self._has_value)]
        for change in changes:
            if change.feature is not None and change.feature not in known:
                near = get_close_matches(change.feature, known, n=1, cutoff=0.5)
                hint = f"; did you mean '{near[0]}'?" if near else f"; it has: {', '.join(self._has_value)}"
                raise DataError(f"{self.path}: has no feature '{change.feature}' that could change{hint}")

    def _told(self, change: Found, times: dict[int, float]) -> dict[str, Any]:
        begun, alarm = self._moment(change.start), change.alarm
        return {
            "index": change.start,
            "ts": begun,
            "until": change.end,
            "until_ts": self._moment(change.end),
            "feature": change.feature,
            "alarm_index": alarm,
            "delay": change.delay,
            "delay_seconds": None if alarm is None or begun is None else times[alarm] - begun,
        }

    def _moment(self, row: int) -> float | None:
        """The time at which a change begins or ends; None without times."""
        moment = self._moments.get(row, self.last_ts)
        return None if moment is None or math.isnan(moment) else moment

    def _summary(self, scored: Score) -> dict[str, Any]:
        return {
            "missed": scored.missed,
            "median_delay": scored.median_delay,
            "false_alarms": scored.false_alarms,
            "repeated": scored.repeated,
            "elsewhere": scored.elsewhere,
            "stable_rows": scored.stable_rows,
            "stable_seconds": self._stable_seconds(scored),
        }

    def _stable_seconds(self, scored: Score) -> float | None:
        """Seconds in which nothing is changed; None without times."""
        if self.first_ts is None or self.last_ts is None:
            return None
        begun, seconds = self.first_ts, 0.0
        for start, end in scored.changed:
            seconds += max(0.0, self._moments.get(start, begun) - begun)
            begun = self._moments.get(end, self.last_ts)
        return seconds + max(0.0, self.last_ts - begun)


def _has_value(column: Column) -> bool:
    if isinstance(column, list):
        return any(value is not None for value in column)
    return not np.isnan(column).all()
