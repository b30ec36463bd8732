"""Every comparison on bad input, and the invariances that hold for each."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mlops_monitor import drift
from edge_mlops_monitor.drift.comparison import BinnedComparison, NumberComparison
from edge_mlops_monitor.errors import DataError

COMPARISONS = [
    name for name in drift.METHODS if issubclass(drift.METHODS[name], (NumberComparison, BinnedComparison))
]
BINNED = ["psi", "jensen_shannon", "hellinger", "total_variation", "l_infinity", "chi_square"]
ONLY_NUMBERS = [name for name in COMPARISONS if name not in BINNED]
every = pytest.mark.parametrize("name", COMPARISONS)


def test_all_twelve_are_looked_at() -> None:
    assert len(COMPARISONS) == 12
    assert len(ONLY_NUMBERS) == 6


@every
def test_an_empty_or_missing_sample_is_no_drift_but_no_answer(name: str) -> None:
    for before, after, lacks in (
        ([], [1.0], "reference is empty"),
        ([1.0], [], "current sample is empty"),
        ([None, math.nan], [1.0], "reference has no value: all of its 2 are missing"),
        ([1.0, 2.0], [math.nan, None, math.inf], "current sample has no value: all of its 3 are missing"),
        (np.array([]), np.array([]), "reference is empty"),
    ):
        found = drift.compare(name, before, after, threshold=0.05)
        assert found.statistic is None
        assert found.is_drift is None
        assert found.data["lacks"] == f"the {lacks}"


@every
def test_constants_that_stay_are_no_drift(name: str) -> None:
    for value in (0.0, 1.0, -7.5, 1e300, 2.0**53 + 2):
        found = drift.compare(name, [value] * 50, [value] * 20, threshold=0.05)
        assert found.is_drift in (False, None)
        assert found.is_drift is False or found.data["lacks"]


@every
def test_a_constant_that_changes_is_seen(name: str) -> None:
    found = drift.compare(name, [1.0] * 500, [2.0] * 100, threshold=0.04)
    assert found.is_drift is True


@every
def test_missing_values_and_infinities_are_left_out(name: str) -> None:
    before, after = [float(i % 37) for i in range(300)], [float(i % 29) for i in range(200)]
    clean = drift.compare(name, before, after)
    dirty = drift.compare(name, [*before, None, math.inf], [math.nan, *after, -math.inf, np.nan])
    assert clean == dirty
    assert dirty.sample_size == 200


class Unsure:
    """As pandas' NA: whether it equals anything is not known."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None  # type: ignore[assignment]


@every
def test_what_is_not_sure_to_equal_itself_is_missing(name: str) -> None:
    values = np.random.default_rng(0).normal(size=100).tolist()
    for missing in (Unsure(), Decimal("sNaN"), np.datetime64("NaT", "s")):
        found = drift.compare(name, [*values, missing] * 3, [missing, *values], threshold=0.05)
        assert found.statistic == drift.compare(name, values * 3, values).statistic
        if name in BINNED:
            found = drift.compare(name, ["a", missing, "b"] * 30, ["b", "a", missing] * 10, threshold=0.05)
            assert found.is_drift is False


@every
def test_numbers_longer_than_a_float_or_complex_are_missing_without_a_warning(name: str) -> None:
    wide = np.array([1.0, 2.0, 3.0, 4.0], dtype=np.longdouble) * np.array([1, 1, 1, np.inf])
    assert drift.compare(name, wide, [1.0, 2.0, 3.0]).statistic is not None
    found = drift.compare(name, np.array([1j, 2.0]), [1.0, 2.0])
    assert found.statistic is None


@every
def test_huge_numbers_give_a_result_without_a_warning(name: str) -> None:
    rng = np.random.default_rng(1)
    for scale in (1e-300, 2.0**60, 1e200, 1.7e308):
        before, after = rng.uniform(-1, 1, 300) * scale, rng.uniform(-1, 1, 200) * scale
        found = drift.compare(name, before, after)
        assert found.statistic is not None or found.data["lacks"]
        assert found.effect is None or math.isfinite(found.effect)
    found = drift.compare(name, [2**53 + i for i in range(99)], [10**400, 2**70, 3])
    assert found.sample_size == 2


