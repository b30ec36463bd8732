"""Dispersion: healthy rows that scatter more than their reference lets expect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor.drift.dispersion import AXES, LEAST_SEGMENTS, Dispersion
from edge_mlops_monitor.drift.reference import build_feature
from edge_mlops_monitor.drift.steps import SEGMENT_ROWS

SHARE = np.array([0.1, 0.2, 0.4, 0.2, 0.1])


def excess(codes: np.ndarray[Any, Any]) -> float:
    """What the log ratios of a feature of five values would be divided by after these rows."""
    values = np.repeat(np.arange(5.0), (SHARE * 1000).astype(int))
    feature = build_feature("a", np.random.default_rng(0).permutation(values))
    share = np.append(SHARE, [1e-4, 1e-4])  # nothing unseen, nothing missing
    share /= share.sum()
    dispersion = Dispersion([feature], np.array([0]), np.array([float(SEGMENT_ROWS)]))
    sizes = {"4f": (4, 1), "3f": (3, 1), "f": (1,)}
    kept: Any = {name: np.zeros((1, *sizes[axes])) for name, axes in AXES.items()}
    seen = [
        np.bincount(codes[:end], minlength=7) for end in range(SEGMENT_ROWS, len(codes) + 1, SEGMENT_ROWS)
    ]
    return float(
        dispersion.along(kept, np.array(seen, dtype=float), np.tile(share, (len(seen), 1)))["excess"][-1, 0]
    )


def drawn(rows: int, share: Any = SHARE, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).choice(5, size=rows, p=share)


def test_independent_rows_are_divided_by_nothing() -> None:
    assert [excess(drawn(rows, seed=seed)) for seed in range(10) for rows in (2000, 5000, 20_000)] == [
        1.0
    ] * 30


@pytest.mark.parametrize("times", [4, 10])
def test_rows_that_come_several_times_count_for_about_one(times: int) -> None:
    found = [excess(np.repeat(drawn(20_000 // times, seed=seed), times)) for seed in range(5)]
    assert all(0.7 * times < one < 1.8 * times for one in found)


def test_a_change_is_no_dispersion() -> None:
    before, after = drawn(3000), drawn(200, SHARE[[2, 1, 0, 3, 4]])
    assert excess(np.concatenate((before, after))) == 1.0


def test_a_slow_change_is_no_dispersion() -> None:
    later = drawn(4000, [0.15, 0.3, 0.3, 0.15, 0.1], 2)
    moved = np.where(
        np.random.default_rng(1).random(4000) < np.linspace(0, 1, 4000), later, drawn(4000, seed=3)
    )
    assert excess(moved) == 1.0


def test_few_segments_prove_nothing() -> None:
    rows = (LEAST_SEGMENTS - 1) * SEGMENT_ROWS
    assert excess(np.repeat(drawn(rows // 10), 10)) == 1.0
