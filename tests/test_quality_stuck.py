"""The stuck-at check by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor.quality.stuck import StuckCheck, least_runs, run_lengths, runs_of


def test_runs_go_on_over_calls_and_end_at_missing_values() -> None:
    first, began = runs_of(np.array([[1.0], [1.0], [2.0]]), np.array([1.0]), np.array([4]))
    assert first[:, 0].tolist() == [5, 6, 1]
    assert began.tolist() == [2]
    second, _ = runs_of(np.array([[2.0], [math.nan], [math.nan], [2.0]]), np.array([2.0]), np.array([1]))
    assert second[:, 0].tolist() == [2, 1, 1, 1]


def test_a_constant_or_empty_reference_means_no_check() -> None:
    for values in ([], [1.0], [2.0] * 50, [math.nan] * 50):
        assert run_lengths(np.array(values)).repeat_share == 1.0
    assert StuckCheck([run_lengths(np.ones(50))]).checked == 0


def test_a_run_must_be_long_in_every_sense() -> None:
    rare = least_runs(np.array([1]), np.array([0.01]), math.log(1e-6))
    assert rare.tolist() == [10]  # at least ten
    known = least_runs(np.array([40]), np.array([0.01]), math.log(1e-6))
    assert known.tolist() == [81]  # more than twice the longest known
    likely = least_runs(np.array([3]), np.array([0.5]), math.log(1e-9))
    assert likely.tolist() == [31]  # less likely than the budget allows
    assert least_runs(np.array([3]), np.array([1.0]), -1.0).tolist() == [math.inf]


def _ties(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.round(rng.normal(size=shape) * 4)


def _mostly_zero(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.9, 0.0, rng.normal(size=shape))


@pytest.mark.parametrize("healthy_values", [_ties, _mostly_zero])
def test_runs_of_healthy_data_alarm_no_more_often_than_the_budget(healthy_values: Any) -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(20):
        healthy = healthy_values(rng, (1000 + 10_000, 4))
        check = StuckCheck([run_lengths(healthy[:1000, i]) for i in range(4)])
        live = healthy[1000:]
        blocks = len(live) // 25
        _, changes = check.check(live, np.zeros(len(live)), 0, np.full(blocks, 1 / 10_000 / 4))
        alarms += sum(change.stuck for change in changes)
    assert alarms <= 20


@pytest.mark.parametrize("size", [25, 50, 100])
def test_a_stuck_sensor_is_found_once_with_its_beginning_however_rows_are_cut(size: int) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(400, 2))
    values[110:300, 1] = 7.0
    check = StuckCheck([run_lengths(rng.normal(size=500))] * 2)
    found = []
    for begin in range(0, 400, size):
        part = slice(begin, begin + size)
        withheld, changes = check.check(
            values[part], np.arange(400.0)[part], begin, np.full(size // 25, 1e-6)
        )
        found += [(begin // 25 + change.block, change) for change in changes]
        assert withheld is None or not withheld[:, 0].any()
    (first, stuck), (second, loose) = found
    assert (first, stuck.feature, stuck.stuck, stuck.value, stuck.run) == (4, 1, True, 7.0, 10)
    assert (stuck.since_row, stuck.since_ts) == (110, 110.0)
    assert (second, loose.feature, loose.stuck) == (12, 1, False)


@pytest.mark.parametrize("size", [25, 75, 300])
def test_a_sensor_that_freezes_again_and_again_is_one_episode_more(size: int) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(3000, 1))
    for begin in range(300, 1500, 60):
        values[begin : begin + 15] = values[begin]
    check = StuckCheck([run_lengths(rng.normal(size=500))])
    found = []
    for begin in range(0, 3000, size):
        part = slice(begin, begin + size)
        _, changes = check.check(values[part], np.arange(3000.0)[part], begin, np.full(size // 25, 1e-6))
        found += [(begin // 25 + change.block, change.stuck) for change in changes]
    assert [stuck for _, stuck in found] == [True, False, True, False]
    assert found[1][0] * 25 <= 350  # over as soon as it moves
    assert 1455 + 100 <= found[3][0] * 25 + 25 <= 1455 + 300  # it had moved for 45 rows each time


def test_a_chance_repeat_among_many_values_does_not_blind_the_check() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        fine = np.round(rng.normal(size=3000) * 3, 2)  # each value comes a few times, hardly any in a row
        assert run_lengths(fine).repeat_share < 0.05
    sticky = np.where(rng.random(3000) < 0.01, 0.0, rng.normal(size=3000))
    sticky[100:108] = sticky[2000:2012] = 0.0
    assert run_lengths(sticky).repeat_share > 0.3  # a rare value that does come in a row
