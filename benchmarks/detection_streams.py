"""Healthy and changed streams with known truth, as docs/detection.md describes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rng = np.random.Generator
Columns = dict[str, Any]

FEATURES = 10
DAY = 1440  # predictions, one a minute
RAMP = 2000  # predictions over which a gradual change comes about
TEN = np.full(10, 0.1)  # the shares of ten categories
TWICE = np.array([0.2, *np.full(9, 0.8 / 9)])
MISSING_BEFORE, MISSING_AFTER = 0.01, 0.05
PEAK = 0.9
CORRELATION = 0.8


class Healthy(NamedTuple):
    """A kind of healthy data: how its rows are drawn, the rows of its reference, how many are learned.

    `learned` is the setting `learn_reference` of a device that is given no reference, `context` its setting.
    """

    draw: Callable[[Rng, int], Any]
    reference_rows: int = 1000
    learned: int = 0
    judged: bool = True
    context: str = ""


def normal(rng: Rng, rows: int) -> Floats:
    """Independent standard normal values."""
    return rng.normal(size=(rows, FEATURES))


def ar(rho: float) -> Callable[[Rng, int], Floats]:
    """A first-order autoregression with variance 1."""

    def draw(rng: Rng, rows: int) -> Floats:
        noise = rng.normal(size=(rows, FEATURES)) * np.sqrt(1 - rho * rho)
        noise[0] /= np.sqrt(1 - rho * rho)
        for row in range(1, rows):
            noise[row] += rho * noise[row - 1]
        return noise

    return draw


def sine(rng: Rng, rows: int) -> Floats:
    """A daily sine, with noise."""
    day = np.sin(2 * np.pi * np.arange(rows) / DAY)[:, None]
    return np.asarray(day + 0.3 * rng.normal(size=(rows, FEATURES)))


def five(rng: Rng, rows: int) -> Any:
    """Five categories."""
    return rng.choice(list("abcde"), size=(rows, FEATURES), p=(0.5, 0.2, 0.15, 0.1, 0.05))


def thousand(rng: Rng, rows: int) -> Any:
    """A thousand categories, most of them rare."""
    return np.char.mod("c%d", rng.zipf(1.5, size=(rows, FEATURES)) % 1000)


def some_missing(rng: Rng, rows: int) -> Floats:
    """3 % missing."""
    return np.where(rng.random((rows, FEATURES)) < 0.03, np.nan, normal(rng, rows))


HEALTHY = {
    "independent": Healthy(normal),
    "AR(1) 0.5": Healthy(ar(0.5), 2000),
    "AR(1) 0.9": Healthy(ar(0.9), 2000),
    "AR(1) 0.97": Healthy(ar(0.97), 2000),
    "daily sine": Healthy(sine, 0, learned=1000),
    "heavy tails": Healthy(lambda rng, rows: rng.standard_cauchy(size=(rows, FEATURES))),
    "ties": Healthy(lambda rng, rows: np.round(normal(rng, rows) * 2) / 2),
    "constants": Healthy(lambda rng, rows: np.tile(np.arange(FEATURES) + 0.5, (rows, 1))),
    "categories": Healthy(five),
    "short reference": Healthy(normal, 200, judged=False),
    "AR(1) 0.1": Healthy(ar(0.1), judged=False),
    "many zeros": Healthy(lambda rng, rows: np.maximum(normal(rng, rows), 0.0), judged=False),
    "1000 categories": Healthy(thousand, 2000, judged=False),
    "3 % missing": Healthy(some_missing, judged=False),
    "daily sine, hour_of_day": Healthy(sine, 0, learned=1000, judged=False, context="hour_of_day"),
}


def columns(data: Any) -> Columns:
    """An array (rows, features) as named columns; text as lists."""
    return {
        f"inputs.x{i}": data[:, i] if data.dtype.kind == "f" else data[:, i].tolist()
        for i in range(data.shape[1])
    }


# Changed data. A stream of a kind is drawn as numbers: values, the number of a category, 1 for missing.


class Change(NamedTuple):
    """What happens to feature 0: `after(rng, codes, weight)` where `weight` (rows) rises from 0 to 1.

    `log_ratio(codes)` is the log-likelihood ratio of after and before, both known. `shift` is the size in
    standard deviations, 0 for other changes.
    """

    kind: str
    after: Callable[[Rng, Floats, Floats], Floats]
    log_ratio: Callable[[Floats], Floats]
    shift: float = 0.0


def _shift(size: float) -> Change:
    return Change(
        "numbers",
        lambda rng, codes, weight: codes[:, 0] + size * weight,
        lambda codes: size * codes[:, 0] - size * size / 2,
        size,
    )


def _scale(factor: float) -> Change:
    return Change(
        "numbers",
        lambda rng, codes, weight: codes[:, 0] * (1 + (factor - 1) * weight),
        lambda codes: codes[:, 0] ** 2 / 2 * (1 - factor**-2) - np.log(factor),
    )


def _two_peaks(rng: Rng, codes: Floats, weight: Floats) -> Floats:
    rows = len(codes)
    peaks = rng.choice((-PEAK, PEAK), size=rows) + np.sqrt(1 - PEAK**2) * rng.normal(size=rows)
    return np.where(rng.random(rows) < weight, peaks, codes[:, 0])


def _two_peaks_ratio(codes: Floats) -> Floats:
    variance = 1 - PEAK**2
    peaks = [np.exp(-((codes[:, 0] - peak) ** 2) / (2 * variance)) for peak in (-PEAK, PEAK)]
    return np.asarray(np.log(np.add(*peaks) / 2 + 1e-300) - np.log(variance) / 2 + codes[:, 0] ** 2 / 2)


def _correlated(rng: Rng, codes: Floats, weight: Floats) -> Floats:
    tied = CORRELATION * codes[:, 1] + np.sqrt(1 - CORRELATION**2) * codes[:, 0]
    return np.where(rng.random(len(codes)) < weight, tied, codes[:, 0])


def _correlated_ratio(codes: Floats) -> Floats:
    a, b, left = codes[:, 0], codes[:, 1], 1 - CORRELATION**2
    return np.asarray(-np.log(left) / 2 - ((a - CORRELATION * b) ** 2 / left - a * a) / 2)


def _mixed_in(shares: Floats) -> Callable[[Rng, Floats, Floats], Floats]:
    def after(rng: Rng, codes: Floats, weight: Floats) -> Floats:
        fresh = rng.choice(len(shares), size=len(codes), p=shares).astype(float)
        return np.where(rng.random(len(codes)) < weight, fresh, codes[:, 0])

    return after


def _ratio_of(after: Floats, before: Floats) -> Callable[[Floats], Floats]:
    ratios = np.log(after / np.maximum(before, 1e-12))
    return lambda codes: ratios[codes[:, 0].astype(int)]


def _new_category() -> Change:
    after, before = np.array([*0.9 * TEN, 0.1]), np.array([*TEN, 0.0])
    return Change("categories", _mixed_in(after), _ratio_of(after, before))


def _missing() -> Change:
    before = np.array([1 - MISSING_BEFORE, MISSING_BEFORE])
    after = np.array([1 - MISSING_AFTER, MISSING_AFTER])
    return Change("missing", _mixed_in(after), _ratio_of(after, before))


CHANGES = {
    **{f"shift {size:g} sd": _shift(size) for size in (0.25, 0.5, 1.0, 2.0)},
    "scale x1.5": _scale(1.5),
    "scale x2": _scale(2.0),
    "shape (two peaks)": Change("numbers", _two_peaks, _two_peaks_ratio),
    "correlation 0.8": Change("numbers", _correlated, _correlated_ratio),
    "one category of ten, twice": Change("categories", _mixed_in(TWICE), _ratio_of(TWICE, TEN)),
    "new category, 1 in 10": _new_category(),
    "missing 1 % to 5 %": _missing(),
}


class Kind(NamedTuple):
    """A kind of data: its codes (rows, features), and what a device is given in their place."""

    draw: Callable[[Rng, int], Floats]
    columns: Callable[[Rng, Floats], Columns]


def _with_holes(rng: Rng, codes: Floats) -> Columns:
    return columns(np.where(codes == 1, np.nan, rng.normal(size=codes.shape)))


KINDS = {
    "numbers": Kind(normal, lambda rng, codes: columns(codes)),
    "categories": Kind(
        lambda rng, rows: rng.integers(0, 10, size=(rows, FEATURES)).astype(float),
        lambda rng, codes: columns(np.char.mod("c%d", codes.astype(int))),
    ),
    "missing": Kind(
        lambda rng, rows: (rng.random((rows, FEATURES)) < MISSING_BEFORE).astype(float), _with_holes
    ),
}


def weights(rows: int, gradual: bool) -> Floats:
    """How far a change has come about at each row since its onset."""
    return np.minimum(1.0, np.arange(1, rows + 1) / RAMP) if gradual else np.ones(rows)