@every
def test_one_row_is_compared_but_decides_nothing_and_says_so(name: str) -> None:
    before = [float(i) for i in range(1000)]
    for reference, current, lacks in ((before, [5e6], "current sample"), ([5e6], before, "reference")):
        found = drift.compare(name, reference, current, threshold=0.05)
        assert found.statistic is not None
        assert found.is_drift is None
        assert found.data["lacks"].startswith(f"the {lacks} has one row")
    assert drift.compare(name, [1.0], [1.0], threshold=0.05).is_drift is None
    assert drift.compare(name, before, [5e6, 5e6, 5e6] * 20, threshold=0.05).is_drift is True


@every
def test_a_sample_may_be_read_once_only_or_be_masked(name: str) -> None:
    before, after = [float(i % 37) for i in range(300)], [float(i % 29) for i in range(200)]
    wanted = drift.compare(name, before, after)
    assert drift.compare(name, (x for x in before), (x for x in after)) == wanted
    masked = np.ma.masked_greater(np.array([*before, 1e9, 2e9]), 1e8)
    assert drift.compare(name, masked, after) == wanted


@every
def test_integers_that_a_float_cannot_hold_are_rounded_and_it_is_said(name: str) -> None:
    before, after = [2**60 + 1000 * i for i in range(99)], np.arange(50) + 2**60
    for reference, current in ((before, [float(value) for value in before]), ([1, 2, 3] * 9, after)):
        assert "2^53" in drift.compare(name, reference, current).data["rounded"]
    assert "rounded" not in drift.compare(name, [2**53, 1, 2], [1e300, 2.0, 3.0]).data


@pytest.mark.parametrize("name", BINNED)
def test_large_integers_as_categories_are_not_rounded(name: str) -> None:
    ids = [2**60 + 1, 2**60 + 2] * 50
    found = drift.compare(name, ids, [2**60 + 1] * 60, threshold=0.1, categorical=True)
    assert found.is_drift is True
    assert found.data["category"] in (str(2**60 + 1), str(2**60 + 2))


@every
def test_what_is_no_sample_is_refused_in_one_sentence(name: str) -> None:
    good = [1.0, 2.0, 3.0]
    for bad in (np.ones((2, 2)), [[1.0], [2.0]], "abc", 7, None, {"a": 1.0}, {1.0, 2.0}):
        with pytest.raises(DataError, match=name):
            drift.compare(name, good, bad)
    with pytest.raises(DataError, match=name):
        drift.compare(name, good, [1.0, "x", 2.0])
    with pytest.raises(DataError, match="threshold"):
        drift.compare(name, good, good, threshold=math.nan)


@pytest.mark.parametrize("name", ONLY_NUMBERS)
def test_text_is_refused_where_only_numbers_mean_something(name: str) -> None:
    with pytest.raises(DataError, match="convert"):
        drift.compare(name, ["a", "b"], ["a", "c"])


@pytest.mark.parametrize("name", BINNED)
def test_categories_are_taken_as_text_or_on_demand(name: str) -> None:
    text = drift.compare(name, ["1", "2", "2", None] * 40, ["1", "3"] * 40, threshold=0.05)
    demand = drift.compare(name, [1, 2, 2, None] * 40, [1.0, 3.0] * 40, threshold=0.05, categorical=True)
    assert text == demand
    assert text.is_drift is True
    assert text.data["category"] in ("2", "3")
    with pytest.raises(DataError, match="categorical=True"):
        drift.compare(name, ["a", "b"], [1.0, 2.0])


@pytest.mark.parametrize("name", BINNED)
def test_ten_thousand_categories_are_compared_without_an_alarm_of_a_test(name: str) -> None:
    rng = np.random.default_rng(2)
    before, after = ([f"c{i}" for i in rng.integers(0, 10_000, rows)] for rows in (20_000, 1000))
    found = drift.compare(name, before, after, threshold=0.001)
    assert found.statistic is not None
    if found.p_value is not None:
        assert found.is_drift is False


