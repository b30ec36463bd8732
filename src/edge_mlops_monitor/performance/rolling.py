"""The last labelled predictions of one comparison, and what they say."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.performance.pairing import CLASSES, NUMBERS, THRESHOLD, Target
from edge_mlops_monitor.performance.realised import realised_classification, realised_regression

MOST = 1000  # labelled predictions that the rolling figures are about
Interval = dict[str, "float | None"]


class Rolling(msgspec.Struct):
    """Truth and prediction of the last labelled predictions, by a number that stands for the id.

    >>> rolling = Rolling(Target("", "outputs.value", "classes"))
    >>> rolling.put(1, "ok", "ok"), rolling.put(2, "ok", "bad"), rolling.put(2, "bad", "bad")
    (True, True, False)
    >>> rolling.figures()["accuracy"]["value"]
    1.0
    """

    target: Target
    rows: dict[int, tuple[Any, Any]] = {}

    def put(self, number: int, truth: Any, said: Any) -> bool:
        """Take in a pair; False where it takes the place of an earlier one of the same id."""
        is_new = number not in self.rows
        self.rows[number] = truth, said
        if len(self.rows) > MOST:
            del self.rows[next(iter(self.rows))]
        return is_new

    def figures(self) -> dict[str, Interval]:
        """The figures with their intervals; empty where there are no rows."""
        truths = [truth for truth, _ in self.rows.values()]
        said = [prediction for _, prediction in self.rows.values()]
        try:
            if self.target.kind == NUMBERS:
                return realised_regression(truths, said)
            if self.target.kind == CLASSES:
                return realised_classification(*_sortable(truths, said))
            yes = [float(score >= THRESHOLD) for score in said]
            return realised_classification(truths, yes, said, classes=[0.0, 1.0])
        except DataError:
            return {}

    @property
    def error(self) -> float:
        """The mean error of these rows; NaN where there are none."""
        errors = [self.target.error(truth, said) for truth, said in self.rows.values()]
        return math.fsum(errors) / len(errors) if errors else math.nan


def _sortable(truths: list[Any], said: list[Any]) -> tuple[list[Any], list[Any]]:
    """Labels of one kind: numbers are texts where texts are among them."""
    if not any(isinstance(value, str) for value in (*truths, *said)):
        return truths, said
    texts = [[value if isinstance(value, str) else f"{value:g}" for value in side] for side in (truths, said)]
    return texts[0], texts[1]
