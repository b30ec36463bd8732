"""How features go together: what is seen, what is named, the budget, one cause one alarm, restarts."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edge_mlops_monitor.drift.joint import pairs_of, sides
from edge_mlops_monitor.drift.pairs import GROUP_ROWS, PairEvidence
from edge_mlops_monitor.drift.reference import FeatureReference, build
from edge_mlops_monitor.drift.reference_file import dump, loads
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.records import DriftResult, Event

STREAM = ("detector", "3", None)
Rng = np.random.Generator
Array = np.ndarray[Any, Any]


def columns(data: Array) -> dict[str, Any]:
    return {f"inputs.x{i}": data[:, i].tolist() for i in range(data.shape[1])}


def watcher(reference: Array | None = None, **given: Any) -> Watcher:
    given = {"average_run_length": 50_000.0, "learn_reference_hours": 0.0, **given}
    return Watcher(Settings(**given), None if reference is None else build(columns(reference)))


def run(device: Watcher, data: Array, first: int = 0, size: int = 500) -> list[Any]:
    found: list[Any] = []
    for i in range(0, len(data), size):
        part = data[i : i + size]
        found += device.update(STREAM, columns(part), [float(first + i + j) for j in range(len(part))])
    return found


def events(found: list[Any]) -> list[Event]:
    return [one for one in found if isinstance(one, Event)]


def state(device: Watcher) -> str:
    return str(device.status()[STREAM]["joint"]["state"])


def tie(data: Array, by: float, begin: int = 0, end: int | None = None) -> Array:
    """Let the first two features have a correlation, each staying standard normal."""
    part = data[begin:end]
    part[:, 1] = by * part[:, 0] + math.sqrt(1 - by * by) * part[:, 1]
    return data


def factor(rng: Rng, rows: int, features: int, by: float) -> Array:
    """Standard normal features with a common factor, each two correlated by `by`."""
    common = rng.normal(size=(rows, 1))
    return np.asarray(math.sqrt(by) * common + math.sqrt(1 - by) * rng.normal(size=(rows, features)))


# - what is seen, and what is said -


@pytest.mark.parametrize(("before", "after", "within"), [(0.0, 0.8, 150), (0.8, 0.0, 150), (0.5, -0.5, 100)])
def test_a_changed_correlation_of_two_in_ten_is_one_alarm_that_names_them(
    before: float, after: float, within: int
) -> None:
    data = np.random.default_rng(1).normal(size=(1000 + 3000, 10))
    tie(tie(data, before, 0, 2500), after, 2500)
    device = watcher(data[:1000], average_run_length=250_000.0)
    found = run(device, data[1000:])
    (alarm,) = events(found)
    assert alarm.type == "drift"
    assert alarm.severity == "alarm"
    assert alarm.data["feature"] == "joint"
    assert alarm.data["features"] == ["inputs.x0", "inputs.x1"]
    assert 1500 <= alarm.data["row"] < 1500 + within
    assert abs(alarm.data["since_index"] - 1500) <= 100
    assert alarm.data["since"] == alarm.data["since_index"]
    assert alarm.data["effect"] * (after - before) > 0
    assert alarm.data["effect_unit"] == "concordance"
    assert "joint behaviour of inputs.x0 and inputs.x1 of detector 3 changed since" in alarm.message
    assert alarm.data["other_pairs"] == []
    features = {name: one["state"] for name, one in device.status()[STREAM].items() if name != "joint"}
    assert set(features.values()) == {"fine"}
    assert device.status()[STREAM]["joint"]["event"] == alarm.id
    answer = next(one for one in found if isinstance(one, DriftResult) and one.is_drift)
    assert (answer.feature, answer.method, answer.data["state"]) == ("joint", "e_detector", "alarm")


def test_it_is_over_when_they_go_together_again_and_a_second_time_is_another_alarm() -> None:
    data = np.random.default_rng(2).normal(size=(1000 + 9000, 4))
    for begin in (2000, 6000):
        tie(data, 0.9, 1000 + begin, 1000 + begin + 2000)
    device = watcher(data[:1000])
    found = events(run(device, data[1000:]))
    assert [(one.type, one.data["feature"]) for one in found] == [
        ("drift", "joint"),
        ("recovery", "joint"),
    ] * 2
    for one, change in zip(found, (2000, 4000, 6000, 8000), strict=True):
        assert change <= one.data["row"] < change + 500
    assert found[1].data["of"] == "drift"
    assert found[1].message == (
        "the joint behaviour of inputs.x0 and inputs.x1 of detector 3 is back at its reference"
    )
    assert state(device) == "fine"


def test_a_sensor_that_is_decoupled_from_all_others_is_one_alarm_with_the_pairs() -> None:
    rng = np.random.default_rng(3)
    data = factor(rng, 1000 + 3000, 6, 0.7)
    data[2500:, 2] = rng.normal(size=1500)
    (alarm,) = events(run(watcher(data[:1000]), data[1000:]))
    assert "inputs.x2" in alarm.data["features"]
    assert alarm.data["row"] < 1500 + 150
    assert len(alarm.data["other_pairs"]) >= 2
    assert all("inputs.x2" in names for names in alarm.data["other_pairs"])
    assert "more pair" in alarm.message


def test_trifles_below_the_minimum_effect_are_not_reported_but_a_change_beside_them_is() -> None:
    rng = np.random.default_rng(4)
    data = rng.normal(size=(20_000 + 12_000, 3))
    tie(data, 0.06, 20_000)
    assert events(run(watcher(data[:20_000], minimum_effect=0.3), data[20_000:])) == []
    data[30_000:, 2] = 0.9 * data[30_000:, 0] + 0.436 * data[30_000:, 2]
    (alarm,) = events(run(watcher(data[:20_000], minimum_effect=0.3), data[20_000:]))
    assert alarm.data["features"] == ["inputs.x0", "inputs.x2"]
    assert 10_000 <= alarm.data["row"] < 10_400


def test_acknowledging_it_marks_it_as_seen() -> None:
    data = tie(np.random.default_rng(5).normal(size=(2000, 3)), 0.9, 1200)
    device = watcher(data[:1000])
    run(device, data[1000:])
    assert device.status()[STREAM]["joint"]["acknowledged"] is False
    assert device.acknowledge(STREAM, "joint") == 1
    assert device.status()[STREAM]["joint"]["acknowledged"] is True


# - the budget -


def autoregression(rng: Rng, rows: int, rho: float, by: float) -> Array:
    noise = factor(rng, rows, 6, by) * math.sqrt(1 - rho * rho)
    noise[0] /= math.sqrt(1 - rho * rho)
    for row in range(1, rows):
        noise[row] += rho * noise[row - 1]
    return noise


HEALTHY: dict[str, tuple[int, Any]] = {
    "independent": (1000, lambda rng, rows: rng.normal(size=(rows, 6))),
    "short reference": (120, lambda rng, rows: rng.normal(size=(rows, 6))),
    "correlated": (1000, lambda rng, rows: factor(rng, rows, 6, 0.8)),
    "all but the same": (400, lambda rng, rows: factor(rng, rows, 6, 0.99)),
    "AR(1) 0.5": (1000, lambda rng, rows: autoregression(rng, rows, 0.5, 0.5)),
    "AR(1) 0.9": (2000, lambda rng, rows: autoregression(rng, rows, 0.9, 0.5)),
    "AR(1) 0.9, independent": (1000, lambda rng, rows: autoregression(rng, rows, 0.9, 0.0)),
    "heavy tails": (1000, lambda rng, rows: rng.standard_t(1, size=(rows, 6))),
    "ties": (1000, lambda rng, rows: np.round(rng.normal(size=(rows, 6)))),
    "switches and zeros": (
        1000,
        lambda rng, rows: np.maximum(rng.normal(size=(rows, 6)), [0, 0, 0, 0.5, 0.5, -9]),
    ),
    "missing": (
        1000,
        lambda rng, rows: np.where(rng.random((rows, 6)) < 0.2, np.nan, factor(rng, rows, 6, 0.5)),
    ),
}


@pytest.mark.parametrize("case", HEALTHY)
def test_healthy_pairs_raise_no_more_alarms_than_their_share_of_the_budget(case: str) -> None:
    """All of the budget is given to the pairs: 46 alarms in 30 budgets have probability below 0.5 %."""
    rows, draw = HEALTHY[case]
    rng = np.random.default_rng(6)
    alarms = 0
    for _ in range(30):
        data = draw(rng, rows + 2000)
        found = pairs_of(columns(data[:rows]))
        assert found is not None
        assert found[2] >= 50
        alarms += passes(found[0], data[rows:], GROUP_ROWS / 2000)
    assert alarms <= 45


def passes(pairs: Any, data: Array, share: float) -> int:
    """How often the evidence reaches 1, if it begins anew each time."""
    chosen = data[:, [int(name.removeprefix("inputs.x")) for name in pairs.names]]
    groups = sides(chosen, np.array(pairs.low), np.array(pairs.high)).reshape(-1, GROUP_ROWS, chosen.shape[1])
    evidence, found = PairEvidence(pairs), 0
    for place in range(len(groups)):
        evidence.advance(groups[place : place + 1], [share], place * GROUP_ROWS)
        if evidence.total >= 1:
            found += 1
            evidence.state["m"][:] = 0.0
    return found


def test_a_change_of_correlation_raises_the_evidence_that_the_budget_test_counts() -> None:
    rng = np.random.default_rng(7)
    found = pairs_of(columns(rng.normal(size=(1000, 6))))
    assert found is not None
    assert passes(found[0], tie(rng.normal(size=(2000, 6)), 0.8), 1e-6) >= 3


def test_the_whole_watcher_keeps_to_the_budget_with_numbers_categories_constants_and_gaps() -> None:
    """Twenty budgets: 31 alarms or more would have a probability below 1 % at a rate of 1."""
    rng = np.random.default_rng(8)
    alarms = 0
    for _ in range(10):
        data = factor(rng, 1500 + 4000, 5, 0.6)
        data[:, 4] = 7.0
        data[rng.random(data.shape) < 0.03] = np.nan
        given = columns(data) | {"inputs.c": rng.choice(list("abc"), size=len(data)).tolist()}
        reference = build({name: column[:1500] for name, column in given.items()})
        device = Watcher(Settings(average_run_length=2000.0, minimum_effect=0.0), reference)
        live = {name: column[1500:] for name, column in given.items()}
        alarms += len(events(device.update(STREAM, live, [0.0] * 4000)))
        assert state(device) in ("fine", "warning", "alarm")
    assert alarms <= 30


# - one cause, one alarm -


def shift(by: float) -> Any:
    return lambda x, rng: x + by


@pytest.mark.parametrize(
    "change",
    [
        shift(0.5),
        shift(1.0),
        shift(3.0),
        lambda x, rng: x * 2,
        lambda x, rng: x * 0.4,
        lambda x, rng: np.full(len(x), 0.5),
        lambda x, rng: np.full(len(x), 2.5),
        lambda x, rng: np.where(np.arange(len(x)) % 3 == 0, np.nan, x),
    ],
    ids=["shift 0.5", "shift 1", "shift 3", "wider", "narrower", "stuck inside", "stuck outside", "missing"],
)
def test_a_feature_that_changes_by_itself_is_no_joint_alarm_however_close_the_others_are(change: Any) -> None:
    joint, own = 0, 0
    for seed in range(6):
        rng = np.random.default_rng(20 + seed)
        data = factor(rng, 1000 + 3000, 5, (0.0, 0.6, 0.9)[seed % 3])
        data[2500:, 0] = change(data[2500:, 0], rng)
        for event in events(run(watcher(data[:1000], average_run_length=250_000.0), data[1000:])):
            joint += event.data["feature"] == "joint" and event.severity == "alarm"
            own += event.data["feature"] == "inputs.x0" and event.severity == "alarm"
    assert own == 6
    assert joint <= 1


def test_pairs_of_other_features_are_watched_while_one_is_in_alarm() -> None:
    data = np.random.default_rng(9).normal(size=(1000 + 4000, 4))
    data[2000:, 3] += 2
    tie(data, 0.9, 3500)
    found = events(run(watcher(data[:1000]), data[1000:]))
    assert [one.data["feature"] for one in found] == ["inputs.x3", "joint"]
    assert found[1].data["features"] == ["inputs.x0", "inputs.x1"]
    assert 2500 <= found[1].data["row"] < 2700


def test_what_was_seen_before_the_alarm_of_a_feature_is_taken_back() -> None:
    """The feature comes back, and nothing is left of the evidence that its change made."""
    for seed in range(4):
        data = factor(np.random.default_rng(30 + seed), 1000 + 5000, 4, 0.8)
        data[2000:3000, 0] += 0.7
        found = events(run(watcher(data[:1000]), data[1000:]))
        assert [(one.type, one.data["feature"]) for one in found] == [
            ("drift", "inputs.x0"),
            ("recovery", "inputs.x0"),
        ]


# - references -


def test_it_is_learned_on_the_device_together_with_the_features() -> None:
    data = tie(np.random.default_rng(10).normal(size=(4000, 3)), 0.9, 2500)
    device = watcher(learn_reference=500)
    assert events(run(device, data[:2500])) == []
    assert state(device) == "fine"
    (learned,) = [one for one in device.references() if one.pairs is not None]
    assert (learned.model, learned.model_version) == ("detector", "3")
    assert learned.n == 500
    (alarm,) = events(run(device, data[2500:], 2500))
    assert alarm.data["feature"] == "joint"
    assert 2500 <= alarm.data["row"] < 2650


def test_where_references_do_not_say_it_is_learned_after_them() -> None:
    data = np.random.default_rng(11).normal(size=(4000, 3))
    old = json.loads(dump(build(columns(data[:1000]))))
    del old["joint"]
    device = Watcher(Settings(learn_reference_hours=0.0, learn_reference=300), loads(json.dumps(old)))
    run(device, data[1000:1200])
    assert state(device) == "learning"
    run(device, data[1200:1500], 200)
    assert state(device) == "fine"


def test_a_new_normal_of_one_feature_is_learned_anew_with_its_pairs() -> None:
    data = np.random.default_rng(12).normal(size=(6000, 3))
    tie(data, 0.9, 1500)
    device = watcher(data[:1000], learn_reference=500)
    run(device, data[1000:2000])
    assert state(device) == "alarm"
    assert device.rebaseline(feature="x1") == 1
    assert "joint" not in device.status()[STREAM]
    assert events(run(device, data[2000:], 1000)) == []
    assert state(device) == "fine"
    assert device.rebaseline(feature="joint") == 1
    assert events(run(device, data[2000:], 5000)) == []
    assert state(device) == "fine"


def test_a_reference_that_is_set_for_one_feature_ends_what_was_known_of_its_pairs() -> None:
    data = np.random.default_rng(13).normal(size=(4000, 2))
    device = watcher(data[:1000], learn_reference=500)
    run(device, data[1000:1500])
    device.set_reference("x1", (data[:1000, 1] * 3 + 5).tolist())
    data[:, 1] = data[:, 1] * 3 + 5
    run(device, data[1500:1600], 500)
    assert state(device) == "learning"
    assert events(run(device, data[1600:], 600)) == []
    assert state(device) == "fine"


def test_a_reference_file_holds_it_beside_the_features_and_a_damaged_one_is_refused() -> None:
    built = build(columns(np.random.default_rng(14).normal(size=(500, 3))), model="detector")
    text = dump(built)
    assert [one["name"] for one in json.loads(text)["features"]] == ["inputs.x0", "inputs.x1", "inputs.x2"]
    assert loads(text) == built
    for wrong in ({"tau": [1.0]}, {"same": [-1.0, 0.0, 0.0]}, {"low": [9.0, 9.0, 9.0]}, {"names": ["a"]}):
        raw = json.loads(text)
        raw["joint"][0]["pairs"] |= wrong
        with pytest.raises(DataError, match="how features go together does not add up"):
            loads(json.dumps(raw))


def test_a_reference_that_is_too_short_for_it_says_so() -> None:
    slow = autoregression(np.random.default_rng(15), 400, 0.9, 0.5)
    built = build(columns(slow))
    joint = [one for one in built if one.pairs is not None]
    assert len(built) == 6 + len(joint)
    short = build(columns(np.random.default_rng(16).normal(size=(60, 2))))[-1]
    assert short.name != "joint" or short.lacks == "" or "are needed" in short.lacks


@pytest.mark.parametrize(
    "data",
    [
        {"a": [1.0] * 200, "b": [float(i % 7) for i in range(200)]},
        {"a": [1.0] * 200, "b": [2.0] * 200},
        {"a": ["x", "y"] * 100, "b": [float(i % 7) for i in range(200)]},
        {"a": [None] * 200, "b": [float(i % 7) for i in range(200)]},
        {"a": [float(i % 7) for i in range(200)]},
        {"a": [1.0], "b": [2.0]},
        {},
    ],
    ids=["one constant", "constants", "category", "missing", "one feature", "one row", "nothing"],
)
def test_without_two_features_that_vary_there_is_none(data: Any) -> None:
    assert [one.name for one in build(data)] == list(data)


@pytest.mark.parametrize("value", [math.inf, 1e308, -1e308, 5e-324, 2**60, True])
def test_odd_numbers_are_taken_without_a_warning(value: Any) -> None:
    rng = np.random.default_rng(17)
    odd = [value if i % 10 == 0 else float(x) for i, x in enumerate(rng.normal(size=1500))]
    given = {"inputs.a": odd, "inputs.b": rng.normal(size=1500).tolist()}
    device = Watcher(Settings(average_run_length=1e5), build({n: c[:1000] for n, c in given.items()}))
    found = device.update(STREAM, {n: c[1000:] for n, c in given.items()}, [0.0] * 500)
    assert events(found) == []
    assert state(device) == "fine"


def test_an_identical_pair_and_its_opposite_are_watched() -> None:
    x = np.random.default_rng(18).normal(size=(3000, 1))
    data = np.concatenate((x, x, -x), axis=1)
    assert events(run(watcher(data[:1000]), data[1000:])) == []
    data[2500:, 1] = np.random.default_rng(19).normal(size=500)
    (alarm,) = events(run(watcher(data[:1000]), data[1000:]))
    assert "inputs.x1" in alarm.data["features"]


def test_of_many_features_the_first_thirty_two_are_looked_at() -> None:
    data = np.random.default_rng(20).normal(size=(300, 60))
    joint = build(columns(data))[-1]
    assert isinstance(joint, FeatureReference)
    assert joint.pairs is not None
    assert joint.pairs.names == [f"inputs.x{i}" for i in range(32)]


def test_the_ks_algorithm_does_what_it_says_and_no_more() -> None:
    data = np.random.default_rng(21).normal(size=(1200, 2))
    device = watcher(data[:1000], algorithm="ks_test")
    run(device, data[1000:])
    assert "joint" not in device.status()[STREAM]


# - state -


def changing(rows: int = 4000) -> dict[str, Any]:
    """Pairs that come and go, and features that change by themselves meanwhile."""
    rng = np.random.default_rng(22)
    data = rng.normal(size=(rows, 4))
    tie(data, 0.9, 1200, 1900)
    data[2300:2700, 2] += 1.5
    tie(data, 0.9, 3100)
    data[3300:3500, 1] = 0.25
    return columns(data)


def cut(device: Watcher, data: dict[str, Any], cuts: list[int]) -> list[Any]:
    found: list[Any] = []
    for begin, end in pairwise([0, *sorted(cuts), len(data["inputs.x0"])]):
        part = {name: column[begin:end] for name, column in data.items()}
        found += device.update(STREAM, part, [60.0 * i for i in range(begin, end)])
    return found


OPTIONS: dict[str, Any] = {
    "learn_reference": 500,
    "average_run_length": None,
    "false_alarms_per_month": 20,
}
STEPS = {
    "max_examples": 6,
    "phases": (Phase.explicit, Phase.generate),
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
}


@settings(**STEPS)
@given(st.lists(st.integers(0, 4000), max_size=60))
def test_findings_do_not_depend_on_how_the_rows_are_cut_into_calls(cuts: list[int]) -> None:
    data = changing()
    whole, parts = watcher(**OPTIONS), watcher(**OPTIONS)
    expected = cut(whole, data, [])
    assert {(one.type, one.data["feature"]) for one in events(expected)} >= {
        ("drift", "joint"),
        ("recovery", "joint"),
        ("drift", "inputs.x2"),
    }
    assert cut(parts, data, cuts) == expected
    assert parts.state() == whole.state()


@settings(**STEPS)
@given(st.integers(1, 3999))
def test_a_restart_at_any_row_changes_no_decision(row: int) -> None:
    data = changing()
    whole, first, second = (watcher(**OPTIONS) for _ in range(3))
    expected = cut(whole, data, [row])
    times = [60.0 * i for i in range(4000)]
    found = first.update(STREAM, {name: column[:row] for name, column in data.items()}, times[:row])
    kept = first.state()
    assert second.restore(kept)
    assert second.state() == kept
    assert second.status() == first.status()
    assert second.check() == first.check()
    found += second.update(STREAM, {name: column[row:] for name, column in data.items()}, times[row:])
    assert found == expected
    assert second.state() == whole.state()


def test_the_state_stays_below_eight_kilobytes_a_feature() -> None:
    for features in (2, 20, 32):
        data = np.random.default_rng(23).normal(size=(1500, features))
        device = watcher(data[:1000])
        run(device, data[1000:])
        assert state(device) in ("fine", "warning")
        assert len(device.state()) / len(device.status()[STREAM]) < 8192


def test_the_devices_decision_imports_no_random_numbers() -> None:
    program = """
import sys
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
rows = [float(i * 7919 % 1009) for i in range(2000)]
watcher = Watcher(Settings(learn_reference_hours=0, learn_reference=500, average_run_length=1000.0))
watcher.update(("m", None, None), {"inputs.a": rows, "inputs.b": rows[::-1]}, [0.0] * 2000)
assert watcher.status()["m", None, None]["joint"]["state"] in ("fine", "warning", "alarm")
print("numpy.random" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr
