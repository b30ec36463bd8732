"""The frequent labels of a category, in fixed size.

Up to `MOST` different labels are counted exactly. Where there are more, a count-min table (Cormode and
Muthukrishnan, 2005) estimates the rows of each from above, and those labels are named that had the most
rows in any one window. A table is a sum and a peak a maximum, so merging is exactly associative and
commutative, which it is not for the summaries of Misra and Gries or Metwally (space-saving).

What is promised beyond `MOST` labels: the rows of a label are never too few, and too many by more than a
32nd of all rows with a text for one label in 16 at most, on average. A label that makes up a share of all
rows has that share in at least one window, and is named unless `MOST` others had more rows in one window.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

MOST = 32
LINES, CELLS = 4, 64
MOST_BYTES = 40  # of a label, in UTF-8
_SPREAD = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F)  # odd: one for each line of the table


class Labels:
    """How often each label occurred, and at most within one window.

    >>> labels = Labels()
    >>> labels.take({"ok": 5, "defect": 1})
    >>> labels.named()
    {'ok': [5, 5], 'defect': [1, 1]}
    """

    def __init__(
        self, named: Mapping[str, list[int]] | None = None, table: Iterable[int] | None = None
    ) -> None:
        named = named or {}
        self.peaks = {label: peak for label, (_, peak) in named.items()}
        self._table: NDArray[np.int64] | None = np.array(table, dtype=np.int64) if table else None
        self._rows = {} if table else {label: rows for label, (rows, _) in named.items()}

    @property
    def table(self) -> list[int]:
        """The count-min table, line by line; empty while counts are exact."""
        return [] if self._table is None else self._table.tolist()

    def named(self) -> dict[str, list[int]]:
        """Rows and most rows in one window of the named labels, most frequent in a window first."""
        order = sorted(self.peaks, key=lambda label: (-self.peaks[label], label))
        return {label: [self.rows(label), self.peaks[label]] for label in order}

    def rows(self, label: str) -> int:
        """How many rows had the label: exactly, or never too few once there is a table."""
        if self._table is None:
            return self._rows.get(label, 0)
        return int(self._table[_places(label)].min())

    def take(self, counts: Mapping[str, int]) -> None:
        """Take in more rows of the present window."""
        found = [(shortened(label), rows) for label, rows in counts.items()]
        self._count(found)
        for label, _ in found:
            self.peaks[label] = max(self.peaks.get(label, 0), self.rows(label))
        self._forget()

    def add(self, other: Labels) -> None:
        """Take in the rows of another window."""
        if other._table is not None:
            self._need_table()
            assert self._table is not None
            self._table += other._table
        self._count(list(other._rows.items()))
        for label, peak in other.peaks.items():
            self.peaks[label] = max(self.peaks.get(label, 0), peak)
        self._forget()

    def _count(self, found: list[tuple[str, int]]) -> None:
        if self._table is None:
            for label, rows in found:
                self._rows[label] = self._rows.get(label, 0) + rows
            if len(self._rows) > MOST:
                self._need_table()
        else:
            _fill(self._table, found)

    def _need_table(self) -> None:
        if self._table is None:
            self._table = np.zeros(LINES * CELLS, dtype=np.int64)
            _fill(self._table, self._rows.items())
            self._rows = {}

    def _forget(self) -> None:
        if len(self.peaks) > MOST:
            order = sorted(self.peaks, key=lambda label: (-self.peaks[label], label))
            self.peaks = {label: self.peaks[label] for label in order[:MOST]}


def _fill(table: NDArray[np.int64], found: Iterable[tuple[str, int]]) -> None:
    for label, rows in found:
        table[_places(label)] += rows


def _places(label: str) -> list[int]:
    digest = zlib.crc32(label.encode())
    return [line * CELLS + ((digest * odd & 0xFFFFFFFF) >> 26) for line, odd in enumerate(_SPREAD)]


def shortened(label: str) -> str:
    """A label of at most 40 bytes; of a longer one the beginning and a checksum, so that it stays apart.

    >>> shortened("ok"), shortened("x" * 100)
    ('ok', 'xxxxxxxxxxxxxxxxxxxxxxxx~5e0e5d8f')
    """
    packed = label.encode("utf-8", "surrogatepass")
    if len(packed) <= MOST_BYTES and label.isprintable():
        return label
    return f"{packed[:24].decode('utf-8', 'ignore')}~{zlib.crc32(packed):08x}"
