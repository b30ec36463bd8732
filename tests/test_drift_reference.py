"""References: bins, autocorrelation, files that can be trusted and files that cannot."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mlops_monitor.drift import reference_file
from edge_mlops_monitor.drift.binning import CategoryBins, NumericBins, numeric_bins
from edge_mlops_monitor.drift.lookup import References
from edge_mlops_monitor.drift.reference import build, build_feature
from edge_mlops_monitor.drift.reference_file import dump, load, loads
from edge_mlops_monitor.errors import DataError


def test_quantile_bins_are_tenths_with_narrow_tails_and_open_ends() -> None:
    values = np.random.default_rng(1).normal(size=1000)
    one = build_feature("inputs.a", values)
    assert one.counts[:-1] == [25.0, 50.0, 75.0, *[100.0] * 7, 75.0, 50.0, 25.0]
    assert one.counts[-1] == 0
    assert one.bins.codes(np.array([-1e300, 1e300, math.nan])).tolist() == [0, 12, 13]


def test_a_short_reference_has_tenths_alone() -> None:
    values = np.random.default_rng(1).normal(size=200)
    assert build_feature("inputs.a", values).counts == [*[20.0] * 10, 0.0]


def test_an_outlier_does_not_stretch_the_bins() -> None:
    values = np.random.default_rng(1).normal(size=1000)
    assert numeric_bins(np.append(values, 1e3)).edges == pytest.approx(numeric_bins(values).edges, abs=0.07)


def test_a_frequent_value_and_few_values_have_bins_of_their_own() -> None:
    rng = np.random.default_rng(1)
    zeros = numeric_bins(np.maximum(rng.normal(size=1000), 0.0))
    codes = zeros.codes(np.array([0.0, 5e-324, -1.0]))
    assert codes[0] != codes[1]
    switch = numeric_bins(np.array([0.0, 1.0, 1.0] * 50))
    assert switch.names == ["0", "1", "other", "missing"]
    assert switch.codes(np.array([0.0, 1.0, 0.5, 2.0, -1.0, math.nan])).tolist() == [0, 1, 2, 2, 2, 3]


def test_categories_have_their_own_bins_and_rare_ones_estimate_the_unseen() -> None:
    one = build_feature("inputs.c", ["a"] * 60 + ["b"] * 39 + ["once"] + [None] * 5)
    assert isinstance(one.bins, CategoryBins)
    assert one.bins.names == ["a", "b", "unseen", "missing"]
    assert one.counts == [60, 39, 1, 5]


def test_of_few_numbers_those_seen_once_tell_how_often_new_ones_come() -> None:
    values = [20.0] * 2994 + [51.3, 49.8, 50.7, 48.9, 20.5, 20.5]
    one = build_feature("inputs.a", values)
    assert one.bins.names == ["20", "20.5", "other", "missing"]
    assert one.counts == [2994, 2, 4, 0]


def test_many_categories_are_counted_where_they_were_not_chosen() -> None:
    rng = random.Random(1)
    one = build_feature("inputs.c", [f"c{rng.randrange(10_000)}" for _ in range(2000)])
    assert one.bins.size <= 22
    assert one.n == 1000
    assert one.counts[-2] > 950  # hardly any label of the first half comes again


def test_autocorrelation_is_measured_and_a_short_reference_says_so() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(size=20_000)
    taus = []
    for rho in (0.0, 0.5, 0.9):
        series = noise * math.sqrt(1 - rho * rho)
        for i in range(1, len(series)):
            series[i] += rho * series[i - 1]
        taus.append(build_feature("inputs.a", series).tau)
    for tau, true in zip(taus, (1, 3, 19), strict=True):
        assert true * 0.9 <= tau <= true * 1.5
    assert "worth about" in build_feature("inputs.a", series[:400]).lacks


def _wandering(rng: np.random.Generator, rows: int, rho: float) -> Any:
    noise = rng.normal(size=rows) * math.sqrt(1 - rho * rho)
    for i in range(1, rows):
        noise[i] += rho * noise[i - 1]
    return noise


def test_a_cycle_does_not_hide_what_wanders_beneath_it() -> None:
    rng = np.random.default_rng(3)
    cycle = np.sin(np.arange(3000) * 2 * np.pi / 20)
    for _ in range(3):
        slow = _wandering(rng, 3000, 0.97)  # by itself 65 rows are worth one
        assert build_feature("inputs.a", cycle + 0.7 * slow).tau > 15
        assert build_feature("inputs.a", cycle * (1 + 0.5 * slow)).tau > 15
    assert build_feature("inputs.a", cycle + 0.2 * rng.normal(size=3000)).tau < 10


def test_many_small_autocorrelations_count_as_much_as_a_few_large_ones() -> None:
    rng = np.random.default_rng(4)
    faint = [rng.normal(size=10_000) + 0.2 * _wandering(rng, 10_000, 0.995) for _ in range(5)]
    assert sorted(build_feature("inputs.a", values).tau for values in faint)[1] > 5  # 16 in truth


def test_values_that_are_rarely_missing_but_then_in_a_row_are_not_independent() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=5000)
    alone, in_a_row = values.copy(), values.copy()
    alone[rng.choice(5000, 40, replace=False)] = math.nan
    for begin in rng.choice(4990, 8, replace=False):
        in_a_row[begin : begin + 5] = math.nan
    assert build_feature("inputs.a", alone).tau < 1.5
    assert 3 < build_feature("inputs.a", in_a_row).tau < 9
    states = ["run"] * 5000
    for begin in rng.choice(4980, 3, replace=False):
        states[begin : begin + 12] = ["fault"] * 12
    assert build_feature("inputs.c", states).tau > 6


def test_a_counter_says_that_more_rows_would_not_help() -> None:
    counter = build_feature("inputs.id", np.arange(2000.0))
    assert "only ever go one way" in counter.lacks
    assert loads(dump([counter])) == [counter]
    assert "give about" in build_feature("inputs.a", np.abs(np.arange(2000.0) - 1500)).lacks
    assert build_feature("inputs.a", [3.0] * 100).lacks == ""


def test_a_reference_of_one_row_or_of_nothing_says_what_it_lacks() -> None:
    assert "at least 50 are needed" in build_feature("inputs.a", [1.0]).lacks
    assert "every value" in build_feature("inputs.a", [None, math.nan]).lacks
    assert "the reference is empty" in build_feature("inputs.a", []).lacks
    assert "every value" in build_feature("inputs.a", [math.inf] * 100).lacks
    assert build_feature("inputs.a", [3.0] * 100).lacks == ""  # a constant is a reference
    assert build_feature("inputs.a", ["x"]).lacks != ""


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.floats(), st.integers(), st.text(max_size=3), st.booleans()), max_size=60
    )
)
def test_any_column_becomes_a_reference_that_survives_the_file(column: list[Any]) -> None:
    one = build_feature("inputs.a", column)
    assert sum(one.counts) == one.n
    assert loads(dump([one])) == [one]


def test_an_old_file_is_read_and_raw_values_are_kept_on_request(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    path.write_text(json.dumps({"f": [0.5 * i for i in range(100)], "c": ["a", "b"] * 50}))
    plain = {one.name: one for one in load(path)}
    assert plain["f"].values is None
    assert plain["f"].quantiles[0] == 0.0
    assert not plain["c"].numeric
    assert {one.name: one for one in load(path, keep_values=True)}["f"].values == [
        0.5 * i for i in range(100)
    ]


def test_the_most_specific_reference_is_found_and_a_bare_name_means_the_output_first() -> None:
    values = [float(i) for i in range(60)]
    found = References(build({"f": values}))
    names = ["inputs.f", "outputs.f"]
    assert found.find(("m", "1", None), "outputs.f", names) is not None
    assert found.find(("m", "1", None), "inputs.f", names) is None
    assert found.find(("m", "1", None), "inputs.f", ["inputs.f"]) is not None
    found.add(build_feature("inputs.f", values, model="m"))
    found.add(build_feature("inputs.f", values, model="m", source="s"))
    specific = found.find(("m", "1", "s"), "inputs.f", names)
    assert specific is not None
    assert specific.source == "s"
    assert found.find(("m", "1", "t"), "inputs.f", names).source is None  # type: ignore[union-attr]
    assert found.find(("other", "1", "t"), "inputs.f", names) is None


def good() -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(dump([build_feature("inputs.a", [float(i % 40) for i in range(400)])]))
    return raw


def broken(**changes: Any) -> str:
    raw = good()
    raw["features"][0] |= changes
    return json.dumps(raw)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 5000, "not JSON"),
        ("[1, 2]", "neither a reference"),
        ("{}", "holds no feature"),
        ('{"a": 5}', "is not a list of numbers"),
        ('{"a": [[1], [2]]}', "is not a list of numbers"),
        ('{"format": "something else"}', "the format is 'something else'"),
        (json.dumps(good() | {"version": 99}), "version 99 is not 1"),
        (json.dumps(good() | {"features": []}), "holds no feature"),
        (json.dumps(good() | {"features": [{"name": "a"}]}), "damaged"),
        (broken(counts=[1.0]), "counts for"),
        (broken(n=7), "do not add up"),
        (broken(tau=0.0), "do not add up"),
        (broken(effective_rows=1e9), "do not add up"),
        (broken(counts=[-1.0] * 14), "are no numbers"),
        (broken(mean=None), "lacks its mean"),
        (
            broken(bins={"type": "numeric", "edges": [3.0, 1.0], "cells": [0] * 3, "names": ["x"] * 14}),
            "out of order",
        ),
        (
            broken(bins={"type": "numeric", "edges": [1.0], "cells": [0, 99], "names": ["x"] * 14}),
            "out of order",
        ),
        (broken(bins={"type": "wheel"}), "damaged"),
    ],
)
def test_foreign_damaged_and_lying_files_are_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "reference.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        load(path)
    message = str(caught.value)
    assert says in message
    assert str(path) in message
    assert ";" in message  # what is wrong; the way out
    assert "\n" not in message


def test_a_missing_or_huge_file_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="no such reference file; write one with"):
        load(tmp_path / "nowhere.json")
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path)
    path = tmp_path / "reference.json"
    path.write_text(dump([build_feature("inputs.a", [1.0, 2.0])]))
    monkeypatch.setattr(reference_file, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="build it without raw values"):
        load(path)


def test_bins_of_numbers_refuse_text_as_missing() -> None:
    bins = NumericBins(edges=[1.0], cells=[0, 1], names=["to 1", "over 1", "missing"])
    from edge_mlops_monitor.drift.binning import numbers

    assert bins.codes(numbers(["0.5", b"1", 2.0, None, 10**400, object()])).tolist() == [2, 2, 1, 2, 2, 2]
