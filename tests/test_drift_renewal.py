"""How an alarm ends without the data coming back: a new normal, another version of the model."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.records import Event

OLD, NEW = ("detector", "3", None), ("detector", "4", None)
MINUTE, DAY = 60.0, 86400.0


def normal(rows: int, seed: int = 0, shift: float = 0.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"inputs.a": rng.normal(size=rows) + shift, "inputs.b": rng.normal(size=rows)}


def run(
    device: Watcher, columns: dict[str, Any], begin: float, stream: Any = OLD, size: int = 300
) -> list[Event]:
    """The events of rows that come once a minute from `begin` on."""
    rows, found = len(columns["inputs.a"]), []
    for first in range(0, rows, size):
        part = {name: column[first : first + size] for name, column in columns.items()}
        ts = [begin + MINUTE * (first + row) for row in range(len(part["inputs.a"]))]
        found += [one for one in device.update(stream, part, ts) if isinstance(one, Event)]
    return found


def alarmed(**settings: Any) -> Watcher:
    """A watcher with an alarm on inputs.a since about the 500th minute."""
    made = Watcher(Settings(learn_reference_hours=0, **settings), build(normal(1000)))
    run(made, normal(500, 1), 0.0)
    [alarm] = run(made, normal(200, 2, shift=2.0), 500 * MINUTE)
    assert alarm.data["feature"] == "inputs.a"
    return made


def state(device: Watcher, stream: Any = OLD) -> dict[str, str]:
    return {name: one["state"] for name, one in device.status()[stream].items()}


def test_an_acknowledged_change_that_lasts_becomes_the_new_normal() -> None:
    device = alarmed(rebaseline_after_hours=12)
    device.acknowledge(OLD, "inputs.a")
    changed = normal(3000, 3, shift=2.0)
    [event] = run(device, changed, 700 * MINUTE)
    assert (event.type, event.severity, event.data["feature"]) == ("rebaselined", "info", "inputs.a")
    assert 12 * 60 <= (event.ts - 500 * MINUTE) / MINUTE <= 13.1 * 60  # looked at once an hour
    assert state(device) == {"inputs.a": "fine", "inputs.b": "fine", "joint": "fine"}
    back = run(device, normal(200, 4), 3700 * MINUTE)
    assert [one.type for one in back] == ["drift"]  # what was normal before is not any more


def test_a_change_that_nobody_acknowledged_is_never_taken_as_normal() -> None:
    device = alarmed(rebaseline_after_hours=12)
    assert run(device, normal(3000, 3, shift=2.0), 700 * MINUTE) == []
    assert state(device)["inputs.a"] == "alarm"


def test_by_default_an_acknowledged_change_stays_an_alarm() -> None:
    device = alarmed()
    device.acknowledge(OLD, "inputs.a")
    assert run(device, normal(3000, 3, shift=2.0), 700 * MINUTE) == []
    assert state(device)["inputs.a"] == "alarm"


def test_learning_a_new_normal_does_not_depend_on_how_rows_are_cut() -> None:
    changed = normal(2500, 3, shift=2.0)
    states = []
    for size in (7, 2500):
        device = alarmed(rebaseline_after_hours=12)
        device.acknowledge(OLD, "inputs.a")
        found = run(device, changed, 700 * MINUTE, size=size)
        states.append((found, device.status(), device.references()))
    assert states[0] == states[1]


def test_a_new_version_of_the_model_ends_the_alarms_of_the_one_it_replaced() -> None:
    device = alarmed()
    assert run(device, normal(300, 5), 700 * MINUTE, NEW) == []  # both may run side by side
    found = run(device, normal(100, 6), 700 * MINUTE + 2 * DAY, NEW)
    assert [(one.type, one.data["model_version"]) for one in found] == [("recovery", "3")]
    assert "another version" in found[0].message
    assert state(device)["inputs.a"] == "fine"
    assert run(device, normal(100, 7), 800 * MINUTE + 2 * DAY, NEW) == []


def test_another_model_or_source_ends_no_alarm() -> None:
    device = alarmed()
    for stream in (("counter", "4", None), ("detector", "4", "line-B")):
        assert run(device, normal(100, 6), 700 * MINUTE + 2 * DAY, stream) == []
    assert state(device)["inputs.a"] == "alarm"


def test_a_few_rows_are_not_enough_data_for_an_answer() -> None:
    device = Watcher(Settings(), build(normal(1000)))
    run(device, normal(20, 1), 0.0)
    assert state(device) == dict.fromkeys(("inputs.a", "inputs.b", "joint"), "not_enough_data")
    for answer in device.check():
        assert answer.is_drift is None
        assert "20 rows have come" in answer.data["lacks"]
    run(device, normal(40, 2), 1200.0)
    assert set(state(device).values()) == {"fine"}
    assert {answer.is_drift for answer in device.check()} == {False}
