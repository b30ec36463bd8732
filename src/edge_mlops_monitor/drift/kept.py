"""What is kept of one feature while its reference is learned: every value exactly, in little memory.

A number takes eight bytes. What a float does not hold, text and the largest integers, takes one byte, which
says which of a few labels it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import MANY_LABELS, as_floats, label
from edge_mlops_monitor.drift.reference import Column

MOST_LABELS = 64
FREQUENT = MANY_LABELS + 2  # labels that stay when there are more; a reference has bins for fewer
RARE = 255  # the code of a label that was too rare to be remembered
EXACT = 1e15  # integers from here on are labels too, since a float takes several for one
MISSING = np.array([np.nan]).tobytes()


class Kept(msgspec.Struct):
    """Values of one feature, by place; what was never put is missing.

    >>> kept = Kept()
    >>> kept.put(0, [0.1, None])
    >>> kept.column([1, 0, 2]).tolist()
    [nan, 0.1, nan]
    >>> kept.put(1, ["cat"])
    >>> kept.column([0, 1, 2])
    [0.1, 'cat', None]
    """

    numbers: bytes = b""
    codes: bytes = b""  # 0 where a number says it all, else the place in `labels` + 1, or RARE
    labels: tuple[str, ...] = ()

    def put(self, place: int, values: Column) -> None:
        """Put values at `place` and those after it, in place of what was there."""
        numbers = as_floats(values)
        if self.numbers or not np.isnan(numbers).all():
            self.numbers = written(self.numbers, place, numbers.tobytes(), MISSING)
        texts = _texts(values, numbers)
        if self.codes or texts:
            for row in range(len(values)):  # one by one, so that nothing depends on how many come at once
                code = self._code(texts[row]) if row in texts else 0
                self.codes = written(self.codes, place + row, bytes([code]), b"\0")

    def _code(self, text: str) -> int:
        if text not in self.labels:
            if len(self.labels) == MOST_LABELS:
                self._forget()
            self.labels = (*self.labels, text)
        return self.labels.index(text) + 1

    def _forget(self) -> None:
        """Forget the labels that are rarest here."""
        codes = np.frombuffer(self.codes, dtype=np.uint8)
        counts = np.bincount(codes, minlength=RARE)[1 : MOST_LABELS + 1]
        stay = np.argsort(-counts, kind="stable")[:FREQUENT].tolist()
        new = np.full(RARE + 1, RARE, dtype=np.uint8)
        new[[0, *(old + 1 for old in stay)]] = range(len(stay) + 1)
        self.codes = new[codes].tobytes()
        self.labels = tuple(self.labels[old] for old in stay)

    def column(self, places: Sequence[int] | NDArray[np.int64]) -> Column:
        """The values at these places; a list where there is text among them, else numbers."""
        ends = max(places, default=-1) + 1
        rows = np.asarray(places, dtype=np.int64)
        numbers = np.frombuffer(written(self.numbers, ends, b"", MISSING), dtype=np.float64)[rows]
        codes = np.frombuffer(written(self.codes, ends, b"", b"\0"), dtype=np.uint8)[rows]
        if not (np.isnan(numbers) & (codes > 0)).any():
            return numbers
        pairs = zip(numbers.tolist(), codes.tolist(), strict=True)
        return [self._value(row, number, code) for row, (number, code) in enumerate(pairs)]

    def _value(self, row: int, number: float, code: int) -> Any:
        if code in (0, RARE) and number == number:
            return number
        if code == RARE:
            return f"{row} rare"  # each counts as seen once
        text = self.labels[code - 1] if code else None
        return int(text) if text is not None and number == number else text


def _texts(values: Column, numbers: NDArray[np.float64]) -> dict[int, str]:
    """What is not to be kept as a float, by row."""
    found: dict[int, str] = {}
    if isinstance(values, np.ndarray) and values.dtype.kind in "fb":
        return found
    for row in np.flatnonzero(~(np.abs(numbers) < EXACT)).tolist():
        value = values[row]
        if isinstance(value, (str, bytes, int, np.integer)) and (text := label(value)) is not None:
            found[row] = text
    return found


def written(kept: bytes, place: int, new: bytes, missing: bytes) -> bytes:
    """What is kept with something new at a place, and what is missing before it."""
    begin = place * len(missing)
    kept += missing * ((begin - len(kept)) // len(missing))
    return kept[:begin] + new + kept[begin + len(new) :]
