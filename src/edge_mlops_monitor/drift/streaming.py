"""What all streaming detectors share: a method's file holds its arithmetic, the rest is here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np

from edge_mlops_monitor.drift.binning import numbers
from edge_mlops_monitor.errors import DataError

FINE, WARNED, FIRED = 0, 1, 2
LARGEST = 1e100  # larger numbers are taken for it, so that squares and sums of them are still floats


class StreamDetector:
    """A detector that reads one value after the other and starts afresh after it has fired.

    A method stores its parameters under their own names, builds its state in `_reset` (attributes that
    begin with an underscore) and gives `_scan`. None, NaN and infinities are missing: they are skipped, but
    keep their place in the count of `update_many`.
    """

    name: ClassVar[str]
    _level: int

    def update(self, x: float | None) -> None:
        """Take in one value."""
        if isinstance(x, (str, bytes)):
            self._refuse_text()
        value = _float(x)
        if self._level == FIRED:
            self._reset()
        if value == value:
            self._check_values((value,))
            self._scan((value,), 0)

    def update_many(self, xs: Iterable[Any]) -> list[int]:
        """Take in many values; the indices at which the detector fired."""
        values, places, total = self._finite(xs)
        fired: list[int] = []
        start = 0
        while start < len(values):
            if self._level == FIRED:
                self._reset()
            start += self._scan(values, start)
            if self._level == FIRED:
                fired.append(places[start - 1] if places else start - 1)
        if self._level == FIRED and places and fired[-1] < total - 1:
            self._reset()  # something missing came after
        return fired

    @property
    def drift_detected(self) -> bool:
        """Whether the last value fired."""
        return self._level == FIRED

    @property
    def warning_detected(self) -> bool:
        """Whether the last value is past the level of warning; always False where a method has none."""
        return self._level == WARNED

    def state(self) -> bytes:
        """All that the detector knows; `restore` takes it up again, bit for bit."""
        own = {key: value for key, value in vars(self).items() if key.startswith("_")}
        return msgspec.msgpack.encode([self.name, own])

    def restore(self, state: bytes) -> None:
        """Go on where a detector of the same method and parameters gave its `state`."""
        try:
            name, own = msgspec.msgpack.decode(state)
            fits = name == self.name and own.keys() == {key for key in vars(self) if key.startswith("_")}
        except (ValueError, TypeError, AttributeError):
            fits = False
        if not fits:
            raise DataError(f"this is no state of {self.name}; restore what a detector of its kind has given")
        vars(self).update(own)

    def _reset(self) -> None:
        """Forget all values."""
        raise NotImplementedError

    def _scan(self, values: Sequence[float], start: int) -> int:
        """Take in `values[start:]` up to the first that fires; set `_level`; how many were taken."""
        raise NotImplementedError

    def _check_values(self, values: Sequence[float]) -> None:
        """Refuse values that the method has no meaning for."""

    def _finite(self, xs: Iterable[Any]) -> tuple[list[float], list[int], int]:
        """The values as floats, their places where some are missing, and how many there were with those."""
        if not hasattr(xs, "__iter__"):
            raise DataError(f"{self.name}.update_many takes a list or an array; give one value to update")
        column = xs if isinstance(xs, np.ndarray) else list(xs)
        if isinstance(column, np.ndarray) and column.ndim != 1:
            raise DataError(f"{self.name} watches one stream; give a one-dimensional array")
        if isinstance(column, np.ndarray) and column.dtype.kind not in "fiub":
            column = column.tolist()
        if isinstance(column, list) and any(
            issubclass(kind, (str, bytes)) for kind in set(map(type, column))
        ):
            self._refuse_text()
        found = numbers(column)
        places: list[int] = []
        missing = np.isnan(found)
        if missing.any():
            places = (~missing).nonzero()[0].tolist()
            found = found[~missing]
        values = found.clip(-LARGEST, LARGEST).tolist()
        self._check_values(values)
        return values, places, len(missing)

    def _refuse_text(self) -> None:
        raise DataError(f"{self.name} takes numbers, not text; give one number for each observation")


class ErrorDetector(StreamDetector):
    """A detector that reads whether a model was wrong: 1 (True) for an error, 0 for none."""

    def _check_values(self, values: Sequence[float]) -> None:
        if values and not (min(values) >= 0 and max(values) <= 1):
            raise DataError(
                f"{self.name} takes 1 for an error and 0 for none; compare prediction and label first"
            )


def check_above(method: str, least: float, **given: float) -> None:
    """Refuse parameters that are no finite numbers above `least`."""
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least < value < math.inf:
            raise DataError(f"{method} needs {key} above {least:g}, not {value!r}")


def check_share(method: str, **given: float) -> None:
    """Refuse parameters that do not lie strictly between 0 and 1."""
    for key, value in given.items():
        if not isinstance(value, (int, float)) or not 0 < value < 1:
            raise DataError(f"{method} needs {key} between 0 and 1, not {value!r}")


def _float(value: Any) -> float:
    if type(value) is not float and (getattr(value, "mask", False) or np.iscomplexobj(value)):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return max(-LARGEST, min(LARGEST, number)) if math.isfinite(number) else math.nan
