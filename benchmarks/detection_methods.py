"""The methods that the device is compared with, and the threshold that brings each to one rate of alarms.

Each watches one feature: `first` gives the index of the first alarm, or None, `alarms` their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from detection_streams import CHANGES, KINDS, Change, Floats

from edge_mlops_monitor import drift

WINDOW = 100  # rows of a KS window
REFERENCE_ROWS = 1000
STRETCH = 10_000  # healthy values with one reference, when a threshold is sought
CHUNK = 500


class Method(Protocol):
    """A method with its threshold, for one feature."""

    def first(self, reference: Floats, codes: Floats) -> int | None:
        """The index of the first alarm in codes (rows, features) of which feature 0 is watched."""

    def alarms(self, reference: Floats, codes: Floats) -> int:
        """How many alarms there are."""


class Streaming:
    """A detector of this package on one feature, standardised by its reference where it is not the oracle."""

    def __init__(self, name: str, standardise: bool = True, **parameters: Any) -> None:
        self.name, self.standardise, self.parameters = name, standardise, parameters

    def _values(self, reference: Floats, codes: Floats) -> Floats:
        if not self.standardise:
            return codes[:, 0]
        return np.asarray((codes[:, 0] - reference[:, 0].mean()) / (reference[:, 0].std() or 1.0))

    def first(self, reference: Floats, codes: Floats) -> int | None:
        detector = drift.detector(self.name, **self.parameters)
        values = self._values(reference, codes)
        for begin in range(0, len(values), CHUNK):
            if fired := detector.update_many(values[begin : begin + CHUNK]):
                return begin + fired[0]
        return None

    def alarms(self, reference: Floats, codes: Floats) -> int:
        return len(drift.detector(self.name, **self.parameters).update_many(self._values(reference, codes)))


class LikelihoodRatio:
    """The one-sided CUSUM that knows the distributions before and after (Page, 1954; Lorden, 1971)."""

    def __init__(self, change: Change, threshold: float) -> None:
        self.change, self.threshold = change, threshold

    def _fired(self, codes: Floats, most: int) -> list[int]:
        total, fired, threshold = 0.0, [], self.threshold
        for index, ratio in enumerate(self.change.log_ratio(codes).tolist()):
            total = total + ratio if total > 0 else ratio
            if total >= threshold:
                fired.append(index)
                if len(fired) == most:
                    break
                total = 0.0
        return fired

    def first(self, reference: Floats, codes: Floats) -> int | None:
        return next(iter(self._fired(codes, 1)), None)

    def alarms(self, reference: Floats, codes: Floats) -> int:
        return len(self._fired(codes, len(codes)))


class Windows:
    """A two-sample test of every 100 rows against the reference, at a threshold of its statistic.

    The sizes are always the same, so that the statistic decides as its p-value would.
    """

    def __init__(self, kind: str, threshold: float) -> None:
        self.statistics = ks_statistics if kind == "numbers" else chi_square_statistics
        self.threshold = threshold

    def _fired(self, reference: Floats, codes: Floats) -> Any:
        whole = codes[: len(codes) // WINDOW * WINDOW, 0].reshape(-1, WINDOW)
        return np.flatnonzero(self.statistics(reference[:, 0], whole) > self.threshold)

    def first(self, reference: Floats, codes: Floats) -> int | None:
        fired = self._fired(reference, codes)
        return int(fired[0] + 1) * WINDOW - 1 if len(fired) else None

    def alarms(self, reference: Floats, codes: Floats) -> int:
        return len(self._fired(reference, codes))


def ks_statistics(reference: Floats, windows: Floats) -> Floats:
    """D of each window (windows, rows) and the reference; values are continuous."""
    ordered, rows = np.sort(windows, axis=1), windows.shape[1]
    share = np.sort(reference).searchsorted(ordered) / len(reference)
    place = np.arange(rows) / rows
    return np.asarray(np.maximum(share - place, place + 1 / rows - share).max(axis=1))


def chi_square_statistics(reference: Floats, windows: Floats) -> Floats:
    """The two-sample contingency statistic of each window and the reference."""
    cells = int(max(reference.max(), windows.max())) + 1
    before = np.bincount(reference.astype(int), minlength=cells)
    now = np.stack([np.bincount(window.astype(int), minlength=cells) for window in windows])
    rows = windows.shape[1]
    expected = (before + now) * (rows / (rows + len(reference)))
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = (now - expected) ** 2 * (1 / expected + 1 / (before + now - expected))
    return np.asarray(np.nan_to_num(parts).sum(axis=1))


Build = Callable[[float], Method]

# How each is built from one number that rises as alarms become rarer, and where to look for it.
STREAMING: dict[str, tuple[Build, float, float]] = {
    "ADWIN": (lambda t: Streaming("adwin", delta=math.exp(-t)), 0.001, 12.0),
    "Page-Hinkley": (lambda t: Streaming("page_hinkley", threshold=t), 2.0, 400.0),
    "KSWIN": (lambda t: Streaming("kswin", alpha=math.exp(-t)), 2.0, 20.0),
}


def builds(kind: str) -> dict[str, tuple[Build, float, float]]:
    """All methods for a kind of data; an oracle for each change is named after it."""
    most = 1.0 if kind == "numbers" else 100.0
    found: dict[str, tuple[Build, float, float]] = {
        "KS windows": (lambda t: Windows(kind, t), 0.05 * most, most),
        **STREAMING,
    }
    for name, change in CHANGES.items():
        if change.kind == kind:
            found[f"oracle: {name}"] = (_oracle(change), 2.0, 25.0)
    return found


def _oracle(change: Change) -> Build:
    if change.shift:
        slack = change.shift / 2
        return lambda t: Streaming(  # in the units of the log-likelihood ratio
            "cusum", standardise=False, mean=0.0, sd=1.0, slack=slack, threshold=t / change.shift
        )
    return lambda t: LikelihoodRatio(change, t)


def threshold(kind: str, name: str, run_length: float, values: int, seed: int) -> tuple[float, float]:
    """The number at which a method raises one alarm in `run_length` healthy values, and the rate it then has.

    By false position on the log of the rate, on the same data each time.
    """
    build, low, high = builds(kind)[name]

    def excess(number: float) -> float:
        rng, alarms = np.random.default_rng(seed), 0
        for _ in range(values // STRETCH):
            codes = KINDS[kind].draw(rng, REFERENCE_ROWS + STRETCH)
            alarms += build(number).alarms(codes[:REFERENCE_ROWS], codes[REFERENCE_ROWS:])
        return math.log(max(alarms, 0.5) / values * run_length)

    return zero_of(excess, low, high)


def zero_of(
    excess: Callable[[float], float], low: float, high: float, within: float = 0.1, steps: int = 8
) -> tuple[float, float]:
    """Where a falling function is about zero between `low` and `high`, and its value there."""
    above, below = excess(low), excess(high)
    if above <= 0:
        return low, above
    if below >= 0:
        return high, below
    best = (low, above) if abs(above) < abs(below) else (high, below)
    for step in range(steps):
        share = (
            above / (above - below) if step % 3 < 2 else 0.5
        )  # now and then a bisection, for bent functions
        middle = low + min(max(share, 0.05), 0.95) * (high - low)
        found = excess(middle)
        best = min(best, (middle, found), key=lambda pair: abs(pair[1]))
        if abs(found) <= within:
            break
        low, above, high, below = (middle, found, high, below) if found > 0 else (low, above, middle, found)
    return best
