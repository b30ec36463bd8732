"""Columns into numbers and cells: all features at once, as each would be by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor.drift.batch import Cells, Encoder
from edge_mlops_monitor.drift.binning import numbers, numeric_bins
from edge_mlops_monitor.drift.reference import build_feature

RNG = np.random.default_rng(0)
HISTORIES: dict[str, Any] = {
    "bell": RNG.normal(size=1000),
    "few": RNG.integers(0, 4, 500),
    "mostly_zero": np.where(RNG.random(1000) < 0.6, 0.0, RNG.normal(size=1000)),
    "constant": np.ones(100),
    "colour": ["red", "green", "green"] * 50,
}
ODD = [0.0, -0.0, 1, 2.5, True, None, "text", "1", math.nan, math.inf, -math.inf, 1e308, -1e308, 10**400]


def column_of(name: str) -> list[Any]:
    return ["red", "blue", None, "green", 1.0, *ODD] if name == "colour" else [*HISTORIES[name][:40], *ODD]


@pytest.mark.parametrize("copies", [1, 30])
def test_cells_are_those_that_each_feature_has_by_itself(copies: int) -> None:
    references = {name: build_feature(name, list(column)) for name, column in HISTORIES.items()}
    names = [f"{name}{i}" for i in range(copies) for name in HISTORIES]
    of = {name: name.rstrip("0123456789") for name in names}
    columns = {name: column_of(of[name])[-19:] for name in names}
    encoder = Encoder(names, [references[of[name]] for name in names])
    values, codes = encoder.encode(columns, 19)
    for place, name in enumerate(names):
        reference, column = references[of[name]], columns[name]
        alone = numbers(column) if reference.numeric else column
        expected: Any = reference.bins.codes(alone)
        assert codes[:, place].tolist() == expected.tolist(), name
        if reference.numeric:
            np.testing.assert_array_equal(values[:, place], alone)
        else:
            assert np.isnan(values[:, place]).all()


@pytest.mark.parametrize("count", [4, 250, 260, 700])
def test_any_number_of_bins_is_counted(count: int) -> None:
    bins, now = numeric_bins(RNG.normal(size=5000), count), RNG.normal(size=300)
    assert Cells([bins]).of(now[None])[0].tolist() == bins.codes(now).tolist()


def test_columns_are_lists_or_arrays_of_any_numbers_or_not_there() -> None:
    references = {name: build_feature(name, HISTORIES["bell"]) for name in "abcdef"}
    now = np.array([0.5, -0.25, 3.0])
    given = {
        "a": now,
        "b": now.tolist(),
        "c": now.astype(np.float32),
        "d": np.array([0, 1, 2]),
        "e": [1, None, 2],
    }
    values, codes = Encoder(list(references), list(references.values())).encode(given, 3)
    np.testing.assert_array_equal(
        values.T, [now, now, now, [0.0, 1.0, 2.0], [1.0, math.nan, 2.0], [math.nan] * 3]
    )
    assert codes[:, 0].tolist() == codes[:, 1].tolist() == codes[:, 2].tolist()
    assert codes[:, 5].tolist() == [references["f"].bins.size - 1] * 3
