"""HDDM_W: watches a weighted mean of bounded values by McDiarmid's bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from edge_mlops_monitor.drift.streaming import FINE, FIRED, WARNED, ErrorDetector, check_share


class HDDMW(ErrorDetector):
    """McDiarmid's bound on weighted averages: fires when recent values differ from those before.

    An exponentially weighted mean with weight `lambda_val` for the newest value is kept of all values; where
    it plus its bound is smallest is the cut point, and a second one is kept of the values since. It fires
    when they differ by `sqrt((w1 + w2) ln(1 / drift_confidence) / 2)`, w being the sums of squared weights,
    and warns with `warning_confidence`; with `two_sided_test` also when the mean has fallen. Takes values
    from 0 to 1, errors or any other. Better than `hddm_a` for gradual changes.

    Source: Frias-Blanco et al., Online and non-parametric drift detection methods based on Hoeffding's
    bounds, 2015.

    >>> HDDMW().update_many([0, 0, 0, 0, 1] * 100 + [1, 1, 1, 0] * 20)
    [522]
    """

    name: ClassVar[str] = "hddm_w"

    def __init__(
        self,
        drift_confidence: float = 0.001,
        warning_confidence: float = 0.005,
        lambda_val: float = 0.05,
        two_sided_test: bool = False,
    ) -> None:
        check_share(self.name, drift_confidence=drift_confidence, warning_confidence=warning_confidence)
        check_share(self.name, lambda_val=lambda_val)
        self.drift_confidence = drift_confidence
        self.warning_confidence = warning_confidence
        self.lambda_val = lambda_val
        self.two_sided_test = two_sided_test
        self._reset()

    def _reset(self) -> None:
        self._level = FINE
        self._all = [0.0, 0.0]  # mean, and the sum of its squared weights
        # mean plus bound at the cut point, mean and weights before it, mean and weights since
        self._low = [math.inf, 0.0, 0.0, 0.0, 0.0]
        self._high = [math.inf, 0.0, 0.0, 0.0, 0.0]  # the same of the values' negatives

    def _scan(self, values: Sequence[float], start: int) -> int:
        new, old, squared, kept = self._weights()
        (mean, weight), level, root = self._all, self._level, math.sqrt
        least, before, before_weight, since, since_weight = self._low
        fires = math.log(1 / self.drift_confidence) / 2
        warns = math.log(1 / self.warning_confidence) / 2
        for at in range(start, len(values)):
            x = values[at]
            if weight:
                mean = new * x + old * mean
                weight = squared + kept * weight
            else:
                mean, weight = x, 1.0
            bound = root(weight * fires)
            evidence = 0.0
            if mean + bound < least:
                least, before, before_weight, since_weight = mean + bound, mean, weight, 0.0
            else:
                if since_weight:
                    since = new * x + old * since
                    since_weight = squared + kept * since_weight
                else:
                    since, since_weight = x, 1.0
                if since > before:
                    evidence = (since - before) ** 2 / (since_weight + before_weight)
            if self.two_sided_test:
                evidence = max(evidence, self._fallen(x, mean, weight, bound))
            level = FINE
            if evidence > warns or evidence > fires:
                level = WARNED
                if evidence > fires:
                    level = FIRED
                    break
        self._all, self._level = [mean, weight], level
        self._low = [least, before, before_weight, since, since_weight]
        return at + 1 - start

    def _fallen(self, x: float, mean: float, weight: float, bound: float) -> float:
        """The evidence of one value that the mean has fallen: the same as of a rise, of the negatives."""
        new, old, squared, kept = self._weights()
        least, before, before_weight, since, since_weight = self._high
        if bound - mean < least:
            self._high = [bound - mean, -mean, weight, 0.0, 0.0]
            return 0.0
        since = old * since - new * x if since_weight else -x
        since_weight = squared + kept * since_weight if since_weight else 1.0
        self._high[3:] = since, since_weight
        return (since - before) ** 2 / (since_weight + before_weight) if since > before else 0.0

    def _weights(self) -> tuple[float, float, float, float]:
        new, old = self.lambda_val, 1 - self.lambda_val
        return new, old, new * new, old * old
