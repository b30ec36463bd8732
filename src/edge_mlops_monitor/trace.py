"""The evidence about each feature over the rows of a replay, thinned out to what a picture can show."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from edge_mlops_monitor.records import DriftResult

TRACE_ROWS = 250  # rows between two points while the trace is short
MOST_POINTS = 1200
LEAST = 1e-9  # of a level, which may be shown on a logarithmic scale
Key = tuple["str | None", str]  # source and feature
Point = tuple[int, float, float]


class Trace(msgspec.Struct):
    """`points` by source and feature: row, time and level, where at level 1 an alarm is due.

    A point is the highest of `every` times TRACE_ROWS rows.
    """

    points: dict[Key, list[Point]] = {}
    every: int = 1

    def take(self, row: int, ts: float, results: Iterable[DriftResult]) -> None:
        """Note the present answers of all features at a row."""
        for result in results:
            points = self.points.setdefault((result.source, result.feature), [])
            self._put(points, (row, ts, level(result)))
            if len(points) > MOST_POINTS:
                self._thin()

    def _put(self, points: list[Point], point: Point) -> None:
        stretch = self.every * TRACE_ROWS
        if points and points[-1][0] // stretch == point[0] // stretch:
            points[-1] = max(points[-1], point, key=lambda one: one[2])
        else:
            points.append(point)

    def _thin(self) -> None:
        self.every *= 2
        for points in self.points.values():
            before, points[:] = list(points), []
            for point in before:
                self._put(points, point)


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
