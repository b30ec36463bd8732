"""Which output a label is compared with, and what an error is.

An actual that is a dict is compared with the outputs of the same names. Any other is compared with the
output `value`, or else with the only output that is of its kind, number or text. The kind of the task is
settled by the first labelled predictions of a stream:

- `classes`: text, or whole numbers on both sides. A prediction is wrong (1) or right (0).
- `score`: labels 0 and 1, predictions from 0 to 1. Wrong where the score is on the other side of 0.5.
- `numbers`: anything else. The error is the absolute difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from edge_mlops_monitor.features import ERRORS, features

THRESHOLD = 0.5
SETTLED_BY = 25  # labelled predictions that settle what is compared
MOST_TARGETS = 20  # comparisons of one stream
CLASSES, SCORE, NUMBERS = "classes", "score", "numbers"
Value = float | str
Row = Mapping[str, Any]  # features by name


class Target(msgspec.Struct, frozen=True):
    """One comparison: the actual's part `name` (empty: all of it) with the feature `output`."""

    name: str
    output: str
    kind: str

    @property
    def feature(self) -> str:
        """The name of the errors as a feature."""
        return f"{ERRORS}.{self.name}" if self.name else ERRORS

    def pair(self, outputs: Row, actual: Row) -> tuple[Value, Value] | None:
        """Truth and prediction of one row in the form of this kind; None where they cannot be compared."""
        said, truth = outputs.get(self.output), actual.get(self.name or "value")
        if said is None or truth is None:
            return None
        if self.kind == CLASSES:
            return _as_label(truth), _as_label(said)
        numbers = _as_number(truth), _as_number(said)
        if numbers[0] is None or numbers[1] is None:
            return None
        if self.kind == SCORE and not (numbers[0] in (0.0, 1.0) and 0 <= numbers[1] <= 1):
            return None
        return numbers[0], numbers[1]

    def error(self, truth: Any, said: Any) -> float:
        """How wrong a prediction is: 1 or 0, or the absolute difference."""
        if self.kind == CLASSES:
            return float(truth != said)
        if self.kind == SCORE:
            return float((said >= THRESHOLD) != (truth >= THRESHOLD))
        return float(min(abs(said - truth), 1e300))


def flat(value: Any) -> dict[str, Any]:
    """An actual as named parts; `value` where it has no names.

    >>> flat("ok"), flat({"width": 3})
    ({'value': 'ok'}, {'width': 3.0})
    """
    return {name.partition(".")[2]: part for name, part in features(value, None).items()}


def settle(rows: Sequence[tuple[Row, Row]]) -> list[Target]:
    """What is compared in a stream, from its first outputs and actuals.

    >>> settle([({"outputs.label": "ok", "outputs.score": 0.9}, {"value": "defect"})])
    [Target(name='', output='outputs.label', kind='classes')]
    >>> settle([({"outputs.value": 0.9}, {"value": 1.0}), ({"outputs.value": 0.2}, {"value": 1.0})])
    [Target(name='', output='outputs.value', kind='score')]
    """
    names = dict.fromkeys(name for _, actual in rows for name in actual)
    found: list[Target] = []
    for name in islice(names, MOST_TARGETS):
        output = _output(name, rows, alone=len(names) == 1)
        pairs = [(actual.get(name), outputs.get(output)) for outputs, actual in rows]
        known = [(truth, said) for truth, said in pairs if truth is not None and said is not None]
        if known:
            found.append(Target("" if name == "value" else name, output, _kind(known)))
    return found


def _output(name: str, rows: Sequence[tuple[Row, Row]], alone: bool) -> str:
    """The output of that name; for an actual without a name the only one of its kind; else empty."""
    names = dict.fromkeys(output for outputs, _ in rows for output in outputs)
    if f"outputs.{name}" in names:
        return f"outputs.{name}"
    if name != "value" or not alone:
        return ""
    text = any(_as_number(actual.get(name)) is None for _, actual in rows if actual.get(name) is not None)
    alike = [output for output in names if text == _is_text(output, (outputs for outputs, _ in rows))]
    return alike[0] if len(alike) == 1 else ""


def _is_text(output: str, rows: Iterable[Row]) -> bool:
    return any(isinstance(row.get(output), str) for row in rows)


def _kind(pairs: Sequence[tuple[Any, Any]]) -> str:
    truths, said = [_as_number(pair[0]) for pair in pairs], [_as_number(pair[1]) for pair in pairs]
    if None in truths or None in said:
        return CLASSES
    numbers = [value for value in (*truths, *said) if value is not None]
    if all(value.is_integer() for value in numbers):
        return CLASSES
    if set(truths) <= {0.0, 1.0} and all(0 <= value <= 1 for value in numbers):
        return SCORE
    return NUMBERS


def _as_number(value: Any) -> float | None:
    """A number, also one that is written as text, as in a CSV file."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _as_label(value: Any) -> Value:
    number = _as_number(value)
    return str(value) if number is None else number
