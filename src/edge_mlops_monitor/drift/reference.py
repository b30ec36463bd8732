"""References: what a feature looks like when all is well, one for each stream and feature.

An unqualified name means the output, then the input of that name; a reference without model, version or
source is for all of them. `reference_file.py` writes and reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.autocorrelation import (
    LEAST_EFFECTIVE_ROWS,
    autocorrelation_of_stretches,
    autocorrelation_time,
    design_effect,
)
from edge_mlops_monitor.drift.binning import (
    CategoryBins,
    NumericBins,
    category_bins,
    label,
    mean_and_sd,
    numbers,
    numeric_bins,
)
from edge_mlops_monitor.drift.context import (
    HOUR_OF_DAY,
    LEAST_ROWS,
    LEAST_VISITS,
    Context,
    contexts_of,
    cycles_of,
    enough,
    is_context,
    labels_of,
    rows_of,
)
from edge_mlops_monitor.drift.joint import Pairs
from edge_mlops_monitor.features import ERRORS, mostly_numbers
from edge_mlops_monitor.quality.healthy import Healthy, healthy, with_texts
from edge_mlops_monitor.quality.stuck import RunLengths, repeat_share_in, run_lengths
from edge_mlops_monitor.quality.wrong_type import texts as texts_among

WINSORISED = 8.0  # spreads from the middle at which values are cut where outliers rule
SIDES = ("inputs.", "outputs.")
QUANTILES = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)

Column = Sequence[Any] | NDArray[Any]
Built = tuple["FeatureReference", NDArray[np.int64]]  # with the rows' cells
Stream = tuple[str | None, str | None, str | None]


class FeatureReference(msgspec.Struct, frozen=True, kw_only=True):
    """The reference of one feature.

    `counts` are the rows in each cell of `bins`, `n` their sum. `tau` is how many live rows are worth
    one independent row, `effective_rows` how many independent rows the reference is worth. `spread`
    is the standard deviation, or the interquartile range / 1.349 where outliers rule the former.
    `quality` is what the checks of data quality know, None in files older than they are. `values` are
    the raw values, kept on request only. `context` names what the feature depends on, and `contexts`
    what it looks like in each; then `tau` is that of rows held against their own context.
    """

    name: str
    bins: NumericBins | CategoryBins
    counts: list[float]
    model: str | None = None
    model_version: str | None = None
    source: str | None = None
    n: int = 0
    tau: float = 1.0
    effective_rows: float = 0.0
    mean: float | None = None
    sd: float | None = None
    spread: float | None = None
    quantiles: list[float] = []
    runs: RunLengths = RunLengths()
    quality: Healthy | None = None
    values: list[float] | None = None
    one_way: bool = False  # values only ever rise, or only fall, as a counter's
    context: str = ""
    contexts: dict[str, Context] = {}
    estimator: dict[str, Any] | None = None  # of errors: what estimates them where there are no labels
    pairs: Pairs | None = None  # of the feature `joint`: how the others go together

    @property
    def numeric(self) -> bool:
        """Whether the feature is a number (else a category)."""
        return isinstance(self.bins, NumericBins)

    @property
    def robust(self) -> bool:
        """Whether outliers rule the standard deviation; `mean` is winsorised then."""
        return self.numeric and self.spread != self.sd

    @property
    def only_rises(self) -> bool:
        """Whether nothing but a rise is a change for the worse: of a model's errors."""
        return self.name.startswith(ERRORS)

    @property
    def lacks(self) -> str:
        """What is missing for decisions, as a sentence; empty where nothing is."""
        if self.n == 0:
            return "the reference is empty; build one from data that has this feature"
        if self.counts[-1] >= self.n:
            return (
                "every value of the reference is missing; build a reference from data that has this feature"
            )
        if self.context and not self.contexts:
            return (
                f"no context ({self.context}) was seen {LEAST_VISITS} times and in {LEAST_ROWS} independent "
                f"rows; give a longer reference{', of some days' if self.context == HOUR_OF_DAY else ''}"
            )
        if self.effective_rows >= LEAST_EFFECTIVE_ROWS:
            return ""
        if self.one_way:
            return (
                "its values only ever go one way, as those of a counter or a clock do, so that no later row "
                "is like the reference; record how much it changes in place of it, or leave it out"
            )
        needed = math.ceil(LEAST_EFFECTIVE_ROWS * self.n / max(self.effective_rows, 1e-9) / 100) * 100
        if self.effective_rows >= 0.99 * self.n:
            return f"the reference has {self.n} rows and at least {LEAST_EFFECTIVE_ROWS} are needed"
        return (
            f"the reference's {self.n} rows follow each other so closely that they are worth about "
            f"{self.effective_rows:.0f} independent ones, and {LEAST_EFFECTIVE_ROWS} are needed; "
            f"give about {needed} rows"
        )


