"""Rows into profile summaries: all features of a stream together, so that NumPy does the work.

What comes out does not depend on how the rows are cut into calls, but for the labels of a category with more
than 32 of them (see `profiles.labels`).
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import NumericBins, as_floats
from edge_mlops_monitor.drift.reference import Column, FeatureReference
from edge_mlops_monitor.profiles.buckets import fill
from edge_mlops_monitor.profiles.exact import MOST_ROWS, moments_of
from edge_mlops_monitor.profiles.labels import shortened
from edge_mlops_monitor.profiles.summary import Bins, Summary
from edge_mlops_monitor.records import Profile

Floats = NDArray[np.float64]


class Profiled:
    """The summary of one feature, and the reference whose bins it counts in."""

    def __init__(self, summary: Summary, reference: FeatureReference | None = None) -> None:
        self.summary = summary
        self.bins = None if reference is None else reference.bins

    @classmethod
    def fresh(cls, reference: FeatureReference | None = None, **names: Any) -> Profiled:
        """With no rows yet."""
        return cls(Summary(bins_of(reference), **names), reference)

    def take(self, ordered: Floats, seen: Counter[Any] | None, rows: int) -> None:
        """Take in the ascending numbers of `rows` rows; `seen` counts all values, if some are no numbers."""
        summary, found = self.summary, len(ordered)
        summary.rows += rows
        summary.numbers += found
        if found:
            summary.minimum = min(summary.minimum, float(ordered[0]) + 0.0)
            summary.maximum = max(summary.maximum, float(ordered[-1]) + 0.0)  # no negative zero
        if found < rows:
            texts = {value: count for value, count in seen.items() if type(value) is str} if seen else {}
            summary.texts += (text := sum(texts.values()))
            summary.missing += rows - found - text
            if texts:
                summary.labels.take(texts)
        if isinstance(self.bins, NumericBins):
            summary.bins.counts += _in_bins(self.bins, ordered, rows)
        elif self.bins is not None:
            seen = Counter(ordered.tolist()) if seen is None else seen
            cells = np.bincount(self.bins.codes(list(seen)), list(seen.values()), minlength=self.bins.size)
            summary.bins.counts += cells.astype(np.int64)
            summary.bins.counts[-1] += rows - seen.total()


def _in_bins(bins: NumericBins, ordered: Floats, rows: int) -> list[int]:
    """The rows in each cell, of which the last is for those without a number."""
    counts = [0] * bins.size
    begin = 0
    ends = ordered.searchsorted(bins.edges, side="right").tolist()
    for cell, end in zip(bins.cells, [*ends, len(ordered)], strict=True):
        counts[cell] += end - begin
        begin = end
    counts[-1] += rows - len(ordered)
    return counts


def bins_of(reference: FeatureReference | None) -> Bins:
    """The bins of a reference, with nothing counted yet."""
    if reference is None:
        return Bins()
    names = [shortened(name) for name in reference.bins.names]
    expected = [int(count) for count in reference.counts]
    return Bins(fingerprint(reference), names, [0] * len(names), expected)


def fingerprint(reference: FeatureReference) -> str:
    """Tells references apart: 16 hexadecimal digits of the bins and their counts."""
    packed = msgspec.msgpack.encode((reference.bins, reference.counts))
    return f"{zlib.crc32(packed):08x}{zlib.adler32(packed):08x}"


def take(features: Mapping[str, Profiled], columns: Mapping[str, Column], ts: Sequence[float]) -> None:
    """Add rows to the summaries of their features; a feature without a column is missing in all of them."""
    times = np.asarray(ts, dtype=np.float64)
    times = times[np.isfinite(times)]
    for begin in range(0, len(ts), MOST_ROWS):
        end = min(begin + MOST_ROWS, len(ts))
        _take(features, {name: column[begin:end] for name, column in columns.items()}, end - begin)
    since, until = float(times.min(initial=math.inf)), float(times.max(initial=-math.inf))
    for feature in features.values():
        summary = feature.summary
        summary.since, summary.until = min(summary.since, since), max(summary.until, until)


def _take(features: Mapping[str, Profiled], columns: Mapping[str, Column], rows: int) -> None:
    values = np.full((len(features), rows), np.nan)
    seen = [
        None if (column := columns.get(name)) is None else _fill(values[place], column)
        for place, name in enumerate(features)
    ]
    finite = np.isfinite(values)
    numbers = finite.sum(axis=1)
    whole = bool(numbers.sum() == values.size)
    moments = moments_of(values if whole else np.where(finite, values, 0.0))
    if not whole:
        values[~finite] = np.nan
    values.sort(axis=1)
    for feature, ordered, count, cells, (total, squares) in zip(
        features.values(), values, numbers.tolist(), seen, moments, strict=True
    ):
        feature.take(ordered[:count], cells, rows)
        summary = feature.summary
        summary.total, summary.squares = summary.total.plus(total), summary.squares.plus(squares)
    fill([feature.summary.buckets for feature in features.values()], values, numbers)


def _fill(values: Floats, column: Column) -> Counter[Any] | None:
    """Put the numbers of a column into `values`; how often each value occurs, where some are no numbers."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
        values[:] = column
        return None
    try:
        values[:] = array("d", column)
        return None
    except (TypeError, ValueError, OverflowError):
        values[:] = as_floats(column)
        return Counter(column.tolist() if isinstance(column, np.ndarray) else column)


def profile_of(
    feature: str,
    column: Column,
    reference: FeatureReference | None = None,
    ts: Sequence[float] = (),
    **names: Any,
) -> Profile:
    """The profile of one feature's values (None is missing), as one window.

    >>> profile_of("a", [1.0, 2.0, None, "x"]).mean
    1.5
    """
    made = Profiled.fresh(reference, feature=feature, **names)
    take({feature: made}, {feature: column}, ts if len(ts) else [0.0] * len(column))
    return made.summary.profile()
