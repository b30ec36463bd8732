"""The evidence about each feature over the rows of a replay, thinned out to what a picture can show."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from edge_mlops_monitor.records import DriftResult

TRACE_ROWS = 100  # rows between two points while the trace is short
MOST_POINTS = 1000
LEAST = 1e-9  # of a level, which may be shown on a logarithmic scale
Key = tuple["str | None", str]  # source and feature
Point = tuple[int, float, float]


class Trace(msgspec.Struct):
    """`points` by source and feature: row, time and level, where at level 1 an alarm is due.

    Points are `every` times TRACE_ROWS rows apart.
    """

    points: dict[Key, list[Point]] = {}
    every: int = 1
    newest: dict[str | None, int] = {}

    def due(self, source: str | None, row: int) -> bool:
        """Whether a point of a source is due at this row."""
        return row - self.newest.get(source, -row) >= self.every * TRACE_ROWS - TRACE_ROWS // 2

    def take(self, source: str | None, row: int, ts: float, results: Iterable[DriftResult]) -> None:
        """Note the present answers about the features of a source."""
        self.newest[source] = row
        for result in results:
            if result.source == source:
                self.points.setdefault((source, result.feature), []).append((row, ts, level(result)))
        if max(map(len, self.points.values()), default=0) > MOST_POINTS:
            self._thin()

    def _thin(self) -> None:
        """Halve the points, of two neighbours the higher."""
        self.every *= 2
        for key, points in self.points.items():
            pairs = [points[place : place + 2] for place in range(0, len(points), 2)]
            self.points[key] = [max(pair, key=lambda point: point[2]) for pair in pairs]


def level(result: DriftResult) -> float:
    """How near an alarm is: the statistic over its threshold, or the threshold over the p-value.

    >>> level(DriftResult(feature="a", method="ks_test", statistic=0.2, p_value=0.01, threshold=0.05))
    5.0
    """
    if not result.threshold or result.statistic is None:
        return LEAST
    if result.p_value is not None:
        return result.threshold / max(result.p_value, LEAST)
    return max(result.statistic / result.threshold, LEAST)