@pytest.mark.parametrize("name", BINNED)
def test_odd_parameters_are_refused(name: str) -> None:
    for how in (
        {"bins": 1},
        {"bins": "scott"},
        {"bins": "doane"},
        {"binning": "x"},
        {"edges_from": "y"},
        {"bins": 2.5},
    ):
        with pytest.raises(DataError, match=name):
            drift.compare(name, [1, 2], [1, 2], **how)  # type: ignore[arg-type]


numbers = st.lists(st.integers(-20, 20).map(float), min_size=2, max_size=40)
labels = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40)


@every
@given(before=numbers, after=numbers)
@settings(max_examples=60, deadline=None)
def test_both_orders_of_the_samples_give_the_same(name: str, before: Any, after: Any) -> None:
    how = {"edges_from": "both"} if name in BINNED else {}
    one, other = drift.compare(name, before, after, **how), drift.compare(name, after, before, **how)
    for key in ("statistic", "p_value"):
        left, right = getattr(one, key), getattr(other, key)
        assert (left is None) == (right is None)
        if left is not None:
            assert left == pytest.approx(right, rel=1e-9, abs=1e-9)


@every
@given(before=numbers, after=numbers)
@settings(max_examples=60, deadline=None)
def test_statistics_and_p_values_keep_their_bounds(name: str, before: Any, after: Any) -> None:
    found = drift.compare(name, before, after)
    if found.statistic is None:
        assert found.data["lacks"]
        return
    least = -3.0 if name == "anderson_darling" else 0.0
    most = (
        1.0
        if name in ("jensen_shannon", "hellinger", "total_variation", "l_infinity", "kuiper")
        else math.inf
    )
    assert least <= found.statistic <= most + 1e-12
    assert found.p_value is None or 0 <= found.p_value <= 1
    same = drift.compare(name, before, before)
    assert same.statistic is None or same.statistic <= max(0.05, 1e-7) or name == "cramer_von_mises"
    assert same.p_value is None or same.p_value > 0.3


@every
@given(before=numbers, after=numbers)
@settings(max_examples=40, deadline=None)
def test_units_do_not_matter_to_tests_and_rank_bins(name: str, before: Any, after: Any) -> None:
    factor = {"wasserstein": 4.0, "energy": 2.0}.get(name, 1.0)
    one = drift.compare(name, before, after).statistic
    other = drift.compare(name, [4 * x + 3 for x in before], [4 * x + 3 for x in after]).statistic
    assert (one is None) == (other is None)
    if one is not None:
        assert other == pytest.approx(factor * one, rel=1e-9, abs=1e-9)


@given(before=labels, after=labels, third=labels)
@settings(max_examples=60, deadline=None)
def test_distances_of_categories_are_metrics(before: Any, after: Any, third: Any) -> None:
    for name in ("jensen_shannon", "hellinger", "total_variation", "l_infinity"):
        ab, bc, ac = (
            drift.compare(name, x, y).statistic or 0.0
            for x, y in ((before, after), (after, third), (before, third))
        )
        assert ac <= ab + bc + 1e-9
    hellinger, variation = (
        drift.compare(n, before, after).statistic or 0.0 for n in ("hellinger", "total_variation")
    )
    assert hellinger**2 <= variation + 1e-12 <= math.sqrt(2) * hellinger + 1e-9


@given(before=numbers, after=numbers, cut=st.integers(-20, 20))
@settings(max_examples=60, deadline=None)
def test_kuiper_does_not_see_where_the_circle_is_cut(before: Any, after: Any, cut: int) -> None:
    def turned(values: Any) -> list[float]:
        return [(x - cut) % 41 for x in values]

    one = drift.compare("kuiper", before, after).statistic
    assert one == pytest.approx(drift.compare("kuiper", turned(before), turned(after)).statistic, abs=1e-9)


@given(before=numbers, after=numbers)
@settings(max_examples=60, deadline=None)
def test_the_area_is_the_mean_cost_of_moving_sorted_values(before: Any, after: Any) -> None:
    rows = min(len(before), len(after))
    x, y = sorted(before[:rows]), sorted(after[:rows])
    cost = sum(abs(a - b) for a, b in zip(x, y, strict=True)) / rows
    assert drift.compare("wasserstein", x, y).statistic == pytest.approx(cost, abs=1e-9)
