"""A camera's faults, each named once: dark, frozen, blurred, shifted histogram. One alarm for one array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.drift.batch import Batch
from edge_mlops_monitor.drift.findings import Change, Where, alarm, recovery
from edge_mlops_monitor.drift.groups import Groups, arrays_of, concerns, watched_as
from edge_mlops_monitor.drift.reference import build, build_feature
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.features import columns_of
from edge_mlops_monitor.quality.images import Level, cause
from edge_mlops_monitor.records import DriftResult, Event
from edge_mlops_monitor.replay import replay
from edge_mlops_monitor.training import build_reference

Array = np.ndarray[Any, Any]
Fault = Callable[[Array], Array]
STREAM = ("detector", "3", "camera-3")
CHANGE = Change(effect=1.0, unit="reference sd", words="shifted", before={}, after={}, rows=10)
HEIGHT, WIDTH = 48, 64
BEFORE, DURING, AFTER = 500, 300, 1500  # frames


def scenery(rng: np.random.Generator) -> Array:
    """A wide picture with structure of every size, as natural scenes have it."""
    picture = np.zeros((160, 200))
    for size in (40, 20, 10, 5, 2):
        patches = rng.normal(size=(160 // size + 1, 200 // size + 1))
        picture += np.kron(patches, np.ones((size, size)))[:160, :200] * size**0.5
    return np.asarray(110 + 45 * (picture - picture.mean()) / picture.std())


def wander(rng: np.random.Generator, rows: int, keeps: float) -> Array:
    """A number that wanders about 0, with variance 1."""
    steps = rng.normal(size=rows) * (1 - keeps * keeps) ** 0.5
    steps[0] = rng.normal()
    for row in range(1, rows):
        steps[row] += keeps * steps[row - 1]
    return np.asarray(steps)


class Camera:
    """Pans over the scenery in a light that wanders slowly, and gives noisy frames of bytes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.scenery = scenery(self.rng)

    def frames(self, rows: int, lens: Fault = lambda seen: seen, wire: Fault = lambda frame: frame) -> Any:
        """Frames as columns; `lens` changes what is seen, before the sensor's noise, `wire` what is sent."""
        down, right = (
            (56 + 12 * wander(self.rng, rows, 0.7)).clip(0, 112),
            68 + 15 * wander(self.rng, rows, 0.7),
        )
        light = 1 + 0.05 * wander(self.rng, rows, 0.9)
        sent = []
        for row in range(rows):
            y, x = int(down[row]), int(right[row])
            seen = lens(self.scenery[y : y + HEIGHT, x : x + WIDTH] * light[row])
            noisy = seen + self.rng.normal(0, 3, seen.shape)
            sent.append({"frame": wire(noisy.clip(0, 255).astype(np.uint8))})
        return columns_of(sent, [])


def blur(frame: Array) -> Array:
    """Each pixel the mean of 5 by 5."""
    edged = np.pad(frame.astype(float), 2, mode="edge")
    rows = sum(edged[shift : shift + HEIGHT] for shift in range(5))
    mean = sum(rows[:, shift : shift + WIDTH] for shift in range(5)) / 25
    return np.asarray(mean).astype(frame.dtype)


def frozen() -> Fault:
    """The first frame again and again."""
    kept: list[Array] = []

    def hold(frame: Array) -> Array:
        if not kept:
            kept.append(frame)
        return kept[0]

    return hold


class Watched:
    """A camera whose healthy frames are known, and a watcher that has seen some of them."""

    def __init__(self, seed: int = 0) -> None:
        self.camera = Camera(seed)
        self.reference = build(self.camera.frames(2000))
        watcher = Watcher(Settings(average_run_length=100_000), self.reference)
        self.before = events(self.give(watcher, self.camera.frames(BEFORE)))
        self.after = self.camera.frames(AFTER)
        self.state = watcher.state()

    def watcher(self) -> Watcher:
        made = Watcher(Settings(average_run_length=100_000), self.reference)
        assert made.restore(self.state)
        return made

    @staticmethod
    def give(watcher: Watcher, columns: Any, size: int = 250) -> list[Any]:
        rows = len(next(iter(columns.values())))
        found: list[Any] = []
        for begin in range(0, rows, size):
            part = {name: column[begin : begin + size] for name, column in columns.items()}
            count = len(next(iter(part.values())))
            at = watcher.rows(STREAM)
            found += watcher.update(STREAM, part, [float(at + row) for row in range(count)])
        return found


