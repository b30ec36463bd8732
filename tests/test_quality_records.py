"""What concerns a stream's records as a whole: duplicates, rate of arrival, pauses, the data's own clock."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.records import Event

STREAM = ("detector", "3", "line-B")
BEGAN = 1.7e9
Floats = np.ndarray[Any, np.dtype[np.float64]]
Columns = dict[str, list[Any]]


def columns(data: Floats) -> Columns:
    return {f"inputs.x{i}": data[:, i].tolist() for i in range(data.shape[1])}


def watcher(reference: Floats | None = None, **given: Any) -> Watcher:
    given = {"learn_reference_hours": 0.0, **given}
    return Watcher(Settings(**given), None if reference is None else build(columns(reference)))


def run(device: Watcher, live: Columns, ts: Floats, cuts: list[int] | None = None) -> list[Event]:
    found: list[Any] = []
    for begin, end in pairwise([0, *sorted(cuts or range(500, len(ts), 500)), len(ts)]):
        part = {name: column[begin:end] for name, column in live.items()}
        found += device.update(STREAM, part, ts[begin:end].tolist())
    return [one for one in found if isinstance(one, Event)]


# - duplicates -


def with_copies(rng: np.random.Generator, rows: int, share: float, begin: int, end: int) -> Floats:
    """Rows of which some, between `begin` and `end`, are copies of one of the three before."""
    data = rng.normal(size=(rows, 3))
    for row in range(begin, end):
        if rng.random() < share:
            data[row] = data[row - int(rng.integers(1, 4))]
    return np.asarray(data)


@pytest.mark.parametrize(("share", "delay"), [(0.1, 500), (0.5, 100), (1.0, 50)])
def test_duplicated_records_are_one_alarm_about_records_and_one_recovery(share: float, delay: int) -> None:
    rng = np.random.default_rng(1)
    data = with_copies(rng, 6000, share, 2000, 4000)
    device = watcher(rng.normal(size=(1000, 3)))
    alarm, over = run(device, columns(data), BEGAN + np.arange(6000.0))
    assert (alarm.type, alarm.severity, alarm.data["feature"]) == ("duplicates", "alarm", "records")
    assert alarm.message.startswith("line-B records of detector 3 are duplicated since")
    assert 2000 <= alarm.data["row"] < 2000 + delay
    assert abs(alarm.data["since_index"] - 2000) <= 50
    assert (over.type, over.data["of"]) == ("recovery", "duplicates")
    assert 4000 <= over.data["row"] < 4700


def test_a_whole_stream_that_stands_still_is_one_alarm_and_one_input_that_does_is_stuck() -> None:
    rng = np.random.default_rng(2)
    data = rng.normal(size=(4000, 3))
    data[1000:1500] = data[1000]
    data[2500:3000, 1] = 0.7
    found = run(watcher(rng.normal(size=(1000, 3))), columns(data), BEGAN + np.arange(4000.0))
    assert [(one.type, one.data["feature"]) for one in found] == [
        ("duplicates", "records"),
        ("recovery", "records"),
        ("stuck", "inputs.x1"),
        ("recovery", "inputs.x1"),
    ]


def test_open_duplicates_are_in_the_status_and_can_be_acknowledged() -> None:
    rng = np.random.default_rng(3)
    device = watcher(rng.normal(size=(1000, 3)))
    run(device, columns(with_copies(rng, 1500, 1.0, 1000, 1500)), BEGAN + np.arange(1500.0))
    assert device.status()[STREAM]["records"]["type"] == "duplicates"
    assert device.acknowledge(STREAM, "records") == 1
    assert device.status()[STREAM]["records"]["acknowledged"] is True


def test_records_that_are_often_alike_are_no_duplicates() -> None:
    rng = np.random.default_rng(4)
    data = np.round(rng.normal(size=(6000, 3)))
    assert run(watcher(data[:1000]), columns(data[1000:]), BEGAN + np.arange(5000.0)) == []


# - arrival -

GAPS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "jittered": lambda rng, rows: 1 + rng.normal(scale=0.05, size=rows),
    "at random": lambda rng, rows: rng.exponential(size=rows),
    "in batches": lambda rng, rows: np.where(np.arange(rows) % 50 == 0, 50.0, 0.0),
    "in bursts": lambda rng, rows: np.where(rng.random(rows) < 0.05, rng.exponential(20.0, rows), 0.01),
    "heavy tails": lambda rng, rows: np.abs(rng.standard_cauchy(rows)),
    "without times": lambda rng, rows: np.zeros(rows),
}


def arrivals(gaps: Floats, **given: Any) -> list[Event]:
    rng = np.random.default_rng(5)
    live = {"inputs.x0": rng.normal(size=len(gaps)).tolist()}
    return run(watcher(rng.normal(size=(1000, 1)), **given), live, BEGAN + np.cumsum(gaps))


def test_healthy_arrivals_of_every_kind_are_no_alarm() -> None:
    rng = np.random.default_rng(6)
    for draw in GAPS.values():
        for _ in range(3):
            assert arrivals(draw(rng, 5000)) == []


@pytest.mark.parametrize("kind", ["jittered", "at random"])
@pytest.mark.parametrize(("times", "words"), [(0.1, "too fast"), (6.0, "too slow")])
def test_another_rate_is_one_alarm_and_one_recovery(kind: str, times: float, words: str) -> None:
    gaps = GAPS[kind](np.random.default_rng(7), 5000)
    gaps[2000:3000] *= times
    alarm, over = arrivals(gaps)
    assert (alarm.type, alarm.severity, alarm.data["feature"]) == ("arrival", "alarm", "arrival")
    assert words in alarm.message
    assert 2000 <= alarm.data["row"] < 2250
    assert abs(alarm.data["since_index"] - 2000) <= 50
    assert (over.type, over.data["of"]) == ("recovery", "arrival")
    assert 3000 <= over.data["row"] < 3400


def test_a_pause_is_told_when_it_is_over() -> None:
    gaps = GAPS["at random"](np.random.default_rng(8), 4000)
    gaps[2500] += 5 * 3600
    (pause,) = arrivals(gaps)
    assert (pause.type, pause.severity, pause.data["row"]) == ("arrival", "warning", 2500)
    assert pause.data["effect"] == pytest.approx(5 * 3600, abs=10)
    assert pause.data["since"] == pytest.approx(BEGAN + gaps[:2500].sum(), abs=1)


def test_until_the_arrival_is_learned_nothing_is_said_about_it() -> None:
    gaps = GAPS["jittered"](np.random.default_rng(9), 4000)
    gaps[2000:3000] *= 10
    assert arrivals(gaps, learn_reference_hours=24.0) == []


def test_a_clock_that_was_set_is_told_once() -> None:
    gaps = GAPS["jittered"](np.random.default_rng(10), 4000)
    gaps[1500] -= 7200
    gaps[1600] -= 7200  # soon after: the same trouble
    gaps[3000] += 40 * 86400
    back, ahead = arrivals(gaps)
    assert (back.type, back.severity, back.data["row"]) == ("clock_jump", "warning", 1500)
    assert back.message.startswith("line-B clock of detector 3 steps back by 7199 s")
    assert (ahead.type, ahead.data["row"]) == ("clock_jump", 3000)
    assert "steps ahead by" in ahead.message


# - state -


def troubled() -> tuple[Columns, Floats]:
    rng = np.random.default_rng(11)
    data = with_copies(rng, 4000, 0.7, 1500, 2200)
    gaps = 1 + rng.normal(scale=0.1, size=4000)
    gaps[1000:1400] *= 8
    gaps[2600] += 9000
    gaps[3000] -= 90_000
    gaps[3110] += 40 * 86400
    return columns(data), BEGAN + np.cumsum(gaps)


@settings(
    max_examples=6,
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(st.integers(1, 3999), max_size=40))
def test_neither_cuts_nor_restarts_change_a_decision(cuts: list[int]) -> None:
    live, ts = troubled()
    whole = watcher(learn_reference=500)
    expected = run(whole, live, ts, [4000])
    assert {one.type for one in expected} == {"arrival", "duplicates", "clock_jump", "recovery"}
    parts, found = watcher(learn_reference=500), []
    for begin, end in pairwise([0, *sorted(cuts), 4000]):
        again = watcher(learn_reference=500)
        if begin:
            assert again.restore(parts.state())
        part = {name: column[begin:end] for name, column in live.items()}
        found += [one for one in again.update(STREAM, part, ts[begin:end].tolist()) if isinstance(one, Event)]
        parts = again
    assert found == expected
    assert parts.state() == whole.state()