def build_feature(
    name: str,
    column: Column,
    *,
    categorical: bool = False,
    keep_values: bool = False,
    segment: int = 0,
    context: str = "",
    labels: Sequence[str] | None = None,
    checks: bool = True,
    near: Column | None = None,
    **stream: Any,
) -> FeatureReference:
    """The reference of one feature from its time-ordered values (None is missing).

    A column that holds text is a category, unless fewer than one in ten values are text: those are faults,
    and leave out their rows. With `segment`, the rows are stretches of so many rows with gaps between them,
    as a device learns them. `labels` are the rows' contexts, of kind `context`. Without `checks` it lacks
    what the checks of data quality need. Where the numbers are the ends of cells that they lie in, `near`
    has others as near to them as is known, of which those of a block are equal that were.

    >>> build_feature("inputs.a", [0.5 * i for i in range(100)]).quantiles[4]
    25.0
    """
    if name.startswith(ERRORS):
        # Of errors nothing is wrong but their size: equal ones are no stuck sensor.
        values = numbers(column)
        return _numeric(name, values, values, keep_values, segment, False, stream)[0]
    text, values = _texts(column), numbers(column)
    if not categorical and mostly_numbers(int(text.sum()), int((~np.isnan(values)).sum())):
        stays = ~_in_stretches(text, segment)
        values = values[stays]
        about = values if near is None else numbers(near)[stays]
        found, codes = _numeric(name, values, about, keep_values, segment, checks, stream)
        if text.any():
            labels = None if labels is None else [labels[row] for row in np.flatnonzero(stays).tolist()]
            found = msgspec.structs.replace(found, quality=with_texts(found.quality, text, _worth_of_marks))
    else:
        found, codes = _category(name, column, segment, stream)
        values = about = np.full(len(codes), math.nan)
    if labels is None or is_context(context, name) or found.n != len(codes) or not found.n - found.counts[-1]:
        return found
    return _in_contexts(found, context, labels[len(labels) - found.n :], values, about, codes, segment)


def _in_contexts(
    found: FeatureReference,
    context: str,
    labels: Sequence[str],
    values: NDArray[np.float64],
    near: NDArray[np.float64],
    codes: NDArray[np.int64],
    segment: int,
) -> FeatureReference:
    """The same reference, with what it looks like in each context."""
    contexts, inner = contexts_of(labels, found.bins, np.array(found.counts), values, near, codes)
    tau, effective = _worth(inner, found.bins, segment, labels)
    tau = max(tau, design_effect(inner, found.bins.size, found.bins.ordered, cycles_of(labels), labels))
    effective, known = min(effective, found.n / tau), enough(contexts, tau)
    return msgspec.structs.replace(
        found,
        context=context,
        contexts=known,
        tau=tau,
        effective_rows=effective,
        runs=_runs_in(found.runs, known, rows_of(labels), near, segment),
    )


def _runs_in(
    runs: RunLengths,
    contexts: Mapping[str, Context],
    at: Mapping[str, NDArray[np.int64]],
    values: NDArray[np.float64],
    segment: int,
) -> RunLengths:
    """The runs beside contexts in which the value never changes; what repeats in a single one counts."""
    if runs.repeat_share >= 1:
        return runs
    values = values.copy()
    for name, one in contexts.items():
        if one.stands:
            values[at[name]] = math.nan
    runs = run_lengths(values, segment)
    shares = [repeat_share_in(at[name], values, segment) for name in contexts]
    return RunLengths(runs.longest, max([runs.repeat_share, *shares]))


def _texts(column: Column) -> NDArray[np.bool_]:
    """Which rows hold text."""
    found = np.zeros(len(column), dtype=bool)
    found[texts_among(column, range(len(column)))] = True
    return found


def _in_stretches(rows: NDArray[np.bool_], segment: int) -> NDArray[np.bool_]:
    """These rows, or all rows of the stretches that hold any, so that the others stay whole."""
    return np.repeat(rows.reshape(-1, segment).any(axis=1), segment) if segment else rows


def _worth_of_marks(series: NDArray[np.int64]) -> float:
    return autocorrelation_time(series, 2)


