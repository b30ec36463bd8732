"""Bins of one feature: at the reference's quantiles for numbers, one for each label of a category.

The outer bins are open, so an outlier in the reference cannot stretch them. A value that makes up
much of the data has a bin of its own, and so has each value of a feature that has only a few. The
last cell is always "missing": absent, None, not finite, and text where numbers are expected.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.features import is_missing

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

TENTHS: tuple[float, ...] = tuple(i / 10 for i in range(1, 10))
# Narrow bins in the tails see a wider spread twice as well as tenths do; they need rows enough to be known.
FINE_TAILS = (0.025, 0.075, *(0.15 + i / 10 for i in range(8)), 0.925, 0.975)
ROWS_FOR_TAILS = 400
FEW_VALUES = 12  # a numeric feature with at most this many distinct values has a bin for each
MANY_LABELS = 30  # a category with more has bins for its most frequent ones only
FREQUENT_LABELS = 20


class NumericBins(msgspec.Struct, frozen=True, tag_field="type", tag="numeric"):
    """Cell `cells[i]` holds the values in `(edges[i - 1], edges[i]]`; the last cell is missing.

    >>> bins = NumericBins(edges=[1.0, 2.0], cells=[0, 1, 2], names=["to 1", "1 to 2", "over 2", "missing"])
    >>> bins.codes(np.array([0.0, 2.0, 9.0, math.nan])).tolist()
    [0, 1, 2, 3]
    """

    edges: list[float]
    cells: list[int]
    names: list[str]

    @property
    def size(self) -> int:
        """The number of cells."""
        return len(self.names)

    @property
    def few(self) -> bool:
        """Whether the feature has few values, each with a cell of its own."""
        return len(self.names) > 2 and self.names[-2] == "other"

    @property
    def unseen(self) -> int | None:
        """The cell of values that the reference does not have; None where ranges hold every value."""
        return self.size - 2 if self.few else None

    @property
    def ordered(self) -> int:
        """How many of the first cells are in the order of the values."""
        return self.size - 2 if self.few else self.size - 1

    def codes(self, values: Floats) -> Codes:
        """The cell of each value; NaN is missing."""
        found = np.asarray(self.cells, dtype=np.int64)[np.searchsorted(self.edges, values, side="left")]
        missing = np.isnan(values)
        if missing.any():
            found[missing] = self.size - 1
        return found


class CategoryBins(msgspec.Struct, frozen=True, tag_field="type", tag="category"):
    """A cell for each label, one for all others (`unseen`), one for missing."""

    labels: list[str]
    ordered: ClassVar[int] = 0

    @property
    def size(self) -> int:
        """The number of cells."""
        return len(self.labels) + 2

    @property
    def unseen(self) -> int:
        """The cell of all other labels."""
        return self.size - 2

    @property
    def names(self) -> list[str]:
        """What each cell holds."""
        return [*self.labels, "unseen", "missing"]

    def codes(self, values: Iterable[Any]) -> Codes:
        """The cell of each value; numbers are looked up by their text, None is missing."""
        index = {text: code for code, text in enumerate(self.labels)}
        unseen, missing = self.size - 2, self.size - 1
        found = []
        for value in values:
            if type(value) is not str:
                text = label(value)
                if text is None:
                    found.append(missing)
                    continue
                value = text
            found.append(index.get(value, unseen))
        return np.array(found, dtype=np.int64)


def label(value: Any) -> str | None:
    """A value as a category: text as it is, whole numbers without decimals; None where it is missing.

    >>> label(3.0), label("a"), label(0.5), label(math.nan)
    ('3', 'a', '0.5', None)
    """
    if isinstance(value, str):
        return str(value)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None if is_missing(value) else str(value)
    except OverflowError:
        return None
    if not math.isfinite(number):
        return None
    if abs(number) >= 1e15 and isinstance(value, (int, np.integer)):
        return str(value)  # a float would take many of them for one
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)


def numbers(column: Sequence[Any] | NDArray[Any]) -> Floats:
    """A column as floats; NaN for whatever is no finite number, text included.

    >>> numbers([1, None, "2", True, 10 ** 400]).tolist()
    [1.0, nan, nan, 1.0, nan]
    """
    return only_finite(as_floats(column))


def as_floats(column: Sequence[Any] | NDArray[Any]) -> Floats:
    """A column as floats, infinities included; NaN for whatever is no number."""
    if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind in "fiub":
        with np.errstate(over="ignore"):  # of what is longer than a float
            floats = column.astype(np.float64)
        filled = getattr(floats, "filled", None)  # of a masked array
        return floats if filled is None else np.asarray(filled(math.nan))
    found = column if isinstance(column, list) else list(column)
    try:
        if isinstance(column, np.ndarray) and column.dtype.kind == "c":
            raise TypeError  # no numbers on a line
        return np.array(array("d", found))
    except (TypeError, ValueError, OverflowError):  # text, None, what is beyond a float
        return np.array([_number(value) for value in found], dtype=np.float64)


def matrix(columns: Sequence[Any], rows: int) -> Floats:
    """Columns as floats, a line for each; NaN for whatever is no finite number, and where there is no column.

    >>> matrix([[1, "2"], None, np.array([3.0, math.inf])], 2).tolist()
    [[1.0, nan], [nan, nan], [3.0, nan]]
    """
    if columns and all(type(column) is np.ndarray and column.dtype.char == "d" for column in columns):
        return only_finite(np.array(columns, dtype=np.float64))
    pack = struct.Struct(f"{rows}d").pack  # in half the time that `array` takes
    lines: list[bytes] = []
    for column in columns:
        try:
            lines.append(pack(*(column if type(column) is list else (None,))))
        except struct.error:  # of something that is no number, or no list of them
            line = np.full(rows, math.nan) if column is None else as_floats(column)
            lines.append(line.tobytes())
    return only_finite(np.frombuffer(bytearray().join(lines)).reshape(len(columns), rows))


def only_finite(values: Floats) -> Floats:
    """The same array with NaN in place of infinities."""
    finite = np.isfinite(values)
    if not finite.all():
        values[~finite] = math.nan
    return values


def _number(value: Any) -> float:
    if value is None or isinstance(value, (str, bytes, complex, np.complexfloating)):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def mean_and_sd(values: Floats) -> tuple[float, float]:
    """Mean and standard deviation; numbers near the end of the range do not overflow.

    >>> mean_and_sd(np.array([-1e308, 1e308]))
    (0.0, 1e+308)
    """
    if not len(values):
        return 0.0, 0.0
    scale = float(np.abs(values).max()) or 1.0
    scaled = values / scale
    return float(scaled.mean()) * scale, float(scaled.std()) * scale


def numeric_bins(values: Floats, bins: int | None = None) -> NumericBins:
    """Bins for a numeric feature from its finite reference values: quantiles, ties merged, ends open.

    Tenths, with narrower bins in the tails where there are rows enough, or so many `bins`. Of few values
    those that were seen once are `other`, whose count then tells how often new ones come (`category_bins`).

    >>> numeric_bins(np.arange(100.0), 4).edges
    [24.0, 49.0, 74.0]
    >>> numeric_bins(np.array([0.0, 1.0] * 50)).names
    ['0', '1', 'other', 'missing']
    """
    distinct, times_seen = np.unique(values, return_counts=True)
    if len(distinct) <= FEW_VALUES and len(values) >= 5 * len(distinct):
        return _bins_of_values(distinct[times_seen > 1].tolist())
    ordered = np.sort(values)
    levels = FINE_TAILS if len(ordered) >= ROWS_FOR_TAILS else TENTHS
    if bins is not None:
        levels = tuple(i / bins for i in range(1, bins))
    at = [ordered[max(0, math.ceil(len(ordered) * level - 1e-9) - 1)] for level in levels]
    edges: set[float] = set()
    for value, times in Counter(float(edge) for edge in at).items():
        edges.add(value)
        if times > 1:  # a value with so much of the data gets a bin of its own
            edges.add(math.nextafter(value, -math.inf))
    ends = sorted(edge for edge in edges if -math.inf < edge < ordered[-1])
    return NumericBins(edges=ends, cells=list(range(len(ends) + 1)), names=_range_names(ends))


def _bins_of_values(distinct: list[float]) -> NumericBins:
    edges: list[float] = []
    cells: list[int] = []
    other = len(distinct)
    for code, value in enumerate(distinct):
        below = math.nextafter(value, -math.inf)
        if below > (edges[-1] if edges else -math.inf):
            edges.append(below)
            cells.append(other)
        edges.append(value)
        cells.append(code)
    cells.append(other)
    names = [label(value) or "" for value in distinct]
    return NumericBins(edges=edges, cells=cells, names=[*names, "other", "missing"])


def _range_names(ends: list[float]) -> list[str]:
    if not ends:
        return ["any", "missing"]
    middle = [f"{low:.6g} to {high:.6g}" for low, high in pairwise(ends)]
    return [f"to {ends[0]:.6g}", *middle, f"over {ends[-1]:.6g}", "missing"]


def category_bins(labels: Sequence[str]) -> tuple[CategoryBins, slice]:
    """Bins for a category, and which of the reference's rows to count in them.

    A label seen once falls under `unseen`, whose count then estimates how often new labels come
    (Good and Turing). Where there are many labels, the frequent ones are chosen by the first half
    and counted in the second: counting them where they were chosen would make them look frequent.
    """
    counts = Counter(labels)
    if len(counts) <= MANY_LABELS:
        return CategoryBins(sorted(text for text, times in counts.items() if times > 1)), slice(None)
    half = len(labels) // 2
    frequent = Counter(labels[:half]).most_common(FREQUENT_LABELS)
    return CategoryBins(sorted(text for text, times in frequent if times > 1)), slice(half, None)


def normal_scores(share: Floats) -> tuple[Floats, Floats]:
    """Normal scores of ordered bins for location and scale: mean 0, variance 1, uncorrelated."""
    share = share / share.sum()
    normal = NormalDist()
    ends = [normal.inv_cdf(min(max(p, 1e-12), 1 - 1e-12)) for p in np.cumsum(share)[:-1].tolist()]
    heights = np.array([0.0, *(normal.pdf(z) for z in ends), 0.0])
    slopes = np.array([0.0, *(z * normal.pdf(z) for z in ends), 0.0])
    location = _standard((heights[:-1] - heights[1:]) / share, share)
    scale = (slopes[:-1] - slopes[1:]) / share
    return location, _standard(scale - (share * scale * location).sum() * location, share)


def _standard(score: Floats, share: Floats) -> Floats:
    score = score - (share * score).sum()
    size = math.sqrt(float((share * score * score).sum()))
    return np.asarray(score / size if size > 1e-9 else np.zeros_like(score))
