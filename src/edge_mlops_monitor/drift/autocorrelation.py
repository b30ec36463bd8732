"""Integrated autocorrelation time: how many rows are worth one independent row.

For a stationary series it is `tau = 1 + 2 * sum of the autocorrelations`, estimated from each bin's
indicator, and for numbers from the scores of location and scale, by Geyer's initial monotone positive
sequence (Practical Markov Chain Monte Carlo, Statistical Science 7, 1992). The largest of these is
taken, at an upper confidence limit after Sokal's variance of the estimate (Monte Carlo Methods in
Statistical Mechanics, 1997), since a reference that is short for its own autocorrelation tends to
underestimate it. Where a cycle ends the initial sequence too early, all lags count (see `_beyond`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import normal_scores
from edge_mlops_monitor.drift.context import rows_of

Floats = NDArray[np.float64]

MAX_ROWS = 65536  # more add cost, not knowledge
CONFIDENCE = 1.645  # one-sided 95 %
LEAST_EFFECTIVE_ROWS = 50  # independent rows of a reference below which nothing is decided
WINDOWS = 10  # the rows hold, of so many lags as all autocorrelations are added up over
FREEDOM = 15  # of chi-square that such a sum has, 1.5 for each window
EVEN = 1e-9  # share of the variance that is left by rounding
SLOWEST = 0.99  # fall of autocorrelations from lag to lag
RARE = 0.01  # share of rows of a bin that tells little by itself
CERTAIN = 3.09  # one-sided 99.9 %, since the largest of many is looked at
SURE = 3.72  # one-sided 99.99 %, where nothing else speaks for it


def autocorrelation_time(
    codes: NDArray[np.int64], cells: int, ordered: int = 0, contexts: Sequence[str] | None = None
) -> float:
    """Rows worth one independent row, at least 1, at an upper confidence limit.

    `codes` are the bins of time-ordered rows; the first `ordered` of the `cells` are in the order of
    the values. How often a bin comes in one of the `contexts` of the rows, and not in others, does not count.

    >>> rng = np.random.default_rng(1)
    >>> autocorrelation_time(rng.integers(0, 10, 2000), 10)
    1.0
    >>> autocorrelation_time(np.repeat(rng.integers(0, 10, 200), 10), 10) > 8
    True
    """
    codes = codes[:MAX_ROWS]
    series = _series(codes, cells, ordered, None if contexts is None else contexts[: len(codes)])
    return _time(_autocorrelations(series), len(codes))


def autocorrelation_of_stretches(
    codes: NDArray[np.int64],
    cells: int,
    segment: int,
    ordered: int = 0,
    contexts: Sequence[str] | None = None,
) -> tuple[float, float]:
    """The same for rows taken in stretches of `segment` rows, with gaps between the stretches.

    The second figure is how many independent rows they are worth: more than rows that follow each other,
    since the gaps make the stretches independent; where the data wander more slowly than the gaps are long,
    a stretch is worth one row at most.
    """
    return _of_segments(_series(codes, cells, ordered, contexts), segment)


def design_effect(
    codes: NDArray[np.int64],
    cells: int,
    ordered: int,
    cycle: NDArray[np.int64],
    contexts: Sequence[str] | None = None,
) -> float:
    """Rows worth one independent row where whole cycles (days) differ from each other; 1 where they do not.

    The variance of the cycles' means over what independent rows would give (Kish, Survey Sampling, 1965),
    largest over the bins and scores; where it cannot be chance, at an upper confidence limit. `cycle` numbers
    the cycle of each row.

    >>> rng = np.random.default_rng(1)
    >>> days = np.repeat(np.arange(7), 500)
    >>> design_effect(rng.integers(0, 10, 3500), 10, 10, days)
    1.0
    >>> design_effect(np.clip(rng.integers(0, 9, 3500) + days % 2, 0, 9), 10, 10, days) > 10
    True
    """
    series = _series(codes, cells, ordered, contexts)
    rows = np.bincount(cycle)
    freedom = len(rows) - 1
    variance = (series**2).mean(axis=0)
    if freedom < 1 or not variance.size or not variance.all():
        return 1.0
    sums = np.array([np.bincount(cycle, column) for column in series.T])
    effect = float(((sums**2 / rows).sum(axis=1) / freedom / variance).max())
    if effect <= _chi_square_over_freedom(freedom, CERTAIN):
        return 1.0
    return effect / _chi_square_over_freedom(freedom, -CONFIDENCE)


def _chi_square_over_freedom(freedom: int, normal: float) -> float:
    """The quantile of chi-square / freedom at a standard normal quantile (Wilson and Hilferty, 1931)."""
    part = 2 / (9 * freedom)
    return float(max(1 - part + normal * math.sqrt(part), 0.1) ** 3)


def autocorrelation_times(series: Floats, segment: int = 0) -> tuple[Floats, Floats]:
    """For each centred column: rows worth one independent row, and how many of these the column is worth.

    With `segment` the rows are stretches of so many rows with gaps between them.
    """
    rows = len(series)
    stretches = bool(segment) and rows > 2 * segment
    tau, worth = np.ones(series.shape[1]), np.full(series.shape[1], float(rows))
    varies = np.flatnonzero(series.any(axis=0))
    correlations = None if stretches or not len(varies) else _autocorrelations(series[:, varies])
    for place, column in enumerate(varies.tolist()):
        if correlations is not None:
            tau[column] = _time(correlations[:, [place]], rows)
            worth[column] = rows / tau[column]
        else:
            tau[column], worth[column] = _of_segments(series[:, [column]], segment)
    return tau, worth


def _series(
    codes: NDArray[np.int64], cells: int, ordered: int, contexts: Sequence[str] | None = None
) -> Floats:
    """A column for each bin that varies, for what is rare, and for the scores, each centred in each context.

    A bin with hardly any rows tells nothing by itself; missing does, since what is rarely missing is often
    missing in a row, and so do all rare bins together.
    """
    count = np.bincount(codes, minlength=cells)
    share = count / max(1, len(codes))
    kept = np.flatnonzero((share > RARE) & (share < 1 - RARE))
    columns = [(codes[:, None] == kept).astype(np.float64)]
    rare = share <= RARE
    rare[-1] = False
    if ordered < cells - 1:
        rare[-2] = False  # of unseen labels, which the first half of the rows may have more of by selection
    missing = np.arange(cells) == cells - 1
    for some in (rare, missing & (share <= RARE)):
        if count[some].sum() > 1:
            columns.append(some[codes, None].astype(np.float64))
    if np.count_nonzero(share[:ordered]) > 2:  # with two cells the indicators say it all
        table = np.zeros((cells, 2))
        table[:ordered] = np.stack(normal_scores(share[:ordered] + 1e-9), axis=1)
        columns.append(table[codes])
    series = np.concatenate(columns, axis=1)
    if not contexts:
        return np.asarray(series - series.mean(axis=0))
    spread = series.std(axis=0)
    for rows in rows_of(contexts).values():
        series[rows] -= series[rows].mean(axis=0)
    return series[:, series.std(axis=0) > EVEN * spread]  # what a context says alone tells nothing of rows


def _autocorrelations(series: Floats) -> Floats:
    """Autocorrelations of each column at lags 0, 1, ... up to a third of the length."""
    rows = len(series)
    if rows < 6 or series.shape[1] == 0:
        return np.ones((1, 1))
    size = 1 << (2 * rows - 1).bit_length()
    spectrum = np.fft.rfft(series, size, axis=0)
    covariance = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size, axis=0)[: rows // 3 + 1]
    return np.asarray(covariance / covariance[0])


def _time(correlations: Floats, rows: int) -> float:
    """The largest tau over the columns, at an upper confidence limit."""
    return max(_upper(*_largest(correlations, rows), rows), _beyond(correlations, rows))


def _largest(correlations: Floats, rows: int) -> tuple[float, int]:
    """The largest tau over the columns, and up to which lag it was summed."""
    noise = CONFIDENCE * math.sqrt(2 / max(rows, 2))
    best, window = 1.0, 1
    for column in correlations.T:
        pairs = _pairs(column)
        count = _length(pairs, noise)
        tau = 2 * float(pairs[:count].sum()) - 1 if len(pairs) else 1.0
        if tau > best:
            best, window = tau, 2 * count - 1
    return best, window


def _pairs(column: Floats) -> Floats:
    """Sums of two autocorrelations each, as a monotone sequence."""
    pairs = column[: len(column) // 2 * 2].reshape(-1, 2).sum(axis=1)
    return np.asarray(np.minimum.accumulate(pairs))


def _length(pairs: Floats, noise: float) -> int:
    """How many of the sums are above the noise, one at least."""
    stop = np.flatnonzero(pairs < noise)
    return max(1, int(stop[0]) if len(stop) else len(pairs))


def _beyond(correlations: Floats, rows: int) -> float:
    """The largest tau over the columns of which the initial sequence does not tell; 1 where it tells all.

    A cycle ends that sequence where it turns, whatever wanders slowly beneath it. Where autocorrelations come
    back, or are many and small, all lags up to a tenth of the rows are added up under Bartlett's window; the
    sum has chi-square's distribution (Priestley, Spectral Analysis and Time Series, 1981).
    """
    lags = rows // WINDOWS
    if lags < 2 or len(correlations) < lags:
        return 1.0
    certain, sure = (_chi_square_over_freedom(FREEDOM, normal) for normal in (CERTAIN, SURE))
    taus = 2 * ((1 - np.arange(lags) / lags) @ correlations[:lags]) - 1
    noise = CONFIDENCE * math.sqrt(2 / rows)
    best = 1.0
    for place in np.flatnonzero(taus > certain * best).tolist():
        column = correlations[: lags // 2 * 2, place]
        count = _length(_pairs(column), noise)
        initial = 2 * float(_pairs(column)[:count].sum()) - 1
        later = column[2 * count :].reshape(-1, 2).sum(axis=1)
        squares = 1 + 2 * float((column[1 : 2 * count] ** 2).sum())
        largest = CERTAIN**2 + 2 * math.log(lags)  # by chance, of so many
        if later.max(initial=0.0) > 2 * math.sqrt(largest * squares / rows) or taus[place] > sure * initial:
            best = max(best, float(taus[place]))
    return best / _chi_square_over_freedom(FREEDOM, -CONFIDENCE) if best > 1 else 1.0


def _upper(tau: float, window: int, rows: int) -> float:
    if tau <= 1 + 9 / math.sqrt(max(rows, 1)):  # what the largest of ten bins shows by chance
        return 1.0
    return tau * (1 + CONFIDENCE * math.sqrt(2 * (2 * window + 1) / rows))


def _of_segments(series: Floats, segment: int) -> tuple[float, float]:
    """Tau of rows that follow each other, and how many independent rows the stretches are worth."""
    rows, count = len(series), len(series) // segment
    parts = series[: count * segment].reshape(count, segment, -1)
    variance = (parts**2).mean(axis=(0, 1))
    if not variance.size or not variance.all():
        return 1.0, float(rows)
    found = [(parts[:, lag:] * parts[:, : segment - lag]).mean(axis=(0, 1)) for lag in range(segment)]
    correlations = np.array(found) / variance
    means = parts.mean(axis=1)
    varies = (means**2).mean(axis=0) > EVEN * variance  # not so where a cycle ends with each stretch
    between = _time(_autocorrelations(means[:, varies]), count)
    tau, window = _largest(correlations, rows)
    beyond, reach = _tail(correlations)
    tau = _upper(tau + 2 * beyond, window + reach, rows)
    if between > 1:
        return tau * between, count / between
    inside = 2 * float(((1 - np.arange(segment) / segment) @ correlations).max()) - 1  # of a mean of them
    return tau, max(count, rows / _upper(inside, segment // 3, rows))


def _tail(correlations: Floats) -> tuple[float, int]:
    """What autocorrelations beyond the last lag add up to, if they go on falling as they did, and how far.

    How fast they fall is taken from the first and the last third of all columns together, the strong ones
    before others: of a single lag, or column, it is hardly known.
    """
    lags = (len(correlations) - 1) // 3
    before, last = correlations[1 : 1 + lags].mean(axis=0), correlations[-lags:].mean(axis=0)
    going_on = np.minimum(before, last) > 0.1
    if not going_on.any():
        return 0.0, 0
    before, last = before[going_on], last[going_on]
    fall = float((last**5).sum() / (last**4 * before).sum())
    factor = min(fall ** (1 / (len(correlations) - 1 - lags)), SLOWEST)
    return float(last.max()) * factor / (1 - factor), round(1 / (1 - factor))
