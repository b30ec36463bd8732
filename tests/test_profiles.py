"""Profiles: merging is exact whatever the order, and what a profile says of its rows is true."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mlops_monitor.drift.profiling import profile_of
from edge_mlops_monitor.drift.reference import build_feature
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.profiles import buckets, labels, merge, quantile
from edge_mlops_monitor.profiles.exact import Exact
from edge_mlops_monitor.profiles.summary import Summary
from edge_mlops_monitor.records import Profile

draw = random.Random(7)
NUMBERS = build_feature("a", [draw.gauss(0, 1) for _ in range(500)])
DIGITS = build_feature("a", [float(draw.randrange(4)) for _ in range(500)])
COLOURS = build_feature("a", [draw.choice("rgb") for _ in range(500)])
REFERENCES = (None, NUMBERS, DIGITS, COLOURS)

floats = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-5, 5),
    st.integers(-3, 3).map(float),
    st.sampled_from([5e-324, -5e-324, 1e-310, -1e-300, 1.7e308, -1.7976931348623157e308, -0.0, 1e22]),
)
texts = st.one_of(
    st.sampled_from("rgbxyz"), st.integers(0, 60).map(lambda n: f"label-{n}"), st.text(max_size=60)
)
values = st.one_of(floats, floats, st.none(), st.just(math.nan), st.just(math.inf), texts)
wide = st.builds(
    lambda seed, scale, centre, rows: (np.random.default_rng(seed).normal(centre, scale, rows)).tolist(),
    st.integers(0, 1000),
    st.sampled_from([1e-8, 1.0, 1e6]),
    st.sampled_from([0.0, 1e3, -7e9]),
    st.integers(200, 700),
)
many_labels = st.builds(
    lambda seed, rows: [f"c{n}" for n in np.random.default_rng(seed).zipf(1.4, rows) % 300],
    st.integers(0, 1000),
    st.integers(100, 400),
)
columns = st.one_of(st.lists(values, min_size=1, max_size=40), wide, many_labels)


@st.composite
def profiles(draw: Any) -> Profile:
    column = draw(columns)
    begin = draw(st.floats(0, 2e9))
    source = draw(st.sampled_from([None, "camera-1", "camera-2"]))
    reference = draw(st.sampled_from(REFERENCES))
    ts = np.linspace(begin, begin + 60, len(column)).tolist()
    return profile_of("a", column, reference, ts, source=source, model="m")


def same(one: Profile, other: Profile) -> bool:
    """Equal to the last bit, and in its order."""
    return bool(msgspec.json.encode(one) == msgspec.json.encode(other))


# - merging -


@settings(max_examples=100, deadline=None)
@given(profiles(), profiles())
def test_merging_is_commutative(one: Profile, other: Profile) -> None:
    assert same(merge([one, other]), merge([other, one]))


@settings(max_examples=100, deadline=None)
@given(profiles(), profiles(), profiles())
def test_merging_is_associative(one: Profile, two: Profile, three: Profile) -> None:
    assert same(merge([merge([one, two]), three]), merge([one, merge([two, three])]))


@settings(max_examples=50, deadline=None)
@given(st.lists(profiles(), min_size=2, max_size=7), st.randoms(use_true_random=False))
def test_any_tree_of_merges_gives_the_same(parts: list[Profile], chance: random.Random) -> None:
    whole = merge(parts)
    while len(parts) > 1:
        chance.shuffle(parts)
        count = chance.randrange(2, len(parts) + 1)
        parts = [*parts[count:], merge(parts[:count])]
    assert same(parts[0], whole)


@settings(max_examples=100, deadline=None)
@given(columns, st.sampled_from(REFERENCES), st.randoms(use_true_random=False))
def test_merged_parts_equal_the_profile_of_all_rows(
    column: list[Any], reference: Any, chance: random.Random
) -> None:
    whole = profile_of("a", column, reference)
    sides: dict[bool, list[Any]] = {True: [], False: []}
    for value in column:
        sides[chance.random() < 0.5].append(value)
    parts = [profile_of("a", part, reference) for part in sides.values() if part]
    merged = merge(parts)
    for name in set(Profile.__struct_fields__) - {"windows", "labels"}:
        assert getattr(merged, name) == getattr(whole, name), name
    if not whole.label_table:
        assert {label: rows for label, (rows, _) in merged.labels.items()} == {
            label: rows for label, (rows, _) in whole.labels.items()
        }


def test_a_profile_of_one_merges_to_itself() -> None:
    one = profile_of("a", [1.0, 2.5, None, "x"], NUMBERS, [5.0, 6.0, 7.0, 8.0])
    assert same(merge([one]), one)


def test_bins_of_two_references_are_dropped_not_mixed() -> None:
    one, two = profile_of("a", [0.1] * 9, NUMBERS), profile_of("a", [1.0] * 9, DIGITS)
    merged = merge([one, two])
    assert (merged.reference, merged.bins, merged.bin_counts, merged.reference_counts) == ("", [], [], [])
    assert merged.rows == 18
    assert merge([one, one]).bin_counts == [2 * count for count in one.bin_counts]


def test_names_are_kept_where_all_agree() -> None:
    parts = [profile_of("a", [1.0], model="m", source=source) for source in ("left", "right")]
    assert (merge(parts).model, merge(parts).source) == ("m", None)


def test_what_cannot_be_merged_is_said() -> None:
    one = profile_of("a", [1.0])
    with pytest.raises(DataError, match="no profile to merge; give at least one"):
        merge([])
    with pytest.raises(DataError, match="profiles of 'a' and 'b' cannot be merged; merge those of one"):
        merge([one, profile_of("b", [1.0])])
    with pytest.raises(DataError, match="has version 2 and this release reads 1; upgrade"):
        merge([one, msgspec.structs.replace(one, version=2)])


# - what a profile says -


@settings(max_examples=100, deadline=None)
@given(st.lists(values, min_size=1, max_size=60))
def test_counts_and_moments_are_those_of_the_rows(column: list[Any]) -> None:
    one = profile_of("a", column)
    numbers = [value for value in column if isinstance(value, float) and math.isfinite(value)]
    text = [value for value in column if isinstance(value, str)]
    assert (one.rows, one.numbers, one.texts) == (len(column), len(numbers), len(text))
    assert one.missing == len(column) - len(numbers) - len(text)
    if numbers:
        exact = [Fraction(value) for value in numbers]
        mean = sum(exact) / len(exact)
        assert one.mean == float(mean)
        assert (one.minimum, one.maximum) == (min(numbers), max(numbers))
        variance = sum((value - mean) ** 2 for value in exact) / len(exact)
        assert one.sd is not None
        assert abs(Fraction(one.sd) ** 2 - variance) <= variance * Fraction(1, 10**15) + Fraction(1, 10**640)
    else:
        assert one.mean is one.sd is one.minimum is one.maximum is None


@pytest.mark.parametrize("rows", [1, 2047, 2048, 2049, 5000])
def test_sums_are_exact_for_any_number_of_rows(rows: int) -> None:
    rng = np.random.default_rng(rows)
    column = (rng.choice([-1, 1], rows) * np.exp2(rng.uniform(-30, 0, rows))).tolist()
    column[0] = 1.0
    one = profile_of("a", column)
    summary = Summary.of(one)
    squares = [Fraction(value) ** 2 for value in column]
    assert fraction(summary.total) == sum(map(Fraction, column))
    assert fraction(summary.squares) == sum(squares)


def fraction(exact: Exact) -> Fraction:
    return exact.mantissa * Fraction(2) ** exact.exponent


def test_moments_survive_an_offset_and_an_outlier() -> None:
    rng = np.random.default_rng(3)
    column = 1e9 + rng.normal(0, 1e-3, 4000)
    one = profile_of("a", column)
    assert one.sd == pytest.approx(float((column - 1e9).std()), rel=1e-12)
    robbed = merge([one, profile_of("a", [3.4e38])])
    assert quantile(robbed, 0.5) == pytest.approx(1e9, abs=1e-3), "an outlier takes one bucket, not all"


def of_rank(ordered: Sequence[float], share: float) -> float:
    return ordered[max(1, math.ceil(share * len(ordered))) - 1]


@settings(max_examples=100, deadline=None)
@given(st.one_of(wide, st.lists(floats, min_size=1, max_size=300)), st.floats(0, 1))
def test_a_quantile_is_within_half_a_bucket(column: list[float], share: float) -> None:
    one = profile_of("a", column)
    found = quantile(one, share)
    assert found is not None
    assert one.bucket_width is not None
    assert len(one.buckets) <= buckets.MOST
    expected = of_rank(sorted(column), share)
    assert abs(Fraction(found) - Fraction(expected)) <= Fraction(one.bucket_width) / 2


def test_quantiles_agree_with_numpys_on_shapes_of_all_sorts() -> None:
    rng = np.random.default_rng(11)
    shapes = {
        "normal": rng.normal(size=36_000),
        "sensor": 1000 + 0.1 * rng.normal(size=36_000),
        "skewed": rng.lognormal(size=36_000),
        "heavy": rng.standard_t(3, size=36_000),
        "shares": rng.beta(0.3, 0.3, size=36_000),
        "ties": np.round(rng.normal(size=36_000), 1),
    }
    for name, column in shapes.items():
        one = profile_of("a", column)
        assert one.bucket_width is not None
        for share in (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999):
            expected = float(np.quantile(column, share, method="inverted_cdf"))
            found = quantile(one, share)
            assert found is not None
            assert abs(found - expected) <= one.bucket_width / 2, (name, share)


@settings(max_examples=100, deadline=None)
@given(wide, st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40))
def test_buckets_are_as_narrow_as_promised(bulk: list[float], outliers: list[float]) -> None:
    one = profile_of("a", [*bulk, *outliers])
    assert one.bucket_width is not None
    length = max(bulk) - min(bulk)
    finest = max(map(abs, [*bulk, *outliers])) * 2.0**-999
    assert one.bucket_width <= max(2 * length / (buckets.MOST - 2 - len(outliers)), finest)


def test_a_number_just_below_zero_stays_below() -> None:
    large = [1e10 * i for i in range(1, 3000)]
    whole = profile_of("a", [*large, -5e-324])
    merged = merge([profile_of("a", [-5e-324]), profile_of("a", large)])
    assert (merged.buckets, merged.bucket_counts) == (whole.buckets, whole.bucket_counts)
    assert whole.buckets[0] < 0


def test_few_different_numbers_are_kept_as_they_are() -> None:
    column = [0.1 * (i % 150) for i in range(5000)]
    one = profile_of("a", column)
    assert dict(zip(one.buckets, one.bucket_counts, strict=True)) == dict(Counter(column))


# - labels -


def test_few_labels_are_counted_exactly() -> None:
    column = [f"c{i % 32}" for i in range(1000)]
    one = profile_of("a", column)
    assert one.label_table == []
    assert {label: rows for label, (rows, _) in one.labels.items()} == dict(Counter(column))


@settings(max_examples=60, deadline=None)
@given(st.lists(many_labels, min_size=1, max_size=5))
def test_rows_of_a_label_are_never_too_few(windows: list[list[str]]) -> None:
    merged = merge([profile_of("a", window) for window in windows])
    true = Counter(label for window in windows for label in window)
    assert len(merged.labels) <= labels.MOST
    for label, (rows, most) in merged.labels.items():
        assert rows >= true[label]
        assert rows >= most
        if not merged.label_table:
            assert rows == true[label]


def test_frequent_labels_are_found_among_ten_thousand() -> None:
    rng = np.random.default_rng(5)
    windows = [[f"c{n}" for n in rng.zipf(1.3, 5000) % 10_000] for _ in range(12)]
    windows[7] += ["burst"] * 500
    merged = merge([profile_of("a", window) for window in windows])
    true = Counter(label for window in windows for label in window)
    top = [label for label, _ in true.most_common(10)]
    assert set(top) <= set(merged.labels)
    assert "burst" in merged.labels
    rows = sum(true.values())
    for label in top:
        assert true[label] <= merged.labels[label][0] <= true[label] + rows / 32


def test_long_labels_are_shortened_and_stay_apart() -> None:
    long = ["x" * 200 + "a", "x" * 200 + "b", "ß" * 100, "line\nbreak", "\udc80lone"]
    one = profile_of("a", long)
    assert len(one.labels) == 5
    assert all(len(label.encode()) <= labels.MOST_BYTES for label in one.labels)


# - size -


def test_a_profile_takes_at_most_4_kib() -> None:
    rng = np.random.default_rng(2)
    isolated = [math.copysign(2.0**e, s) for e in range(-900, 900, 12) for s in (1, -1)] * 3
    crowded = [f"{n:05d}" + "é" * 40 for n in rng.zipf(1.2, 40_000) % 20_000]
    columns: list[tuple[Any, Any]] = [
        (rng.normal(size=300_000), NUMBERS),
        (isolated, NUMBERS),
        (crowded, build_feature("a", crowded)),
    ]
    for column, reference in columns:
        one = merge([profile_of("a", column, reference)] * 1000)
        packed = msgspec.msgpack.encode([getattr(one, name) for name in one.__struct_fields__])
        assert len(packed) <= 4096


def test_the_order_of_rows_and_of_calls_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    column = rng.standard_t(2, 6000)
    whole = profile_of("a", column, NUMBERS)
    assert same(profile_of("a", column[::-1], NUMBERS), whole)
    parts = [profile_of("a", part, NUMBERS) for part in np.array_split(column, 100)]
    assert same(msgspec.structs.replace(merge(parts), windows=1), whole)
