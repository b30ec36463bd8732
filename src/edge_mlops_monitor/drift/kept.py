"""What is kept of one feature while its reference is learned: every value exactly, in at most eight bytes.

What a float does not hold, text and the largest integers, is a NaN whose payload says which of a few labels
it is. Where no number came, the payload is all that is kept, in one byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import MANY_LABELS, as_floats, label
from edge_mlops_monitor.drift.reference import Column
from edge_mlops_monitor.drift.rounding import FIRST, clean, ends_of, is_itself, nearest, rails_of, rounded

MOST_LABELS = 64
FREQUENT = MANY_LABELS + 2  # labels that stay when there are more; a reference has bins for fewer
TEXT, INTEGER = 0, 128  # codes are the place in `labels` + 1, and this
RARE = 255  # the code of a text that was too rare to be remembered
FEW = 128  # different numbers up to which all digits are kept
EXACT = 1e15  # integers from here on are labels too, since a float takes several for one
NAN = np.uint64(0x7FF8_0000_0000_0000)  # a missing value; the bits after it are codes
MISSING = NAN.tobytes()

Words = NDArray[np.uint64]  # the bits of floats


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

    numbers: bytes = b""  # empty where no number came,
    codes: bytes = b""  # and else this
    labels: tuple[str, ...] = ()
    rounded: bool = False  # whether some numbers may be

    def put(self, place: int, values: Column) -> None:
        """Put values at `place` and those after it, in place of what was there."""
        numbers = np.array(as_floats(values))
        missing = np.isnan(numbers)
        numbers[missing] = np.nan
        if self.codes and not missing.all():
            self._keep(self._words(), False)
        words, begin = numbers.view(np.uint64), 0
        for row, text in _texts(values, numbers).items():  # one by one, however many come at once
            self._write(place + begin, words[begin:row], missing)
            words[row] = NAN + np.uint64(self._code(text) + (TEXT if missing[row] else INTEGER))
            begin = row
        self._write(place + begin, words[begin:], missing)

    def _write(self, place: int, words: Words, missing: NDArray[np.bool_]) -> None:
        if self.numbers or not missing.all():
            self.numbers = written(self.numbers, place, words.tobytes(), MISSING)
        else:
            self.codes = written(self.codes, place, _codes_of(words).tobytes(), b"\0")

    def _keep(self, words: Words, missing: bool) -> None:
        """Keep this in place of all that was; whether no number is among it."""
        self.numbers = b"" if missing else words.tobytes()
        self.codes = _codes_of(words).tobytes() if missing else b""

    def _words(self, rows: int = 0) -> Words:
        """The bits of the floats of at least so many rows."""
        if self.numbers:
            return np.array(np.frombuffer(written(self.numbers, rows, b"", MISSING), dtype=np.uint64))
        codes = np.frombuffer(written(self.codes, rows, b"", b"\0"), dtype=np.uint8)
        return np.asarray(NAN + codes.astype(np.uint64))

    def _code(self, text: str) -> int:
        if text not in self.labels:
            if len(self.labels) == MOST_LABELS:
                self._forget()
            self.labels = (*self.labels, text)
        return self.labels.index(text) + 1

    def _forget(self) -> None:
        """Forget the labels that are rarest here; integers among them become floats."""
        words = self._words()
        codes = _codes_of(words)
        counts = np.bincount(codes[codes != RARE] % INTEGER, minlength=MOST_LABELS + 1)[1:]
        stay = np.argsort(-counts, kind="stable")[:FREQUENT].tolist()
        for place, text in enumerate(self.labels):
            new = stay.index(place) + 1 if place in stay else 0
            words[codes == TEXT + place + 1] = NAN + np.uint64(TEXT + new if new else RARE)
            if (large := codes == INTEGER + place + 1).any():
                words[large] = NAN + np.uint64(INTEGER + new) if new else _bits(float(int(text)))
        self._keep(words, bool(np.isnan(words.view(np.float64)).all()))
        self.labels = tuple(self.labels[place] for place in stay)

    def moved(self, order: NDArray[np.int64], rows: int) -> Kept:
        """The same, with blocks of so many rows in another order."""
        words = self._words(len(order) * rows).reshape(-1, rows)[order].ravel()
        found = msgspec.structs.replace(self)
        found._keep(words, not self.numbers)
        return found

    def round(self, fresh: NDArray[np.bool_], contexts: NDArray[np.int64], block: int) -> None:
        """Round the numbers of fresh rows, given each row's context or -1, unless few are different."""
        if not self.numbers:
            return
        numbers = self._words(len(contexts)).view(np.float64)[: len(contexts)]
        known = np.isfinite(numbers) & (contexts >= 0)
        if not self.rounded:
            fresh = np.ones(len(contexts), dtype=bool)
            if len(np.unique(numbers[known])) <= FEW:
                return
        itself = known & ~fresh & is_itself(numbers)
        rails = rails_of(np.append(numbers[known & fresh], clean(numbers[itself])))
        self.rounded = True
        for context in set(contexts[fresh].tolist()):
            rows = np.flatnonzero(known & (contexts == context))
            new = fresh[rows]
            now, before = rows[new], rows[~new]
            if len(before) >= FIRST:
                ends = np.unique(clean(numbers[before]))
            elif len(rows) >= FIRST:
                now, ends = rows, ends_of(numbers[rows], rails)
            else:
                continue
            numbers[now] = rounded(numbers[now], now // block, ends, rails)
        self.numbers = numbers.tobytes() + self.numbers[numbers.nbytes :]

    def numbered(self, rows: int) -> NDArray[np.int64]:
        """Numbers of the labels of the first rows."""
        return np.asarray(_codes_of(self._words(rows))[:rows].astype(np.int64))

    def column(
        self,
        places: Sequence[int] | NDArray[np.int64],
        contexts: NDArray[np.int64] | None = None,
        block: int = 1,
    ) -> Column:
        """The values at these places; a list where there is text among them, else numbers.

        Numbers that were rounded are the ends of their cells, or, where the `contexts` at these places are
        given, as near to what they were as is known (see `rounding.nearest`).
        """
        words = self._words(max(places, default=-1) + 1)[np.asarray(places, dtype=np.int64)]
        codes, numbers = _codes_of(words), words.view(np.float64)
        if self.rounded:
            numbers = clean(numbers) if contexts is None else nearest(numbers, contexts, block)
        for place, text in enumerate(self.labels):
            if (large := codes == INTEGER + place + 1).any():
                numbers[large] = float(int(text))
        if not ((codes > 0) & np.isnan(numbers)).any():
            return numbers
        pairs = zip(numbers.tolist(), codes.tolist(), strict=True)
        return [self._value(row, number, code) for row, (number, code) in enumerate(pairs)]

    def _value(self, row: int, number: float, code: int) -> Any:
        if code == RARE:
            return f"{row} rare"  # each counts as seen once
        if code == 0:
            return None if number != number else number
        text = self.labels[code % INTEGER - 1]
        return text if code < INTEGER else int(text)


def _codes_of(words: Words) -> NDArray[np.uint8]:
    """The codes that NaNs carry; 0 for numbers and what is missing."""
    above = words - NAN
    return np.asarray(np.where(above <= RARE, above, 0).astype(np.uint8))


def _bits(number: float) -> Words:
    return np.array(number).view(np.uint64)


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