def events(found: list[Any]) -> list[Event]:
    return [one for one in found if isinstance(one, Event)]


@pytest.fixture(scope="module")
def watched() -> Watched:
    return Watched()


FAULTS: dict[str, tuple[str, str, dict[str, Fault]]] = {
    "lens cap": ("dark", "is dark since", {"lens": lambda seen: seen * 0.04}),
    "black": ("dark", "is dark since", {"wire": np.zeros_like}),
    "frozen": ("frozen", "is frozen since", {}),
    "out of focus": ("blurred", "is blurred since", {"lens": blur}),
    "blurred on the way": ("blurred", "is blurred since", {"wire": blur}),
    "too bright": ("shifted_histogram", "has a shifted histogram since", {"lens": lambda seen: seen * 1.6}),
    "too little contrast": (
        "shifted_histogram",
        "has a shifted histogram since",
        {"lens": lambda seen: 110 + 0.4 * (seen - 110)},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_alarm_that_names_it_and_one_recovery(watched: Watched, name: str) -> None:
    type, words, how = FAULTS[name]
    watcher = watched.watcher()
    found = watched.give(watcher, watched.camera.frames(DURING, **(how or {"wire": frozen()})))
    found += watched.give(watcher, watched.after)
    alarm, recovery = events(found)
    assert (alarm.type, alarm.severity, alarm.data["feature"]) == (type, "alarm", "inputs.frame")
    assert f"camera-3 inputs.frame of detector 3 {words}" in alarm.message
    assert BEFORE <= alarm.data["row"] < BEFORE + 150
    assert BEFORE - 50 <= alarm.data["since_index"] <= alarm.data["row"]
    assert all(driver["feature"].startswith("inputs.frame.") for driver in alarm.data["drivers"])
    assert (recovery.type, recovery.data["of"], recovery.data["feature"]) == (
        "recovery",
        type,
        "inputs.frame",
    )
    assert recovery.data["row"] >= BEFORE + DURING
    assert recovery.data["since"] == alarm.data["since"]


@pytest.mark.parametrize("seed", [0, 1])
def test_healthy_frames_in_a_wandering_light_raise_nothing(seed: int) -> None:
    made = Watched(seed)
    assert made.before == []
    assert events(made.give(made.watcher(), made.after)) == []


def test_every_feature_of_a_frame_still_has_its_results_and_state(watched: Watched) -> None:
    watcher = watched.watcher()
    found = watched.give(watcher, watched.camera.frames(DURING, lens=lambda seen: seen * 0.04))
    (alarm,) = events(found)
    drifted = {one.feature for one in found if isinstance(one, DriftResult) and one.is_drift}
    assert len(drifted) >= 4
    states = watcher.status()[STREAM]
    in_alarm = {name: state for name, state in states.items() if state["state"] == "alarm"}
    assert {name for name, state in in_alarm.items() if state["type"] == "drift"} == drifted
    assert {state["event"] for state in in_alarm.values()} == {alarm.id}


def test_a_camera_that_freezes_while_it_is_blurred_is_reported_twice(watched: Watched) -> None:
    watcher = watched.watcher()
    hold = frozen()
    found = watched.give(watcher, watched.camera.frames(DURING, lens=blur))
    found += watched.give(watcher, watched.camera.frames(200, lens=blur, wire=hold))
    found += watched.give(watcher, watched.after)
    told = [(event.type, event.data.get("of")) for event in events(found)]
    assert told == [("blurred", None), ("frozen", None), ("recovery", "frozen"), ("recovery", "blurred")]


def test_a_camera_that_freezes_when_it_is_no_longer_dark_is_reported_though_that_alarm_is_open(
    watched: Watched,
) -> None:
    watcher = watched.watcher()
    found = watched.give(watcher, watched.camera.frames(DURING, lens=lambda seen: seen * 0.04))
    found += watched.give(watcher, watched.camera.frames(50, wire=frozen()))
    assert [event.type for event in events(found)] == ["dark", "frozen"]


def test_a_camera_that_is_gone_is_one_alarm(watched: Watched) -> None:
    watcher = watched.watcher()
    gone = {name: [None] * DURING for name in watched.after}
    (alarm,) = events(watched.give(watcher, gone))
    assert alarm.data["feature"] == "inputs.frame"
    assert "missing in" in alarm.message


def test_colours_from_0_to_1_with_the_channels_first_are_frames_too() -> None:
    rng = np.random.default_rng(4)
    picture = scenery(rng) / 255

    def frames(rows: int, light: float, spread: float) -> Any:
        """Frames whose light and contrast are so many times the usual."""
        sent = []
        for _ in range(rows):
            y, x = rng.integers(0, 100, 2)
            seen = picture[y : y + HEIGHT, x : x + WIDTH] * rng.normal(1, 0.05)
            seen = light * (seen.mean() + spread * (seen - seen.mean()))
            colours = np.stack([seen * share for share in (1.0, 0.9, 0.8)])[None]
            sent.append(
                {"frame": (colours + rng.normal(0, 0.01, colours.shape)).clip(0, 1).astype(np.float32)}
            )
        return columns_of(sent, [])

    reference = build(frames(500, 1.0, 1.0))
    for light, spread, expected in ((1.0, 1.0, []), (0.05, 1.0, ["dark"]), (1.0, 0.4, ["shifted_histogram"])):
        watcher = Watcher(Settings(average_run_length=50_000), reference)
        found = events(watcher.update(STREAM, frames(200, light, spread), [float(row) for row in range(200)]))
        assert [event.type for event in found] == expected


def test_a_camera_is_held_against_what_is_usual_while_the_lamp_is_on() -> None:
    rng = np.random.default_rng(5)
    picture = scenery(rng)

    def frames(rows: int, *, broken: bool = False) -> Any:
        """The lamp is on for 50 frames, then off for 50; without it there is a tenth of the light."""
        sent = []
        for row in range(rows):
            y, x = rng.integers(0, 100, 2)
            lamp = row // 50 % 2 == 0
            seen = picture[y : y + HEIGHT, x : x + WIDTH] * (1.0 if lamp and not broken else 0.1)
            noisy = (seen * rng.normal(1, 0.05) + rng.normal(0, 3, seen.shape)).clip(0, 255)
            sent.append({"frame": noisy.astype(np.uint8), "lamp": "on" if lamp else "off"})
        return columns_of(sent, [])

    reference = build(frames(1500), context="lamp")
    for broken in (False, True):
        watcher = Watcher(Settings(average_run_length=50_000), reference)
        columns = frames(400, broken=broken)
        found = events(watcher.update(STREAM, columns, [float(row) for row in range(400)]))
        assert [event.type for event in found if event.data["feature"] == "inputs.frame"][:1] == [
            "dark"
        ] * broken


def test_a_restart_in_the_middle_of_a_fault_changes_nothing(watched: Watched) -> None:
    frames = watched.camera.frames(DURING, lens=lambda seen: seen * 0.04)
    straight = watched.watcher()
    whole = watched.give(straight, frames) + watched.give(straight, watched.after)
    first = watched.watcher()
    parts = watched.give(first, frames)
    second = Watcher(Settings(average_run_length=100_000), watched.reference)
    assert second.restore(first.state())
    parts += watched.give(second, watched.after)
    assert parts == whole


def test_what_is_found_does_not_depend_on_how_frames_are_cut(watched: Watched) -> None:
    frames = watched.camera.frames(DURING, lens=blur)
    one, other = watched.watcher(), watched.watcher()
    assert events(watched.give(one, frames, 7)) == events(watched.give(other, frames, 300))


def test_an_array_is_acknowledged_and_rebaselined_by_its_name(watched: Watched) -> None:
    watcher = watched.watcher()
    watched.give(watcher, watched.camera.frames(DURING, lens=lambda seen: seen * 0.04))
    in_alarm = [name for name, state in watcher.status()[STREAM].items() if state["state"] == "alarm"]
    assert watcher.acknowledge(STREAM, "inputs.frame") == len(in_alarm)
    assert all(watcher.status()[STREAM][name]["acknowledged"] for name in in_alarm)
    assert watcher.rebaseline(feature="frame") == len(watched.after)
    assert events(watched.give(watcher, watched.camera.frames(DURING, lens=lambda seen: seen * 0.04))) == []
    assert {state["state"] for state in watcher.status()[STREAM].values()} == {"learning"}


# - other arrays -


def _alarms_of(before: Array, after: Array) -> list[Event]:
    rows = [{"x": row} for row in (*before, *after)]
    columns = columns_of(rows, [])
    reference = build({name: column[: len(before)] for name, column in columns.items()})
    live = {name: column[len(before) :] for name, column in columns.items()}
    watcher = Watcher(Settings(average_run_length=50_000), reference)
    return events(watcher.update(STREAM, live, [float(row) for row in range(len(after))]))


def test_an_embedding_that_drifts_is_one_alarm_with_its_drivers() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(1, 1, (800, 256)), rng.normal(1, 1, (300, 256))
    (alarm,) = _alarms_of(before, after + rng.normal(size=256) * 0.7)
    assert (alarm.type, alarm.data["feature"]) == ("drift", "inputs.x")
    assert alarm.message.startswith("camera-3 inputs.x of detector 3: ")
    drivers = alarm.data["drivers"]
    assert {driver["effect_unit"] for driver in drivers} <= {
        "reference sd",
        "times reference sd",
        "total variation",
    }
    assert alarm.data["effect"] == drivers[0]["effect"]
    assert len(drivers) == len({driver["feature"] for driver in drivers}) > 1


def test_counts_in_a_large_array_are_one_alarm_too() -> None:
    rng = np.random.default_rng(1)
    (alarm,) = _alarms_of(rng.poisson(5, (800, 100)), rng.poisson(9, (300, 100)))
    assert (alarm.type, alarm.data["feature"]) == ("drift", "inputs.x")


def test_a_fingerprint_is_watched_for_repeats_alone_and_no_other_feature_of_a_frame_is() -> None:
    numbers = np.random.default_rng(2).random(200) * 2**32
    known = ["inputs.frame.fingerprint", "inputs.frame.mean", "inputs.speed"]
    references = {name: watched_as(name, build_feature(name, numbers), known) for name in known}
    fingerprint = references["inputs.frame.fingerprint"]
    assert (fingerprint.bins.names, fingerprint.counts) == (["any", "missing"], [200.0, 0.0])
    assert [references[name].runs.repeat_share < 1 for name in known] == [True, False, True]


def test_what_joins_an_alarm_later_does_not_hold_up_its_end() -> None:
    names = [f"inputs.x.{field}" for field in ("mean", "sd", "nonfinite")]
    groups = Groups(STREAM)
    groups.keep(names, [build_feature(name, np.arange(100.0)) for name in names])
    batch = Batch(np.zeros((100, 3)), np.zeros((100, 3), dtype=np.int64), np.arange(100.0), 0, np.ones(20))

    def told(block: int, feature: str, over: bool = False) -> list[str]:
        where = Where(STREAM, feature, batch.last_row(block), batch.last_ts(block))
        one = recovery(where, "drift", "is back", 0.0) if over else alarm(where, "m", CHANGE, 0.0, 0)
        merged = [finding for _, finding in groups.merge([(block, one)], batch, [])]
        assert {event.data["feature"] for event in merged} <= {"inputs.x"}
        return [event.type for event in merged]

    assert told(0, "inputs.x.mean") == ["drift"]
    assert told(1, "inputs.x.sd") == []
    assert told(2, "inputs.x.mean", over=True) == ["recovery"]
    assert told(3, "inputs.x.mean") == ["drift"], "a new one, though sd is not yet back"
    assert told(4, "inputs.x.sd", over=True) == []
    assert told(5, "inputs.x.mean", over=True) == ["recovery"]
    assert groups.open["inputs.x"] == []


def test_a_dict_of_the_users_own_is_no_array() -> None:
    names = ["inputs.speed.mean", "inputs.speed.max", "inputs.a.mean", "inputs.a.nonfinite", "inputs.mean"]
    assert arrays_of(names) == {"inputs.a.mean": "inputs.a", "inputs.a.nonfinite": "inputs.a"}


def test_a_feature_is_meant_by_its_own_name_and_by_that_of_its_array() -> None:
    feature = "inputs.frame.histogram[3]"
    for name in (feature, "frame.histogram[3]", "inputs.frame", "frame"):
        assert concerns(feature, name)
    for name in ("inputs", "inputs.frame.histogram", "fram", "outputs.frame", ""):
        assert not concerns(feature, name)


# - the names of causes -


def level(now: float, usual: float, spread: float) -> Level:
    return Level(now, usual, spread, usual - 2 * spread, usual + 2 * spread)


USUAL = {
    "mean": (100, 10),
    "sd": (50, 5),
    "sharpness": (1.0, 0.2),
    "histogram[0]": (0.2, 0.05),
    "histogram[5]": (0.3, 0.05),
}


@pytest.mark.parametrize(
    ("now", "repeats", "expected"),
    [
        ({}, False, ""),
        ({}, True, "frozen"),
        ({"mean": 5, "sd": 3, "sharpness": 15}, False, "dark"),
        ({"mean": 5, "sd": 3}, True, "dark"),
        ({"mean": 40, "histogram[0]": 0.8}, False, "dark"),
        ({"mean": 40, "histogram[0]": 0.4}, False, "shifted_histogram"),
        ({"mean": 200, "sd": 3}, False, "shifted_histogram"),
        ({"sharpness": 0.1}, False, "blurred"),
        ({"sharpness": 0.1, "mean": 121}, False, "blurred"),
        ({"sharpness": 0.5, "mean": 180}, False, "shifted_histogram"),
        ({"sharpness": 2.0}, False, ""),
        ({"histogram[5]": 0.9}, False, "shifted_histogram"),
    ],
)
def test_the_cause_follows_from_the_numbers(now: dict[str, float], repeats: bool, expected: str) -> None:
    levels = {name: level(now.get(name, usual), usual, spread) for name, (usual, spread) in USUAL.items()}
    assert cause(levels, repeats) == expected


def test_without_some_of_the_numbers_there_is_still_a_name() -> None:
    assert cause({}, True) == "frozen"
    assert cause({}, False) == ""
    assert cause({"sharpness": level(0.1, 1.0, 0.2)}, False) == "blurred"
    assert cause({"mean": level(5, 100, 10)}, False) == "shifted_histogram"
    assert cause({"histogram[0]": level(0.9, 0.2, 0.05)}, False) == "dark"


# - through files, and through the monitor -


def test_recorded_summaries_are_replayed_to_the_same_alarm(tmp_path: Path) -> None:
    camera = Camera(6)
    for name, columns in (
        ("training", camera.frames(600)),
        ("recorded", _joined(camera.frames(100), camera.frames(100, lens=lambda seen: seen * 0.04))),
    ):
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        (tmp_path / f"{name}.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    reference = build_reference(tmp_path / "training.jsonl")
    found = replay(tmp_path / "recorded.jsonl", reference, Settings(average_run_length=50_000))
    (alarm,) = found.alarms
    assert (alarm["type"], alarm["feature"]) == ("dark", "inputs.frame")
    assert 100 <= alarm["index"] < 200
    assert alarm["since_index"] == pytest.approx(100, abs=10)


def _joined(first: Any, then: Any) -> Any:
    return {name: [*first[name], *then[name]] for name in first}


def test_the_monitor_reports_a_dark_camera_and_takes_the_acknowledgement(tmp_path: Path) -> None:
    config = {
        "storage": {"sqlite_path": str(tmp_path / "m.db")},
        "drift_detection": {"learn_reference": 300, "learn_reference_hours": 0, "average_run_length": 20_000},
    }
    rng = np.random.default_rng(3)
    with EdgeMonitor(config=config) as monitor:

        @monitor.watch(model="detector", source="camera-3")
        def detect(frame: Array) -> float:
            return float(frame[0, 0, 0])

        for gain in (1.0,) * 400 + (0.02,) * 100:
            detect((rng.normal(120, 40, (32, 32, 3)) * gain).clip(0, 255).astype(np.uint8))
        assert monitor.flush()
        monitor.check_drift()
        (alarm,) = (one for one in monitor.events() if one.data.get("feature") == "inputs.frame")
        assert alarm.type == "dark"
        monitor.acknowledge(alarm.id)
        assert monitor.flush()
        monitor.check_drift()
        states = [one for one in monitor.get_status()["features"] if one.get("event") == alarm.id]
        assert states
        assert all(one["acknowledged"] for one in states)
