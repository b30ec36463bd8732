"""Errors as a feature: only a rise is an alarm, under the share of the budget for performance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor.drift.budget import SHARES
from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.records import Event

STREAM = ("detector", "3", None)
FEATURE = "performance.error"


def watcher(reference: Any, run_length: float = 20_000.0) -> Watcher:
    settings = Settings(average_run_length=run_length, learn_reference_hours=0, share="performance")
    return Watcher(settings, build({FEATURE: reference}))


def events(device: Watcher, *shares: tuple[float, int], seed: int = 1) -> list[tuple[str, int]]:
    """Events of wrong (1) and right (0) predictions, so many of each share of wrong ones: type and row."""
    rng = np.random.default_rng(seed)
    wrong = np.concatenate([rng.uniform(size=rows) < share for share, rows in shares]).astype(float)
    begin = device.rows(STREAM)
    found = device.update(STREAM, {FEATURE: wrong}, begin + np.arange(float(len(wrong))))
    return [(one.type, one.data["row"]) for one in found if isinstance(one, Event)]


def wrong(share: float, rows: int = 1000, seed: int = 2) -> Any:
    return (np.random.default_rng(seed).uniform(size=rows) < share).astype(float)


def test_a_rise_of_the_error_is_one_alarm_and_its_end_one_recovery() -> None:
    device = watcher(wrong(0.05))
    (first, row), (second, end) = events(device, (0.05, 1000), (0.15, 1000), (0.05, 4000))
    assert (first, second) == ("drift", "recovery")
    assert 1000 < row < 1500
    assert end > 2000


def test_an_improvement_is_no_alarm_and_hides_no_later_rise() -> None:
    device = watcher(wrong(0.2))
    assert events(device, (0.2, 500), (0.02, 5000)) == []
    assert events(device, (0.2, 3000), seed=3) == [], "back where the reference is"
    ((type, row),) = events(device, (0.35, 1000), seed=4)
    assert type == "drift"
    assert 8500 < row < 9200


def test_errors_that_rise_to_less_than_the_reference_knows_are_no_alarm() -> None:
    assert events(watcher(wrong(0.25)), (0.25, 500), (0.01, 6000), (0.1, 1500)) == []


def test_an_alarm_ends_too_where_the_model_becomes_better_than_it_was() -> None:
    device = watcher(wrong(0.1))
    assert [type for type, _ in events(device, (0.1, 500), (0.3, 500), (0.01, 3000))] == ["drift", "recovery"]


def test_a_model_that_made_no_mistake_is_watched_too() -> None:
    assert [type for type, _ in events(watcher(np.zeros(1000)), (0.0, 500), (0.08, 500))] == ["drift"]


def test_sizes_of_errors_are_no_stuck_sensor_and_alarm_when_they_grow() -> None:
    rng = np.random.default_rng(5)
    device = watcher(np.abs(rng.normal(size=1000)))
    healthy = np.abs(rng.normal(size=2000))
    times = np.arange(2000.0)
    assert [one for one in device.update(STREAM, {FEATURE: healthy}, times) if isinstance(one, Event)] == []
    same = np.full(200, 0.3)
    assert [
        one for one in device.update(STREAM, {FEATURE: same}, times[:200]) if isinstance(one, Event)
    ] == []
    found = device.update(STREAM, {FEATURE: 2 * np.abs(rng.normal(size=400))}, times[:400])
    assert [one.type for one in found if isinstance(one, Event)] == ["drift"]


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_healthy_errors_raise_no_more_alarms_than_their_share_of_the_budget(share: float) -> None:
    """At most two are expected in twenty budgets, a tenth of which is paid to this: 8 or more in 1 of 900."""
    rng = np.random.default_rng(6)
    alarms = 0
    for _ in range(20):
        data = (rng.uniform(size=3000) < share).astype(float)
        device = watcher(data[:1000], run_length=2000.0)
        found = device.update(STREAM, {FEATURE: data[1000:]}, np.arange(2000.0))
        alarms += sum(isinstance(one, Event) and one.severity == "alarm" for one in found)
    assert SHARES["performance"] == 0.1
    assert alarms < 8
