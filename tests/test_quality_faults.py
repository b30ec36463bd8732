"""Faults of the data: each is reported once, as what it is, on the input that has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.drift.reference_file import dump, loads
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.records import Event

STREAM = ("detector", "3", "sensor-3")
FAULT = slice(2000, 4000)
Floats = np.ndarray[Any, np.dtype[np.float64]]
Spoil = Callable[[np.random.Generator, Floats], Any]


def columns(data: Any) -> dict[str, list[Any]]:
    return {f"inputs.x{i}": data[:, i].tolist() for i in range(data.shape[1])}


def events(device: Watcher, live: dict[str, list[Any]], size: int = 500) -> list[Event]:
    rows = len(next(iter(live.values())))
    found: list[Any] = []
    for begin in range(0, rows, size):
        part = {name: column[begin : begin + size] for name, column in live.items()}
        found += device.update(STREAM, part, [1e9 + row for row in range(begin, min(rows, begin + size))])
    return [one for one in found if isinstance(one, Event)]


def some(rng: np.random.Generator, rows: int, share: float, run: int = 1) -> Any:
    begins = rng.random(rows) < share / run
    begins[0] = True
    return np.any([np.roll(begins, lag) for lag in range(run)], axis=0)


def mixed(values: Floats, rows: Any, other: Any) -> list[Any]:
    return [other if chosen else value for chosen, value in zip(rows, values.tolist(), strict=True)]


# name: type of the event, words of its message, delay at most, and what happens to the values
FAULTS: dict[str, tuple[str, str, int, Spoil]] = {
    "text": ("type", "holds text in place of numbers", 25, lambda rng, x: ["n/a"] * len(x)),
    "some text": (
        "type",
        "holds text in place of numbers",
        250,
        lambda rng, x: mixed(x, some(rng, len(x), 0.1), "ERR 7"),
    ),
    "another unit": ("range", "is out of range", 25, lambda rng, x: x + 273.15),
    "spikes": (
        "spike",
        "has spikes",
        700,
        lambda rng, x: np.where(some(rng, len(x), 0.04), x + rng.choice([-30, 30], len(x)), x),
    ),
    "jumps within the range": (
        "spike",
        "has spikes",
        700,
        lambda rng, x: np.where(some(rng, len(x), 0.04), -x, x),
    ),
    "dropout to zero": (
        "dropout",
        "drops out to 0",
        500,
        lambda rng, x: np.where(some(rng, len(x), 0.2, 4), 0.0, x),
    ),
    "dropout to -999": (
        "dropout",
        "drops out to -999",
        600,
        lambda rng, x: np.where(some(rng, len(x), 0.05, 2), -999.0, x),
    ),
    "clipping": ("clipping", "is clipped at 11.5", 200, lambda rng, x: np.minimum(x, 11.5)),
    "stuck": ("stuck", "is stuck at 3", 25, lambda rng, x: np.full(len(x), 3.0)),
    "stuck out of range": ("stuck", "is stuck at 65535", 25, lambda rng, x: np.full(len(x), 65535.0)),
    "missing": ("missing", "is missing in", 150, lambda rng, x: mixed(x, some(rng, len(x), 0.2), None)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_alarm_of_its_type_and_one_recovery(name: str) -> None:
    expected, words, delay, spoil = FAULTS[name]
    rng = np.random.default_rng(21)
    data = 10 + rng.normal(size=(1000 + 6000, 3))
    if name == "jumps within the range":  # two levels, twelve rows each, so that a jump is not out of range
        level = 5 * np.sign(np.sin(np.arange(len(data)) / 4))
        data[:, 1] = level + rng.normal(scale=0.2, size=len(data))
    device = Watcher(Settings(), build(columns(data[:1000])))
    live = columns(data[1000:])
    live["inputs.x1"][FAULT] = list(spoil(rng, data[1000:, 1][FAULT]))
    found = events(device, live)
    assert [(one.type, one.data["feature"]) for one in found] == [
        (expected, "inputs.x1"),
        ("recovery", "inputs.x1"),
    ]
    alarm, over = found
    assert alarm.severity == "alarm"
    assert FAULT.start <= alarm.data["row"] < FAULT.start + delay
    assert abs(alarm.data["since_index"] - FAULT.start) <= 60
    assert alarm.data["since"] == 1e9 + alarm.data["since_index"]
    assert words in alarm.message
    assert over.data["of"] == expected
    assert FAULT.stop <= over.data["row"] < FAULT.stop + 700
    assert device.status()[STREAM]["inputs.x1"]["state"] == "fine"


def test_numbers_among_text_are_a_wrong_type() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice(list("abc"), size=4000).tolist()
    device = Watcher(Settings(), build({"inputs.c": labels[:1000]}))
    (found,) = events(device, {"inputs.c": [*labels[1000:2000], *([7.0] * 200)]})
    assert found.type == "type"
    assert "holds numbers in place of text" in found.message
    assert found.data["value"] == 7.0
    status = device.status()[STREAM]["inputs.c"]
    assert (status["state"], status["type"], status["acknowledged"]) == ("alarm", "type", False)
    assert device.acknowledge(STREAM, "inputs.c") == 1


def test_categories_that_were_numbers_too_have_no_type_of_their_own() -> None:
    rng = np.random.default_rng(3)
    labels: list[Any] = [*rng.choice(["1", "2"], size=500).tolist(), *rng.integers(1, 3, 500).tolist()]
    rng.shuffle(labels)
    device = Watcher(Settings(), build({"inputs.c": labels}, categorical=["c"]))
    assert events(device, {"inputs.c": [2] * 40 + labels[:400]}, size=100) == []


def test_a_real_drift_is_drift_however_large() -> None:
    for shift in (0.6, 2.0, 5.0):
        data = np.random.default_rng(5).normal(size=(1000 + 3000, 2))
        data[2500:, 0] += shift
        found = events(Watcher(Settings(), build(columns(data[:1000]))), columns(data[1000:]))
        assert [(one.type, one.data["feature"]) for one in found] == [("drift", "inputs.x0")]


def test_beside_a_drift_a_stuck_sensor_and_a_wrong_type_are_reported_but_not_what_it_makes_likely() -> None:
    data = np.random.default_rng(6).normal(size=(1000 + 5000, 2))
    data[2000:] += 3.0
    live = columns(data[1000:])
    live["inputs.x0"][3000:3300] = [4.5] * 300
    live["inputs.x1"][3000:3300] = ["off"] * 300
    live["inputs.x1"][4000:] = (data[5000:, 1] * 20).tolist()
    found = events(Watcher(Settings(), build(columns(data[:1000]))), live)
    assert Counter((one.type, one.data["feature"]) for one in found) == {
        ("drift", "inputs.x0"): 1,
        ("drift", "inputs.x1"): 1,
        ("stuck", "inputs.x0"): 1,
        ("type", "inputs.x1"): 1,
        ("recovery", "inputs.x0"): 1,
        ("recovery", "inputs.x1"): 1,
    }


def test_a_drift_that_begins_while_spikes_go_on_is_found() -> None:
    rng = np.random.default_rng(7)
    data = rng.normal(size=(1000 + 6000, 1))
    data[5000:] += 1.0
    data[2000:, 0] += np.where(some(rng, 5000, 0.04), 40.0, 0.0)
    found = events(Watcher(Settings(), build(columns(data[:1000]))), columns(data[1000:]))
    assert [one.type for one in found] == ["spike", "drift"]
    assert 4000 <= found[1].data["row"] < 4200


def test_a_reference_of_an_earlier_version_means_fewer_checks_and_no_alarm() -> None:
    data = np.random.default_rng(8).normal(size=(2000, 1))
    text = dump(build(columns(data[:1000])))
    start, end = text.index('"quality"'), text.index("},", text.index('"quality"')) + 2
    old = loads(text[:start] + text[end:].lstrip())
    assert old[0].quality is None
    live = columns(data[1000:])
    live["inputs.x0"][500:] = ["n/a"] * 500
    found = events(Watcher(Settings(), old), live)
    assert [one.type for one in found] == ["missing"]


# - healthy -


def _bursts(rng: np.random.Generator, rows: int) -> Any:
    within = np.zeros((rows, 4), dtype=bool)
    begins = rng.random((rows, 4)) < 0.01
    for lag in range(5):
        within[lag:] |= begins[: rows - lag]
    return rng.normal(size=(rows, 4)) * np.where(within, 8.0, 1.0)


def _slow(rng: np.random.Generator, rows: int) -> Any:
    noise = rng.normal(size=(rows, 4))
    for row in range(1, rows):
        noise[row] = 0.9 * noise[row - 1] + 0.436 * noise[row]
    return noise


HEALTHY: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "heavy tails": lambda rng, rows: rng.standard_cauchy(size=(rows, 4)),
    "extremes in bursts": _bursts,
    "slow and rounded": lambda rng, rows: np.round(20 + 2 * _slow(rng, rows), 1),
    "saturating": lambda rng, rows: np.clip(np.round(_slow(rng, rows) * 60 + 128), 0, 255),
    "on and off": lambda rng, rows: np.cumsum(rng.random((rows, 4)) < 0.1, axis=0) % 2,
    "many zeros": lambda rng, rows: np.maximum(rng.normal(size=(rows, 4)), 0.0),
    "few integers": lambda rng, rows: rng.poisson(3.0, size=(rows, 4)),
    "constants": lambda rng, rows: np.full((rows, 4), 7.0),
    "counters": lambda rng, rows: np.cumsum(rng.integers(0, 3, (rows, 4)), axis=0),
}


def test_healthy_data_of_every_kind_raise_fewer_alarms_than_their_share_of_the_budget() -> None:
    """Ten budgets each, ninety in all, of which a tenth is for data quality: nine; a Poisson's 99 % is 17."""
    rng = np.random.default_rng(9)
    found: Counter[str] = Counter()
    for draw in HEALTHY.values():
        for _ in range(10):
            data = draw(rng, 1000 + 2000)
            device = Watcher(Settings(average_run_length=2000.0), build(columns(data[:1000])))
            found.update(one.type for one in events(device, columns(data[1000:]), size=2000))
    assert sum(found[type] for type in ("type", "range", "spike", "dropout", "clipping", "stuck")) <= 9
