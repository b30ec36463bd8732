"""What all comparisons of two samples share: a method's file holds its statistic, the rest is here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from edge_mlops_monitor.drift import samples
from edge_mlops_monitor.drift.binning import numeric_bins
from edge_mlops_monitor.drift.samples import Column, Floats
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.records import DriftResult

BINNINGS = ("quantiles", "equal_width")
EDGES_FROM = ("reference", "both")
RULES = ("doane", "sturges")
LEAST_ROWS = 2  # of each sample, for a decision


class Measure(NamedTuple):
    """A statistic, its p-value where the method has one, and what else is worth knowing.

    Without a statistic `data["lacks"]` says why.
    """

    statistic: float | None
    p_value: float | None = None
    data: dict[str, Any] = {}  # noqa: RUF012 - never changed


class NumberComparison:
    """A comparison of two samples of numbers; a method gives its name and `measure`."""

    name: ClassVar[str]

    def compare(self, reference: Any, current: Any, threshold: float | None = None) -> DriftResult:
        """Statistic, p-value and decision; None, NaN and infinities are left out, text is refused.

        Where there is no answer, statistic and `is_drift` are None and `data["lacks"]` says why; of a
        sample of one row there is a statistic and no decision.
        """
        return _compare_numbers(self.name, *_columns(self.name, reference, current), threshold, self.measure)

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The method itself, on samples that are not empty."""
        raise NotImplementedError


class BinnedComparison:
    """A comparison of counts: categories have a cell each, numbers are binned.

    `binning` is "quantiles" (of the reference, about `bins` of them with open ends, ties merged; a
    feature of few values has a cell for each) or "equal_width" (`bins` is a number, "doane" or
    "sturges"; what lies outside the reference's range has a cell of its own). `edges_from="both"` makes
    the bins from both samples together. `categorical` takes numbers as labels too; by default text is
    categorical and numbers are not.
    """

    name: ClassVar[str]

    def __init__(
        self,
        bins: int | str = 10,
        binning: str = "quantiles",
        edges_from: str = "reference",
        categorical: bool | None = None,
    ) -> None:
        check_choice(self.name, "binning", binning, BINNINGS)
        check_choice(self.name, "edges_from", edges_from, EDGES_FROM)
        if isinstance(bins, str):
            check_choice(self.name, "bins", bins, RULES)
            if binning != "equal_width":
                raise DataError(f"{self.name}: bins='{bins}' gives a width; add binning='equal_width'")
        elif isinstance(bins, bool) or not isinstance(bins, int) or not 2 <= bins <= 1_000_000:
            raise DataError(f"{self.name} needs bins of 2 to 1 000 000, or one of {', '.join(RULES)}")
        self.bins = bins
        self.binning = binning
        self.edges_from = edges_from
        self.categorical = categorical

    def compare(self, reference: Any, current: Any, threshold: float | None = None) -> DriftResult:
        """Statistic, p-value and decision; None, NaN and infinities are left out.

        Where there is no answer, statistic and `is_drift` are None and `data["lacks"]` says why; of a
        sample of one row there is a statistic and no decision.
        """
        columns = _columns(self.name, reference, current)
        if self.categorical or (self.categorical is None and samples.are_categories(self.name, *columns)):
            return self._compare_labels(*columns, threshold)
        return _compare_numbers(
            self.name, *columns, threshold, lambda *both: self.measure(*self._binned(*both))
        )

    def measure(self, before: Floats, after: Floats) -> Measure:
        """The method itself, on the counts of each cell; no cell is empty in both."""
        raise NotImplementedError

    def _compare_labels(self, reference: Column, current: Column, threshold: float | None) -> DriftResult:
        before, after = samples.label_sample(reference), samples.label_sample(current)
        if not before or not after:
            lacks = empty("reference", reference) if not before else empty("current sample", current)
            return result_of(self.name, lacks, threshold, len(after))
        place = {text: code for code, text in enumerate(sorted({*before, *after}))}
        old, new = (np.array([place[text] for text in rows]) for rows in (before, after))
        measure = _unless_few(self.measure(*_counts(old, new)), len(before), len(after))
        found = result_of(self.name, measure, threshold, len(after))
        effect, category = samples.moved_share(before, after)
        return _with_effect(found, effect, effect_unit="share of rows", category=category)

    def _binned(self, before: Floats, after: Floats) -> tuple[Floats, Floats]:
        pattern = np.concatenate((before, after)) if self.edges_from == "both" else before
        if self.binning == "quantiles" and isinstance(self.bins, int):
            bins = numeric_bins(pattern, self.bins)
            return _counts(bins.codes(before), bins.codes(after))
        edges = equal_width_edges(pattern, self.bins)
        return _counts(_cells(before, edges), _cells(after, edges))


