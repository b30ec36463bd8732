"""The smallest shift that can be expected to be found, held against the watcher itself."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_mlops_monitor.drift.detectable import share_of_a_row, smallest_shifts
from edge_mlops_monitor.drift.reference import FeatureReference, build_feature
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.records import Event

RUNS = 24


def smallest_shift(
    reference: FeatureReference, rows: int, share: float, features: int, minimum_effect: float = 0.0
) -> float | None:
    (found,) = smallest_shifts(reference, [rows], share, features, minimum_effect)
    return found


def series(rng: np.random.Generator, rows: int, rho: float) -> NDArray[np.float64]:
    noise = rng.normal(size=rows) * np.sqrt(1 - rho * rho)
    noise[0] /= np.sqrt(1 - rho * rho)
    for row in range(1, rows if rho else 0):
        noise[row] += rho * noise[row - 1]
    return noise


def found_within(rows: int, reference: FeatureReference, values: NDArray[np.float64], length: float) -> bool:
    watcher = Watcher(Settings(average_run_length=length), [reference])
    findings = watcher.update((None, None, None), {reference.name: values[:rows]}, np.zeros(rows))
    return any(isinstance(finding, Event) and finding.severity == "alarm" for finding in findings)


@pytest.mark.parametrize(
    ("known", "rho", "rows", "length"),
    [(1000, 0.0, 200, 5e3), (1000, 0.0, 1500, 1e5), (300, 0.0, 600, 1e5), (3000, 0.9, 1500, 1e5)],
)
def test_half_of_all_shifts_of_the_size_that_is_said_are_found_within_30_percent(
    known: int, rho: float, rows: int, length: float
) -> None:
    rng = np.random.default_rng(7)
    found = {1 / 1.3: 0, 1.3: 0}
    for _ in range(RUNS):
        values = series(rng, known + rows, rho)
        reference = build_feature("a", values[:known])
        shift = smallest_shift(reference, rows, 1 / length, 1)
        assert shift is not None
        for factor in found:
            found[factor] += found_within(rows, reference, values[known:] + factor * shift, length)
    assert found[1 / 1.3] <= RUNS / 2 <= found[1.3], found


def test_more_rows_a_longer_reference_and_a_larger_budget_find_smaller_shifts() -> None:
    values = np.random.default_rng(1).normal(size=4000)
    short, long = build_feature("a", values[:400]), build_feature("a", values)
    usual = smallest_shift(short, 1000, 1e-5, 20)
    assert usual is not None
    for better in (
        smallest_shift(long, 1000, 1e-5, 20),
        smallest_shift(short, 2000, 1e-5, 20),
        smallest_shift(short, 1000, 1e-4, 20),
        smallest_shift(short, 1000, 1e-5, 1),
    ):
        assert better is not None
        assert better < usual
    ever = [smallest_shift(short, rows, 1e-5, 20) or 9 for rows in (10**4, 10**6, 10**8)]
    assert ever[2] == pytest.approx(ever[1], rel=0.2)  # the null has learned the change by then
    assert ever == sorted(ever, reverse=True)


def test_trifles_and_what_cannot_be_found_are_none_or_the_least_effect() -> None:
    reference = build_feature("a", np.random.default_rng(1).normal(size=20_000))
    least = smallest_shift(reference, 10**6, 1e-3, 1, minimum_effect=0.3)
    assert least == pytest.approx(0.35, abs=0.06)
    assert smallest_shift(reference, 24, 1e-5, 20) is None
    assert smallest_shift(build_feature("a", list("rgb") * 500), 1000, 1e-5, 20) is None
    assert smallest_shift(build_feature("a", [1.0] * 500), 1000, 1e-5, 20) is None
    assert smallest_shift(build_feature("a", [1.0, 2.0]), 1000, 1e-5, 20) is None
    assert smallest_shift(build_feature("a", [None] * 100), 1000, 1e-5, 20) is None


def test_a_budget_in_time_is_spent_by_the_time_between_rows() -> None:
    month = Settings(false_alarms_per_month=2)
    assert share_of_a_row(month, 60) == pytest.approx(2 * 60 / (30 * 86400))
    assert share_of_a_row(month, 0.01) == pytest.approx(2 * 3600 / (30 * 86400))  # at most an hour a gap
