"""Page and Hinkley's test for a change of the mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from edge_mlops_monitor.drift.streaming import FINE, FIRED, StreamDetector, check_above
from edge_mlops_monitor.errors import DataError

MODES = ("both", "up", "down")


class PageHinkley(StreamDetector):
    """Page-Hinkley: fires when the sum of deviations from the running mean has risen, or fallen, too far.

    `delta` is the deviation that is tolerated, `threshold` the rise of the sum that fires, both in the units
    of the data: standardise the stream first, or choose them for its scale. `alpha` forgets the sum slowly,
    `mode` is "both", "up" or "down"; it fires from `min_instances` values on. There is no warning level.

    Source: Page, Continuous inspection schemes, 1954; Hinkley, Inference about the change-point from
    cumulative sum tests, 1971; with forgetting: Mouss et al., Test of Page-Hinckley, 2004.

    >>> PageHinkley(threshold=20).update_many([0.0] * 100 + [1.0] * 100)
    [122]
    """

    name: ClassVar[str] = "page_hinkley"

    def __init__(
        self,
        min_instances: int = 30,
        delta: float = 0.005,
        threshold: float = 50.0,
        alpha: float = 0.9999,
        mode: str = "both",
    ) -> None:
        check_above(self.name, 0, min_instances=min_instances, threshold=threshold)
        if not 0 < alpha <= 1:
            raise DataError(f"page_hinkley needs alpha above 0 and at most 1, not {alpha!r}")
        if mode not in MODES:
            raise DataError(f"page_hinkley knows no mode={mode!r}; use one of {', '.join(MODES)}")
        self.min_instances = min_instances
        self.delta = delta
        self.threshold = threshold
        self.alpha = alpha
        self.mode = mode
        self._reset()

    def _reset(self) -> None:
        self._level = FINE
        self._rows = 0
        self._mean = 0.0
        self._up = self._down = 0.0
        self._lowest, self._highest = math.inf, -math.inf

    def _scan(self, values: Sequence[float], start: int) -> int:
        rows, mean, up, down = self._rows, self._mean, self._up, self._down
        lowest, highest = self._lowest, self._highest
        alpha, delta, first = self.alpha, self.delta, self.min_instances
        most_up = self.threshold if self.mode != "down" else math.inf
        most_down = self.threshold if self.mode != "up" else math.inf
        for at in range(start, len(values)):
            x = values[at]
            rows += 1
            mean += (x - mean) / rows
            x -= mean
            up = alpha * up + x - delta
            down = alpha * down + x + delta
            if up < lowest:
                lowest = up
            if down > highest:
                highest = down
            if (up - lowest > most_up or highest - down > most_down) and rows >= first:
                self._level = FIRED
                break
        self._rows, self._mean, self._up, self._down = rows, mean, up, down
        self._lowest, self._highest = lowest, highest
        return at + 1 - start