def equal_width_edges(values: Floats, bins: int | str) -> Floats:
    """The edges of equally wide bins over the range of `values`, as `numpy.histogram_bin_edges` has them.

    >>> equal_width_edges(np.array([0.0, 4.0, 8.0]), 4).tolist()
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.array([low, np.nextafter(high, math.inf)])
    number = bins if isinstance(bins, int) else _bins_by_rule(values, bins)
    scale = samples.common_scale(values, values)
    return np.asarray(np.linspace(low / scale, high / scale, number + 1) * scale)


def _bins_by_rule(values: Floats, rule: str) -> int:
    """Sturges, The choice of a class interval, 1926; Doane, Aesthetic frequency classifications, 1976."""
    rows = len(values)
    number = 1 + math.log2(rows)
    scaled = values / samples.common_scale(values, values)
    sd = float(scaled.std())
    if rule == "doane" and rows > 2 and sd > 0:
        skewness = float((((scaled - scaled.mean()) / sd) ** 3).mean())
        expected = math.sqrt(6 * (rows - 2) / ((rows + 1) * (rows + 3)))
        number += math.log2(1 + abs(skewness) / expected)
    return math.ceil(number)


def check_choice(method: str, parameter: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Refuse a parameter that is none of the allowed words."""
    if value not in allowed:
        raise DataError(f"{method} knows no {parameter}={value!r}; use one of {', '.join(allowed)}")


def _columns(method: str, reference: Any, current: Any) -> tuple[Column, Column]:
    return samples.sample_column(method, reference), samples.sample_column(method, current)


def _compare_numbers(
    method: str,
    reference: Column,
    current: Column,
    threshold: float | None,
    measure: Callable[[Floats, Floats], Measure],
) -> DriftResult:
    before, after = samples.number_sample(method, reference), samples.number_sample(method, current)
    if not len(before) or not len(after):
        lacks = empty("reference", reference) if not len(before) else empty("current sample", current)
        return result_of(method, lacks, threshold, len(after))
    measured = _unless_few(measure(before, after), len(before), len(after))
    found = result_of(method, measured, threshold, len(after))
    data = {"effect_unit": "reference sd"}
    pairs = ((reference, before), (current, after))
    if any(samples.holds_large_integers(column, rows) for column, rows in pairs):
        data["rounded"] = "integers beyond 2^53 are compared as the nearest floats"
    return _with_effect(found, samples.moved_mean(before, after), **data)


def empty(name: str, column: Column | None = None) -> Measure:
    """There is nothing to compare: the sample has no rows, or no value in them."""
    rows = 0 if column is None else len(column)
    what = f"has no value: all of its {rows} are missing" if rows else "is empty"
    return Measure(None, data={"lacks": f"the {name} {what}"})


def _unless_few(measure: Measure, reference_rows: int, rows: int) -> Measure:
    """A measure, with what its samples lack for a decision."""
    few = "reference" if reference_rows < LEAST_ROWS else "current sample" if rows < LEAST_ROWS else ""
    if measure.statistic is None or not few:
        return measure
    lacks = f"the {few} has one row, from which nothing is decided; give more"
    return measure._replace(data={**measure.data, "lacks": lacks})


def _cells(values: Floats, edges: Floats) -> Floats:
    cells = np.searchsorted(edges, values, side="right") - 1
    cells[values == edges[-1]] = len(edges) - 2  # the last bin is closed
    cells[(values < edges[0]) | (values > edges[-1])] = len(edges) - 1
    return np.asarray(cells)


def _counts(before: Any, after: Any) -> tuple[Floats, Floats]:
    """The counts of each cell that is not empty in both."""
    size = int(max(before.max(), after.max())) + 1
    old, new = np.bincount(before, minlength=size), np.bincount(after, minlength=size)
    used = (old + new) > 0
    return old[used].astype(np.float64), new[used].astype(np.float64)


def result_of(method: str, measure: Measure, threshold: float | None, rows: int) -> DriftResult:
    """The result that a measure amounts to: a p-value below the threshold, or a distance from it on."""
    if threshold is not None and not (isinstance(threshold, (int, float)) and math.isfinite(threshold)):
        raise DataError(f"{method} needs a finite number as threshold, not {threshold!r}")
    statistic, p_value, data = measure
    is_drift: bool | None = None
    if statistic is not None and not math.isfinite(statistic):
        statistic, p_value, data = None, None, {"lacks": "the difference is too large for a float"}
    if statistic is not None and threshold is not None and "lacks" not in data:
        is_drift = statistic >= threshold if p_value is None else p_value < threshold
    return DriftResult(
        method=method,
        statistic=statistic,
        p_value=p_value,
        threshold=threshold,
        is_drift=is_drift,
        sample_size=rows,
        data=data,
    )


def _with_effect(found: DriftResult, effect: float | None, **data: Any) -> DriftResult:
    import msgspec

    return msgspec.structs.replace(found, effect=effect, data={**found.data, **data})