def _numeric(
    name: str,
    values: NDArray[np.float64],
    near: NDArray[np.float64],
    keep: bool,
    segment: int,
    checks: bool,
    stream: dict[str, Any],
) -> Built:
    finite = values[~np.isnan(values)]
    if not len(finite):
        bins = NumericBins(edges=[], cells=[0], names=["any", "missing"])
        counts = [0.0, float(len(values))]
        empty = FeatureReference(name=name, bins=bins, counts=counts, n=len(values), **stream)
        return empty, np.ones(len(values), dtype=np.int64)
    bins = numeric_bins(finite)
    codes = bins.codes(values)
    tau, effective = _worth(codes, bins, segment)
    with np.errstate(over="ignore", invalid="ignore"):
        about = near[~np.isnan(near)]
        mean, sd, spread = _moments(about)
    found = FeatureReference(
        name=name,
        bins=bins,
        counts=np.bincount(codes, minlength=bins.size).astype(float).tolist(),
        n=len(values),
        tau=tau,
        effective_rows=effective,
        mean=mean,
        sd=sd,
        spread=spread,
        quantiles=[float(q) for q in np.quantile(about, QUANTILES, method="nearest")],
        runs=run_lengths(near, segment) if checks and not bins.few else RunLengths(),
        quality=healthy(near, _worth_of_marks) if checks else None,
        values=finite.tolist() if keep else None,
        one_way=_goes_one_way(finite),
        **stream,
    )
    return found, codes


def _goes_one_way(finite: NDArray[np.float64]) -> bool:
    if finite[0] == finite[-1]:
        return False
    later, earlier = (finite[1:], finite[:-1]) if finite[0] < finite[-1] else (finite[:-1], finite[1:])
    return bool((later >= earlier).all())


def _moments(finite: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean, standard deviation and spread; numbers near the end of the range do not overflow."""
    mean, sd = mean_and_sd(finite)
    scale = float(np.abs(finite).max()) or 1.0
    scaled = finite / scale
    low, high = np.quantile(scaled, (0.25, 0.75))
    robust = float(high - low) / 1.349
    if robust == 0 or sd <= 3 * robust * scale:
        return mean, sd, sd
    middle = float(np.median(scaled))
    mean = middle + robust * float(np.clip((scaled - middle) / robust, -WINSORISED, WINSORISED).mean())
    return mean * scale, sd, robust * scale


def _category(name: str, column: Column, segment: int, stream: dict[str, Any]) -> Built:
    texts = [label(value) for value in (column.tolist() if isinstance(column, np.ndarray) else column)]
    bins, rows = category_bins([text for text in texts if text is not None])
    if rows.start:
        half = len(texts) // 2
        texts = texts[half + (-half % segment if segment else 0) :]  # whole stretches
    codes = bins.codes(texts)
    tau, effective = _worth(codes, bins, segment)
    found = FeatureReference(
        name=name,
        bins=bins,
        counts=np.bincount(codes, minlength=bins.size).astype(float).tolist(),
        n=len(texts),
        tau=tau,
        effective_rows=effective,
        quality=Healthy(
            rows=len(texts), text_only=all(isinstance(v, str) or label(v) is None for v in column)
        ),
        **stream,
    )
    return found, codes


def _worth(
    codes: NDArray[np.int64],
    bins: NumericBins | CategoryBins,
    segment: int,
    contexts: Sequence[str] | None = None,
) -> tuple[float, float]:
    """Tau in live rows, and how many independent rows these are worth."""
    if not segment or len(codes) <= 2 * segment:
        tau = autocorrelation_time(codes, bins.size, bins.ordered, contexts)
        return tau, len(codes) / tau
    return autocorrelation_of_stretches(codes, bins.size, segment, bins.ordered, contexts)


def build(
    columns: Mapping[str, Column],
    *,
    categorical: Iterable[str] = (),
    keep_values: bool = False,
    context: str = "",
    ts: Sequence[float] | None = None,
    together: bool = True,
    **stream: Any,
) -> list[FeatureReference]:
    """References of all columns, in time order (see `build_feature`), and of how they go together.

    `stream` may name `model`, `model_version` and `source`. `context` is `hour_of_day` (which needs the
    rows' times `ts`), or the name of a column on which the others depend. `together=False` is for columns
    whose rows do not belong to each other.
    """
    from edge_mlops_monitor.drift.joint_reference import joint_reference

    chosen = set(categorical)
    rows = len(next(iter(columns.values()), ()))
    labels = labels_of(context, columns, ts if ts is not None else [0.0] * rows) if context else None
    found = [
        build_feature(
            name,
            column,
            categorical=name in chosen or name.partition(".")[2] in chosen,
            keep_values=keep_values,
            context=context,
            labels=labels,
            **stream,
        )
        for name, column in columns.items()
    ]
    joint = joint_reference(columns, found, **stream) if together else None
    return found if joint is None else [*found, joint]
