"""What a feature is: the one function that names the numbers and categories in inputs and outputs.

The device, `reference build` and `replay` all use it, so a name means the same everywhere. A feature is a
float, a string (a category) or None (missing: absent, None, NaN or infinite).

>>> features({"box": {"size": [3, 4]}, "colour": "red"}, 0.5)
{'inputs.box.size[0]': 3.0, 'inputs.box.size[1]': 4.0, 'inputs.colour': 'red', 'outputs.value': 0.5}
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edge_mlops_monitor.records import Prediction

Feature = "float | str | None"

MAX_ELEMENTS = 64  # longer sequences are summarised
MAX_DEPTH = 8
MAX_CATEGORY = 256  # characters of a category that are kept


def features(inputs: Any, outputs: Any) -> dict[str, float | str | None]:
    """The named features of one prediction.

    Dicts are flattened with dots, sequences of up to 64 elements become `name[0]`, `name[1]`, ..., longer
    ones of numbers a summary (`name.mean`, `name.sd`, `name.min`, `name.max`, `name.zeros`,
    `name.nonfinite`). What has no name, a bare scalar or sequence, is called `value`. What is neither
    number nor string (bytes, objects) has no feature.
    """
    found: dict[str, float | str | None] = {}
    for side, value in (("inputs", inputs), ("outputs", outputs)):
        if value is None:
            continue
        if isinstance(value, dict):
            _dict(f"{side}.", value, found, 0)
        else:
            _value(f"{side}.value", value, found, 0)
    return found


def columns(predictions: Sequence[Prediction]) -> dict[str, list[float | str | None]]:
    """The features of many predictions as columns of equal length, None where a row lacks one.

    >>> columns([Prediction(inputs={"a": 1}), Prediction(inputs={"a": 2, "b": "x"})])
    {'inputs.a': [1.0, 2.0], 'inputs.b': [None, 'x']}
    """
    plain = _plain_columns(predictions, "inputs")
    if plain is not None:
        outputs = _plain_columns(predictions, "outputs")
        if outputs is not None:
            return {**plain, **outputs}
    out: dict[str, list[float | str | None]] = {}
    for row, prediction in enumerate(predictions):
        for name, value in features(prediction.inputs, prediction.outputs).items():
            column = out.get(name)
            if column is None:
                column = out[name] = [None] * row
            column.append(value)
        for column in out.values():
            if len(column) == row:
                column.append(None)
    return out


def _plain_columns(
    predictions: Sequence[Prediction], side: str
) -> dict[str, list[float | str | None]] | None:
    """Columns the fast way, where every row has the same dict of finite floats; None where it does not."""
    rows = [getattr(prediction, side) for prediction in predictions]
    if not rows or type(rows[0]) is not dict:
        return None
    names = rows[0].keys()
    if not all(type(row) is dict and row.keys() == names for row in rows):
        return None
    out: dict[str, list[float | str | None]] = {}
    for name in names:
        column = [row[name] for row in rows]
        if set(map(type, column)) != {float} or not math.isfinite(sum(column)):
            return None
        out[f"{side}.{name}"] = column
    return out


def _dict(prefix: str, value: dict[Any, Any], found: dict[str, float | str | None], depth: int) -> None:
    for key, item in value.items():
        name = prefix + (key if type(key) is str else str(key))
        kind = type(item)
        if kind is float:
            found[name] = (
                item if item - item == 0.0 else None
            )  # infinities and NaN differ from themselves here
        elif kind is str:
            found[name] = item[:MAX_CATEGORY]
        else:
            _value(name, item, found, depth)


def _value(name: str, value: Any, found: dict[str, float | str | None], depth: int) -> None:
    if value is None:
        found[name] = None
    elif isinstance(value, str):
        found[name] = value[:MAX_CATEGORY]
    elif isinstance(value, (bool, int, float)):
        found[name] = _number(value)
    elif depth >= MAX_DEPTH:
        return
    elif isinstance(value, dict):
        _dict(f"{name}.", value, found, depth + 1)
    elif isinstance(value, (list, tuple)):
        if len(value) <= MAX_ELEMENTS:
            for index, item in enumerate(value):
                _value(f"{name}[{index}]", item, found, depth + 1)
        else:
            _dict(f"{name}.", summary(value), found, depth + 1)
    elif hasattr(value, "tolist"):  # a NumPy array or scalar, a torch tensor
        _value(name, value.tolist(), found, depth + 1)


def _number(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def summary(values: Sequence[Any]) -> dict[str, float | None]:
    """The moments of a long sequence of numbers; empty where it holds anything else.

    >>> summary([0.0, 2.0])
    {'mean': 1.0, 'sd': 1.0, 'min': 0.0, 'max': 2.0, 'zeros': 0.5, 'nonfinite': 0.0}
    """
    if not all(isinstance(value, (bool, int, float)) for value in values):
        return {}
    finite = [number for value in values if (number := _number(value)) is not None]
    out: dict[str, float | None] = {"mean": None, "sd": None, "min": None, "max": None}
    if finite:
        mean = math.fsum(finite) / len(finite)
        spread = math.fsum((number - mean) ** 2 for number in finite) / len(finite)
        out = {"mean": mean, "sd": math.sqrt(spread), "min": min(finite), "max": max(finite)}
    count = len(values) or 1
    out["zeros"] = sum(1 for number in finite if number == 0.0) / count
    out["nonfinite"] = (len(values) - len(finite)) / count
    return out
