"""What a feature is: the one function that names the numbers and categories in inputs and outputs.

The device, `reference build` and `replay` all use it, so a name means the same everywhere. A feature is a
float, a string (a category) or None (missing: absent, None, NaN or infinite).

>>> features({"box": {"size": [3, 4]}, "colour": "red"}, 0.5)
{'inputs.box.size[0]': 3.0, 'inputs.box.size[1]': 4.0, 'inputs.colour': 'red', 'outputs.value': 0.5}
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Number
from operator import itemgetter
from typing import Any

from edge_mlops_monitor.records import Prediction

Columns = dict[str, list["float | str | None"]]

ERRORS = "performance.error"  # how the features begin that are a model's errors
FEW_TEXTS = 0.1  # share of text among the values of a feature below which it is a number all the same
MAX_ELEMENTS = 64  # longer sequences are summarised
MAX_DEPTH = 8
MAX_CATEGORY = 256  # characters of a category that are kept
_ABOUT = {"shape", "dtype", "data"}  # what a summary holds beside features
_MEASURED = {"mean", "sd", "min", "max", "zeros", "nonfinite"}  # of every large array
_MEASURED |= {"norm", "projection"}  # of an embedding
_MEASURED |= {"sharpness", "histogram", "fingerprint"}  # of an image
_SUMMARY = _ABOUT | _MEASURED


def features(inputs: Any, outputs: Any) -> dict[str, float | str | None]:
    """The named features of one prediction.

    Dicts are flattened with dots, sequences of up to 64 elements become `name[0]`, `name[1]`, ..., longer
    ones of numbers a summary (`name.mean`, `name.sd`, `name.min`, `name.max`, `name.zeros`,
    `name.nonfinite`). What has no name, a bare scalar or sequence, is called `value`. What is neither
    number nor string (bytes, objects) has no feature.
    """
    found: dict[str, float | str | None] = {}
    _side("inputs", inputs, found)
    _side("outputs", outputs, found)
    return found


def array_of(name: str) -> tuple[str, str]:
    """What a feature may have been measured on, and as what; two empty texts where it was on no array.

    >>> array_of("inputs.frame.histogram[3]"), array_of("inputs.speed")
    (('inputs.frame', 'histogram[3]'), ('', ''))
    """
    array, _, measured = name.rpartition(".")
    return (array, measured) if measured.partition("[")[0] in _MEASURED else ("", "")


def mostly_numbers(texts: int, numbers: int) -> bool:
    """Whether a feature with so many values of each sort is a number, its texts faults.

    >>> mostly_numbers(0, 0), mostly_numbers(1, 9), mostly_numbers(1, 10)
    (True, False, True)
    """
    return not texts or texts < FEW_TEXTS * (texts + numbers)


def columns(predictions: Sequence[Prediction]) -> Columns:
    """The features of many predictions as columns of equal length, None where a row lacks one.

    >>> columns([Prediction(inputs={"a": 1}), Prediction(inputs={"a": 2, "b": "x"})])
    {'inputs.a': [1.0, 2.0], 'inputs.b': [None, 'x']}
    """
    return columns_of([one.inputs for one in predictions], [one.outputs for one in predictions])


def columns_of(inputs: Sequence[Any], outputs: Sequence[Any]) -> Columns:
    """The same of inputs and outputs that are not in predictions, as many of these as of those.

    >>> columns_of([{"a": 1}, {"a": 2}], [0.5, 0.25])
    {'inputs.a': [1.0, 2.0], 'outputs.value': [0.5, 0.25]}
    """
    return {**_columns("inputs", inputs), **_columns("outputs", outputs)}


def _columns(side: str, rows: Sequence[Any]) -> Columns:
    plain = _plain_columns(side, rows)
    if plain is not None:
        return plain
    out: Columns = {}
    for index, row in enumerate(rows):
        found: dict[str, float | str | None] = {}
        _side(side, row, found)
        for name, value in found.items():
            column = out.get(name)
            if column is None:
                column = out[name] = [None] * len(rows)
            column[index] = value
    return out


def _plain_columns(side: str, rows: Sequence[Any]) -> Columns | None:
    """Columns the fast way, for scalars and for dicts of the same names and scalars; None for others."""
    kinds = set(map(type, rows))
    if kinds <= {type(None)}:
        return {}
    if kinds != {dict}:
        found = {"value": _plain_column(rows, kinds)}
    else:
        names = tuple(rows[0])
        if not names or set(map(len, rows)) != {len(names)}:
            return None
        try:  # the first name twice, since of a single one itemgetter does not make a tuple
            *table, _ = zip(*map(itemgetter(*names, names[0]), rows), strict=True)
        except KeyError:
            return None
        named = zip(names, table, strict=True)
        found = {name: _plain_column(column, set(map(type, column))) for name, column in named}
    if None in found.values():
        return None
    return {f"{side}.{name}": column for name, column in found.items() if column is not None}


def _plain_column(column: Sequence[Any], kinds: set[type]) -> list[float | str | None] | None:
    if kinds == {float} and math.isfinite(sum(column)):
        return list(column)
    if kinds <= {float, int, bool}:
        return [_number(value) for value in column]
    return [value[:MAX_CATEGORY] for value in column] if kinds == {str} else None


def _side(side: str, value: Any, found: dict[str, float | str | None]) -> None:
    if isinstance(value, dict) and not _is_summary(value):
        _dict(f"{side}.", value, found, 0)
    elif value is not None:
        _value(f"{side}.value", value, found, 0)


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
    elif isinstance(value, (bool, int, float)) or _is_number(value):
        found[name] = _number(value)
    elif depth >= MAX_DEPTH:
        return
    elif isinstance(value, dict):
        if _is_summary(value):
            value = {key: item for key, item in value.items() if key not in _ABOUT}
        _dict(f"{name}.", value, found, depth + 1)
    elif isinstance(value, (list, tuple)):
        if len(value) <= MAX_ELEMENTS:
            for index, item in enumerate(value):
                _value(f"{name}[{index}]", item, found, depth + 1)
        else:
            _dict(f"{name}.", summary(value), found, depth + 1)
    elif isinstance(value, complex):
        _value(name, [value.real, value.imag], found, depth)
    elif hasattr(value, "tolist"):  # a NumPy array
        _array(name, value, found, depth)


def _array(name: str, array: Any, found: dict[str, float | str | None], depth: int) -> None:
    if getattr(array, "size", 1) <= MAX_ELEMENTS:
        _value(name, array.tolist(), found, depth)
    elif array.dtype.kind in "biuf":
        from edge_mlops_monitor.arrays import summarise  # NumPy, where there is an array already

        _value(name, summarise(array), found, depth)


def _is_summary(value: dict[Any, Any]) -> bool:
    """Whether a dict was recorded in place of a large array: of that only the moments are features."""
    return "shape" in value and "dtype" in value and value.keys() <= _SUMMARY


def _is_number(value: Any) -> bool:
    """Whether it is one of the rarer numbers: a decimal, a fraction, a NumPy scalar."""
    return isinstance(value, Number) and not isinstance(value, complex)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (OverflowError, ValueError):  # too large; a signalling NaN
        return None
    return number if math.isfinite(number) else None


def is_missing(value: Any) -> bool:
    """None, NaN, and what else is not sure to equal itself: pandas' NA and NaT, a decimal's signalling NaN.

    >>> is_missing(math.nan), is_missing("nan")
    (True, False)
    """
    try:
        return value is None or not bool(value == value)
    except (TypeError, ArithmeticError):
        return True


def _sum(values: Iterable[float]) -> float:
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # of finite values, but beyond what a float can hold
        return math.inf


def summary(values: Sequence[Any]) -> dict[str, Any]:
    """What `arrays.summarise` finds in an array, of a long sequence of numbers; empty where it is none.

    >>> summary([0, 2])
    {'mean': 1.0, 'sd': 1.0, 'min': 0.0, 'max': 2.0, 'zeros': 0.5, 'nonfinite': 0.0}
    """
    if not all(isinstance(value, (bool, int, float)) for value in values):
        return {}
    finite = [number for value in values if (number := _number(value)) is not None]
    out: dict[str, Any] = {"mean": None, "sd": None, "min": None, "max": None}
    if finite:
        mean = _sum(finite) / len(finite)
        spread = _sum((number - mean) * (number - mean) for number in finite) / len(finite)
        out = {"mean": mean, "sd": math.sqrt(spread), "min": min(finite), "max": max(finite)}
    count = len(values) or 1
    out["zeros"] = sum(1 for number in finite if number == 0.0) / count
    out["nonfinite"] = (len(values) - len(finite)) / count
    if any(isinstance(value, float) for value in values):
        from edge_mlops_monitor.arrays import embedding

        out.update(embedding(list(map(_number, values))))
    return out
