"""Drift between two profiles, or between a reference and a profile.

Methods of counts (psi, chi_square, jensen_shannon, ...) use the counts in the reference's bins. These are
exact, so merged profiles give the same as all their rows. `ks_test` and `wasserstein` read the quantile
sketches, and say in `data["error"]` by how much the rows themselves may give more (ks_test), or more or less
(wasserstein).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from edge_mlops_monitor.drift.comparison import BinnedComparison, Measure, result_of
from edge_mlops_monitor.drift.comparisons.ks_test import MOST_EXACT, KSTest, asymptotic_p, exact_p
from edge_mlops_monitor.drift.comparisons.wasserstein import Wasserstein
from edge_mlops_monitor.drift.profiling import fingerprint
from edge_mlops_monitor.drift.reference import FeatureReference
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.profiles.buckets import Buckets
from edge_mlops_monitor.records import DriftResult, Profile

Floats = NDArray[np.float64]
NOTHING = Measure(None, data={"lacks": "there is no value in one of the profiles"})


def compare_profiles(comparison: Any, before: Any, after: Any, threshold: float | None) -> DriftResult:
    """One comparison by a method, as `drift.compare` made it; `before` may be a FeatureReference."""
    if not isinstance(after, Profile) or not isinstance(before, (Profile, FeatureReference)):
        raise DataError("a profile is compared with a profile or with a reference, not with raw values")
    if isinstance(comparison, BinnedComparison):
        old, new = _counts(before, after)
        used = (old + new) > 0
        measure = comparison.measure(old[used], new[used]) if old.sum() and new.sum() else NOTHING
        rows = int(new.sum())
    else:
        measure, rows = _by_buckets(comparison, before, after), after.numbers
    return _with_effect(result_of(comparison.name, measure, threshold, rows), before, after)


def _counts(before: Profile | FeatureReference, after: Profile) -> tuple[Floats, Floats]:
    """The counts of both in the same cells, without what is missing."""
    if isinstance(before, FeatureReference):
        reference, counts = fingerprint(before), before.counts
    else:
        reference, counts = before.reference, [float(count) for count in before.bin_counts]
    if not reference or reference != after.reference:
        raise DataError(
            "the profiles were not counted in the bins of one reference (the field `reference` names it); "
            "compare them by ks_test or wasserstein"
        )
    return np.array(counts[:-1]), np.array(after.bin_counts[:-1], dtype=np.float64)


def _by_buckets(comparison: Any, before: Profile | FeatureReference, after: Profile) -> Measure:
    if not isinstance(comparison, (KSTest, Wasserstein)):
        raise DataError(
            f"{comparison.name} needs the rows themselves; profiles are compared by methods of counts "
            "(psi, chi_square, jensen_shannon, ...), ks_test or wasserstein"
        )
    if isinstance(before, FeatureReference):
        raise DataError(
            f"{comparison.name} compares two profiles, and a reference keeps its bins only; "
            "use psi or chi_square"
        )
    if not before.numbers or not after.numbers:
        return NOTHING
    if isinstance(comparison, KSTest):
        return _ks_test(comparison, _Shares(before, after), before.numbers, after.numbers)
    return _wasserstein(comparison, _Shares(before, after), before.sd or 0.0)


class _Shares:
    """Two sketches on one grid: where the buckets lie, how wide they are, and the shares in each."""

    def __init__(self, before: Profile, after: Profile) -> None:
        both = [Buckets.read(one.bucket_width, one.buckets, one.bucket_counts) for one in (before, after)]
        exponent = max(one.exponent for one in both)
        for one in both:
            one.widen(exponent)
        indices = np.union1d(both[0].indices, both[1].indices)
        self.edges = np.ldexp(indices, exponent)
        self.width = math.ldexp(1.0, exponent)
        self.shares = np.zeros((2, len(indices)))
        for one, shares in zip(both, self.shares, strict=True):
            shares[np.searchsorted(indices, one.indices)] = one.counts / one.count


def _ks_test(test: KSTest, found: _Shares, rows_before: int, rows: int) -> Measure:
    """D at the edges of the buckets, where both functions are known; within one it may be larger."""
    if test.alternative != "two-sided" or test.bins is not None:
        raise DataError("ks_test compares profiles two-sided and without bins of its own; leave these out")
    above = np.cumsum(found.shares, axis=1)  # at the upper edge of each bucket
    below = above - found.shares
    distance = float(np.abs(above[0] - above[1]).max())
    largest = float(np.maximum(above[0] - below[1], above[1] - below[0]).max())
    exact = test.mode == "exact" or (test.mode == "auto" and max(rows_before, rows) <= MOST_EXACT)
    p_value = (exact_p if exact else asymptotic_p)(distance, rows_before, rows)
    return Measure(distance, p_value, {"error": max(0.0, min(1.0, largest) - distance)})


def _wasserstein(comparison: Wasserstein, found: _Shares, sd: float) -> Measure:
    """The distance of the middles of the buckets: each value is within half a width of its own."""
    apart = np.abs(np.cumsum(found.shares[0] - found.shares[1]))[:-1]
    with np.errstate(over="ignore"):
        distance, error = float((apart * np.diff(found.edges)).sum()), found.width
    if comparison.divided_by == "none":
        return Measure(distance, data={"error": error})
    sd = max(sd, comparison.least_sd)
    if sd <= 0:
        return Measure(None, data={"lacks": "all values of the reference are equal; it has no sd"})
    return Measure(distance / sd, data={"error": error / sd})


def _with_effect(found: DriftResult, before: Profile | FeatureReference, after: Profile) -> DriftResult:
    if before.mean is None or after.mean is None or not before.sd:
        return found
    effect = (after.mean - before.mean) / before.sd
    return replace(found, effect=effect, data={**found.data, "effect_unit": "reference sd"})
