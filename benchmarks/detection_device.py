"""The device as bench_detection.py runs it: its alarms on healthy data, its delays on changed data."""

from __future__ import annotations

from typing import Any

import numpy as np
from detection_streams import CHANGES, DAY, HEALTHY, KINDS, Columns, columns, weights

from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.records import Event

STREAM = ("model", "1", None)
BEGIN = 1_700_006_400.0  # a midnight
MINUTE = 60.0
REFERENCE_ROWS = 1000
HEALTHY_ROWS = 1000
HORIZON = 10_000
CHUNK = 250
LEARNING_DAYS = 21  # most days that a device is given to learn
CHANGED = {"inputs.x0", "inputs.x1"}


class Device:
    """A watcher that is fed a row a minute and tells its alarms."""

    def __init__(
        self, run_length: float, reference: Columns | None = None, learned: int = 1000, context: str = ""
    ) -> None:
        settings = Settings(average_run_length=run_length, learn_reference=learned, context=context)
        self.watcher = Watcher(settings, build(reference) if reference else None)
        self.rows = 0

    def feed(self, given: Columns) -> list[Event]:
        """Take in rows; the alarms."""
        rows = len(next(iter(given.values())))
        ts = BEGIN + MINUTE * np.arange(self.rows, self.rows + rows)
        self.rows += rows
        found = self.watcher.update(STREAM, given, ts)
        return [one for one in found if isinstance(one, Event) and one.severity == "alarm"]

    @property
    def states(self) -> list[str]:
        """The state of each feature."""
        return [one["state"] for one in self.watcher.status().get(STREAM, {}).values()]


def healthy(name: str, run_length: float, budgets: int, seed: int) -> dict[str, Any]:
    """Alarms in so many budgets of healthy data, a new device for each; which had no reference."""
    case = HEALTHY[name]
    rng = np.random.default_rng(seed)
    alarms: list[str] = []
    silent = learned = 0
    for _ in range(budgets):
        device, live = _started(case, rng, run_length)
        learned += device.rows
        for begin in range(0, len(live), 1000):
            alarms += [one.type for one in device.feed(columns(live[begin : begin + 1000]))]
        silent += set(device.states) <= {"learning", "not_enough_reference"}
    kinds = {kind: alarms.count(kind) for kind in sorted(set(alarms))}
    return {
        "run_length": run_length,
        "budgets": budgets,
        "exposure": budgets - silent,
        "alarms": len(alarms),
        "kinds": kinds,
        "silent": silent / budgets,
        "rows_learned": learned / budgets,
    }


def _started(case: Any, rng: np.random.Generator, run_length: float) -> tuple[Device, Any]:
    """A device that has its reference, and the rows to come; it learned it itself where it was given none."""
    if not case.learned:
        data = case.draw(rng, case.reference_rows + int(run_length))
        return Device(run_length, columns(data[: case.reference_rows])), data[case.reference_rows :]
    device = Device(run_length, learned=case.learned, context=case.context)
    data = case.draw(rng, LEARNING_DAYS * DAY + int(run_length))
    while device.rows < LEARNING_DAYS * DAY and (not device.rows or "learning" in device.states):
        device.feed(columns(data[device.rows : device.rows + DAY // 2]))
    return device, data[device.rows : device.rows + int(run_length)]


def false_alarms(kind: str, run_length: float, budgets: int, allowed: float, seed: int) -> int:
    """Alarms of devices with data of a kind, in so many stretches of `allowed` healthy predictions."""
    rng, alarms = np.random.default_rng(seed), 0
    for _ in range(budgets):
        codes = KINDS[kind].draw(rng, REFERENCE_ROWS + int(allowed))
        given = KINDS[kind].columns(rng, codes)
        device = Device(run_length, _part(given, 0, REFERENCE_ROWS))
        alarms += len(device.feed(_part(given, REFERENCE_ROWS, len(codes))))
    return alarms


def first_alarms(kind: str, run_length: float, rng: np.random.Generator) -> Any:
    """A device before any change, and a function from changed codes to the index of its alarm."""
    codes = KINDS[kind].draw(rng, REFERENCE_ROWS + HEALTHY_ROWS)
    given = KINDS[kind].columns(rng, codes)
    device = Device(run_length, _part(given, 0, REFERENCE_ROWS))
    before = device.feed(_part(given, REFERENCE_ROWS, len(codes)))
    state, rows = device.watcher.state(), device.rows
    spoilt = any(_about_the_change(one) for one in before)

    def first(changed: Columns) -> int | None:
        device.watcher.restore(state)
        device.rows = rows
        for begin in range(0, HORIZON, CHUNK):
            for alarm in device.feed(_part(changed, begin, begin + CHUNK)):
                if _about_the_change(alarm):
                    return int(alarm.data["row"]) - HEALTHY_ROWS
        return None

    return first, spoilt, codes[:REFERENCE_ROWS], codes[REFERENCE_ROWS:]


def _about_the_change(alarm: Event) -> bool:
    """Whether an alarm is about a changed feature, or about several features together."""
    feature = str(alarm.data.get("feature", ""))
    return feature in CHANGED or not feature.startswith("inputs.x")


def _part(given: Columns, begin: int, end: int) -> Columns:
    return {name: column[begin:end] for name, column in given.items()}


def changed_codes(name: str, gradual: bool, rng: np.random.Generator) -> Any:
    """Codes (rows, features) from the onset of a change on."""
    change = CHANGES[name]
    codes = KINDS[change.kind].draw(rng, HORIZON)
    codes[:, 0] = change.after(rng, codes, weights(HORIZON, gradual))
    return codes
