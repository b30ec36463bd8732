"""Drift between profiles: on merged profiles as on all their rows, within the error that is stated."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mlops_monitor import drift
from edge_mlops_monitor.drift.binning import NumericBins
from edge_mlops_monitor.drift.profiling import profile_of
from edge_mlops_monitor.drift.reference import build_feature
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.profiles import merge
from edge_mlops_monitor.records import Profile

COUNTED = [
    "psi",
    "jensen_shannon",
    "hellinger",
    "total_variation",
    "l_infinity",
    "chi_square",
]
REFERENCE = np.random.default_rng(1).normal(20, 2, 1000)

samples = st.builds(
    lambda seed, shift, scale, rows: (
        20 + shift + scale * np.random.default_rng(seed).standard_t(4, rows)
    ).tolist(),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.5, 40.0]),
    st.sampled_from([0.01, 2.0, 5.0]),
    st.integers(5, 900),
)


def split(column: list[Any], parts: int, chance: random.Random) -> list[list[Any]]:
    """The values in so many random parts, none of which is empty."""
    ends = sorted(chance.sample(range(1, len(column)), parts - 1))
    shuffled = chance.sample(column, len(column))
    return [shuffled[a:b] for a, b in zip([0, *ends], [*ends, len(column)], strict=True)]


def merged(column: list[Any], reference: Any, seed: int) -> Profile:
    chance = random.Random(seed)
    parts = split(column, chance.randrange(2, 5), chance)
    return merge([profile_of("a", part, reference) for part in parts])


@pytest.mark.parametrize("method", COUNTED)
@settings(max_examples=25, deadline=None)
@given(samples, st.integers(0, 99))
def test_methods_of_counts_give_exactly_what_all_rows_give(
    method: str, column: list[float], seed: int
) -> None:
    reference = build_feature("a", REFERENCE)
    bins = reference.bins
    assert isinstance(bins, NumericBins)
    old, new = (np.bincount(bins.codes(np.array(rows)), minlength=bins.size) for rows in (REFERENCE, column))
    used = (old + new) > 0
    expected = drift.METHODS[method]().measure(old[used].astype(float), new[used].astype(float))
    after = merged([*column, None, math.nan], reference, seed)
    told = drift.compare(method, reference, after, threshold=0.2)
    assert (told.statistic, told.p_value) == (expected.statistic, expected.p_value)
    assert (told.sample_size, told.is_drift is None) == (len(column), False)
    assert told.effect == pytest.approx((np.mean(column) - REFERENCE.mean()) / REFERENCE.std(), rel=1e-9)
    before = profile_of("a", REFERENCE, reference)
    assert drift.compare(method, before, after, threshold=0.2) == told


@pytest.mark.parametrize("method", COUNTED)
def test_categories_are_compared_by_their_labels(method: str) -> None:
    before = ["r"] * 50 + ["g"] * 30 + ["b"] * 20
    after = ["r"] * 20 + ["g"] * 30 + ["b"] * 60
    reference = build_feature("a", before)
    raw = drift.compare(method, before, after)
    told = drift.compare(method, reference, merged(after, reference, 1))
    assert (told.statistic, told.p_value) == (raw.statistic, raw.p_value)


@settings(max_examples=80, deadline=None)
@given(samples, samples, st.integers(0, 99))
def test_ks_and_wasserstein_are_within_the_error_they_state(
    before: list[float], after: list[float], seed: int
) -> None:
    one, other = merged(before, None, seed), merged(after, None, seed + 1)
    raw, told = drift.compare("ks_test", before, after), drift.compare("ks_test", one, other)
    assert raw.statistic is not None
    assert told.statistic is not None
    assert told.statistic - 1e-12 <= raw.statistic <= told.statistic + told.data["error"] + 1e-12
    assert raw.p_value is not None
    assert told.p_value is not None
    assert told.p_value >= raw.p_value * (1 - 1e-9), "never more certain than the rows"
    raw, told = drift.compare("wasserstein", before, after), drift.compare("wasserstein", one, other)
    assert raw.statistic is not None
    assert told.statistic is not None
    assert abs(raw.statistic - told.statistic) <= told.data["error"] + 1e-12 * max(map(abs, before + after))


def test_the_error_is_small_on_an_hour_of_sensor_data() -> None:
    rng = np.random.default_rng(2)
    hour, other = rng.normal(20, 2, 36_000), rng.normal(20.5, 2, 36_000)
    one, two = profile_of("a", hour), profile_of("a", other)
    assert drift.compare("ks_test", one, two).data["error"] < 0.04
    assert drift.compare("wasserstein", one, two).data["error"] <= 0.125
    divided = drift.compare("wasserstein", one, two, divided_by="reference_sd")
    raw = drift.compare("wasserstein", hour, other, divided_by="reference_sd")
    assert divided.statistic == pytest.approx(raw.statistic, abs=divided.data["error"])


def test_what_cannot_be_compared_is_said() -> None:
    reference = build_feature("a", REFERENCE)
    binned, plain = profile_of("a", [1.0] * 9, reference), profile_of("a", [1.0] * 9)
    for method, before, after, parameters, words in (
        ("psi", plain, binned, {}, "bins of one reference .* compare them by ks_test or wasserstein"),
        ("psi", build_feature("a", [1.0, 2.0] * 50), binned, {}, "bins of one reference"),
        ("energy", plain, plain, {}, "energy needs the rows themselves; profiles are compared by methods"),
        ("mmd", plain, plain, {}, "mmd needs the rows themselves"),
        ("ks_test", reference, plain, {}, "a reference keeps its bins only; use psi or chi_square"),
        ("ks_test", plain, plain, {"alternative": "less"}, "two-sided and without bins"),
        ("ks_test", plain, [1.0, 2.0], {}, "with a profile or with a reference, not with raw values"),
        ("ks_test", [1.0, 2.0], plain, {}, "not with raw values"),
    ):
        with pytest.raises(DataError, match=words):
            drift.compare(method, before, after, **parameters)


def test_profiles_without_values_have_no_answer_and_say_so() -> None:
    reference = build_feature("a", REFERENCE)
    empty, full = profile_of("a", [None] * 9, reference), profile_of("a", [20.0] * 9, reference)
    for method in ("psi", "ks_test", "wasserstein", "chi_square"):
        for before, after in ((empty, full), (full, empty)):
            told = drift.compare(method, before, after, threshold=0.1)
            assert (told.statistic, told.is_drift) == (None, None)
            assert "no value in one of the profiles" in told.data["lacks"]


def test_a_profile_read_from_a_bucket_compares_like_the_one_written() -> None:
    reference = build_feature("a", REFERENCE)
    one = profile_of("a", REFERENCE + 1, reference)
    read = msgspec.json.decode(msgspec.json.encode(one), type=Profile)
    for method in ("psi", "chi_square"):
        assert drift.compare(method, reference, read) == drift.compare(method, reference, one)
    assert drift.compare("ks_test", one, read).statistic == 0
