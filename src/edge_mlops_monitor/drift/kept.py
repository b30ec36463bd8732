"""What is kept of one feature while its reference is learned, in six bytes a value and less.

A number takes six bytes (`six_bytes`). What they do not hold is one of a few labels: text, the largest
integers, and a number that came more than once and would be rounded. So what is frequent is kept exactly, and
some of the rest is rounded up after the tenth digit. Where there are no numbers, a label takes a byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift import six_bytes
from edge_mlops_monitor.drift.binning import MANY_LABELS, as_floats, label
from edge_mlops_monitor.drift.reference import Column
from edge_mlops_monitor.drift.six_bytes import WIDTH

MOST_LABELS = 64
FREQUENT = MANY_LABELS + 2  # labels that stay when there are more; a reference has bins for fewer
MOST_BYTES, BESIDE_NUMBERS = 6000, 1000  # of all labels; half of it stays when there are more
NONE = msgspec.msgpack.encode([])
MISSING = six_bytes.packed(np.array([six_bytes.NOTHING]))
RARE = six_bytes.MOST_MARKS  # the code of text that was too rare to be remembered
EXACT = 2.0**36  # integers from here on are labels too, since six bytes take several for one
TEXT, INTEGER, NUMBER = "tif"  # what a label is, its first letter


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

    numbers: bytes = b""  # words, those of labels among them; empty where no number came
    codes: bytes = b""  # else: 0 where missing, the place in the table + 1, or RARE
    table: bytes = NONE  # the labels

    def put(self, place: int, values: Column) -> None:
        """Put values at `place` and those after it, in place of what was there."""
        numbers = as_floats(values)
        labels = _labels(values, numbers)
        if not self.numbers:
            number = np.append(~np.isnan(numbers), True)
            first = int(number.argmax())
            self._put_codes(place, [labels.get(row) for row in range(first)])
            if first == len(numbers):
                return
            self._begin_numbers()
        self._put_numbers(place, numbers, labels)

    def _put_numbers(self, place: int, numbers: NDArray[np.float64], labels: dict[int, str]) -> None:
        """Put rows one by one where they need a label, so that nothing depends on how many come at once."""
        words, rounded = six_bytes.words(numbers)
        packed, begin = six_bytes.packed(words), 0
        for row in sorted({*labels, *np.flatnonzero(rounded).tolist()}):
            at, text = WIDTH * row, labels.get(row)
            if text is None and self._may_be_again(packed[at : at + WIDTH], packed[:at]):
                self._write(place + begin, packed[WIDTH * begin : at])
                begin, text = row, self._again(NUMBER + repr(float(numbers[row])), words[row])
            if text is not None:
                self._write(place + begin, packed[WIDTH * begin : at])
                self._mark(place + row, text)
                begin = row + 1
        self._write(place + begin, packed[WIDTH * begin :])

    def _put_codes(self, place: int, labels: list[str | None]) -> None:
        if self.codes or any(labels):
            for row, text in enumerate(labels, place):
                code = 0 if text is None else self._code(text)
                self.codes = written(self.codes, row, bytes([code]), b"\0")

    def _begin_numbers(self) -> None:
        codes = np.frombuffer(self.codes, dtype=np.uint8)
        self.numbers, self.codes = six_bytes.packed(six_bytes.marked(codes)), b""
        self._forget(BESIDE_NUMBERS)

    def _write(self, place: int, packed: bytes) -> None:
        self.numbers = written(self.numbers, place, packed, MISSING)

    def _mark(self, place: int, text: str) -> None:
        self._write(place, six_bytes.packed(six_bytes.marked(np.array([self._code(text)]))))

    def _may_be_again(self, packed: bytes, before: bytes) -> bool:
        return len(self.table) > len(NONE) or packed in self.numbers or packed in before

    def _again(self, text: str, word: np.uint64) -> str | None:
        """The label of a rounded number that is there already; None where it is not."""
        if text in self.labels:
            return text
        found = np.flatnonzero(six_bytes.unpacked(self.numbers) == word).tolist()
        for row in found:
            self._mark(row, text)
        return text if found else None

    @property
    def labels(self) -> list[str]:
        """What a code stands for, each after the letter of its kind."""
        return msgspec.msgpack.decode(self.table, type=list[str])

    def _code(self, text: str) -> int:
        """The code of a label, which is remembered from now on."""
        text = text.encode("utf-8", "replace").decode()
        most = BESIDE_NUMBERS if self.numbers else MOST_BYTES
        if len(text.encode()) > most // 2:
            return RARE
        if text not in self.labels:
            self._forget(most - len(text.encode()), MOST_LABELS - 1)
            self.table = msgspec.msgpack.encode([*self.labels, text])
        return self.labels.index(text) + 1

    def _forget(self, most: int, count: int = MOST_LABELS) -> None:
        """Forget the labels that are rarest here, where there are more than so many bytes, or labels."""
        known = self.labels
        if len(known) <= count and len(self.table) <= most:
            return
        words = six_bytes.unpacked(self.numbers)
        codes = six_bytes.mark_of(words) if self.numbers else np.frombuffer(self.codes, dtype=np.uint8)
        stay = _most_frequent(known, codes, most // 2)
        new = np.full(RARE + 1, RARE, dtype=np.uint8)
        new[[0, *(old + 1 for old in stay)]] = range(len(stay) + 1)
        self.table = msgspec.msgpack.encode([known[old] for old in stay])
        if not self.numbers:
            self.codes = new[codes].tobytes()
            return
        as_words = np.append(six_bytes.marked(new), 0)
        for old in {*range(len(known))} - {*stay}:
            if known[old][0] != TEXT:
                as_words[old + 1] = six_bytes.words(np.array([float(known[old][1:])]))[0][0]
        self.numbers = six_bytes.packed(np.where(codes > 0, as_words[codes], words))

    def column(self, places: Sequence[int] | NDArray[np.int64]) -> Column:
        """The values at these places; a list where there is text among them, else numbers."""
        rows, ends = np.asarray(places, dtype=np.int64), max(places, default=-1) + 1
        words = six_bytes.unpacked(written(self.numbers, ends, b"", MISSING))[rows]
        codes = six_bytes.mark_of(words)
        if not self.numbers:
            codes = np.frombuffer(written(self.codes, ends, b"", b"\0"), dtype=np.uint8)[rows]
        numbers, known = six_bytes.floats(words), self.labels
        text = codes == RARE
        for code, found in enumerate(known, 1):
            if found[0] == TEXT:
                text |= codes == code
            else:
                numbers[codes == code] = float(found[1:])
        if not text.any():
            return numbers
        pairs = zip(numbers.tolist(), codes.tolist(), strict=True)
        return [_value(row, number, code, known) for row, (number, code) in enumerate(pairs)]


def _value(row: int, number: float, code: int, known: list[str]) -> Any:
    if code == RARE:
        return f"{row} rare"  # each counts as seen once
    if code and known[code - 1][0] != NUMBER:
        kind, text = known[code - 1][0], known[code - 1][1:]
        return int(text) if kind == INTEGER else text
    return None if number != number else number


def _most_frequent(known: list[str], codes: NDArray[np.uint8], most: int) -> list[int]:
    """The places of the labels that are most frequent, in not more than so many bytes."""
    counts = np.bincount(codes, minlength=RARE + 1)[1 : len(known) + 1]
    stay: list[int] = []
    for place in np.argsort(-counts, kind="stable")[:FREQUENT].tolist():
        most -= len(known[place].encode())
        if most >= 0:
            stay.append(place)
    return stay


def _labels(values: Column, numbers: NDArray[np.float64]) -> dict[int, str]:
    """What is not to be kept as a number, by row, each with its kind before it."""
    found: dict[int, str] = {}
    if isinstance(values, np.ndarray) and values.dtype.kind in "fb":
        return found
    for row in np.flatnonzero(~(np.abs(numbers) < EXACT)).tolist():
        value = values[row]
        if isinstance(value, (str, bytes, int, np.integer)) and (text := label(value)) is not None:
            found[row] = (TEXT if np.isnan(numbers[row]) else INTEGER) + text
    return found


def written(kept: bytes, place: int, new: bytes, missing: bytes) -> bytes:
    """What is kept with something new at a place, and what is missing before it."""
    begin = place * len(missing)
    kept += missing * ((begin - len(kept)) // len(missing))
    return kept[:begin] + new + kept[begin + len(new) :]
